"""The engine's probability file, one volume node per structure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import slicer
import vtk

from dycon_engine.errors import DyconError
from DyCONLib import mrml
from DyCONLib.mrml_files import write_image


def load_probabilities(path: Path, names: Sequence[str], title: str, volume: Any) -> Iterator[Any]:
    """Yield a new scalar volume node (0 to 1) per structure, beside `volume` and not shown.

    Args:
        path: Of the engine: background and structures as the values of each voxel.
        names: Of the structures, in the order of the file.
        title: How the names of the nodes begin.
        volume: The scan.

    Raises:
        DyconError: The file is missing, unreadable, on another grid, or of other structures.
    """
    node = slicer.vtkMRMLVectorVolumeNode()
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not path.is_file() or not storage.ReadData(node) or node.GetImageData() is None:
        raise DyconError(f"probabilities: the file '{path.name}' cannot be read; segment again")
    image = node.GetImageData()
    if image.GetNumberOfScalarComponents() != len(names) + 1:
        raise DyconError(
            f"probabilities: the file '{path.name}' holds {image.GetNumberOfScalarComponents()} "
            f"classes, expected {len(names) + 1}; segment again"
        )
    for index, name in enumerate(names, start=1):
        part = vtk.vtkImageExtractComponents()
        part.SetInputData(image)
        part.SetComponents(index)
        part.Update()
        file = path.with_name(f"probability_{index}.nrrd")
        write_image(part.GetOutput(), mrml.ijk_to_ras(node), file)
        try:
            yield mrml.load_scalar_overlay(
                file, name=f"{title} probability of {name}", reference_volume=volume
            )
        finally:
            file.unlink(missing_ok=True)
