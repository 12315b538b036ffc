"""The colors of uncertainty as Slicer has them, for pictures that people look at."""

from __future__ import annotations

from matplotlib import colormaps


def add_inferno() -> None:
    """Add the color table that Slicer has and the library lacks: the colors are then Slicer's."""
    import slicer

    table = slicer.vtkMRMLColorTableNode()
    table.SetSingletonTag("FileInferno.txt")
    table.SetTypeToUser()
    colors = colormaps["inferno"](range(256))
    table.SetNumberOfColors(len(colors))
    for index, color in enumerate(colors):
        table.SetColor(index, str(index), *color)
    slicer.mrmlScene.AddNode(table)
