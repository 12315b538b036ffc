"""Scalar maps over a scan: loaded, shown with a threshold and a legend, put away again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

from DyCONLib.mrml_files import ijk_to_ras, read_array, vtk_matrix
from DyCONLib.mrml_tree import place_beside, removed_on_failure

COLORS = ("vtkMRMLColorTableNodeFileInferno.txt", "vtkMRMLColorTableNodeIron")
RANGE = (0.0, 1.0)
HIDE_BELOW = 0.5  # where a person chose no other threshold
LEGEND_TITLE = "Uncertainty"
LEGEND_SIZE = (0.04, 0.2)  # of the view, width and height
LEGEND_PLACE = (0.98, 0.05)
LEGEND_POINTS = 8  # does not shrink with the view, so it is small, ...
LEGEND_LABELS = 3  # ... and there are no more than fit beside a short bar: 0, 0.5, 1
_BEFORE = "DyCON.ForegroundBefore"


def load_scalar_overlay(path: Path, *, name: str, reference_volume: Any) -> Any:
    """Return a new scalar volume node with the map at `path`, beside its volume and not shown.

    Its colors always go from 0 to 1, so maps can be compared. It has no storage node, so it does
    not depend on the file, and Slicer offers to save it.

    Args:
        path: Map with values from 0 to 1 on the grid of the volume.
        name: Of the node.
        reference_volume: The scan it belongs to.

    Raises:
        DyconError: The file is missing, unreadable or on another grid; the scene is as before.
    """
    array = read_array(path, reference_volume, "map").astype(np.float32)
    with removed_on_failure() as added:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        added.append(node)
        node.SetIJKToRASMatrix(vtk_matrix(ijk_to_ras(reference_volume)))
        node.SetAndObserveImageData(_image(array))
        color_map(node)
        place_beside(node, reference_volume)
    return node


def color_map(node: Any) -> None:
    """Give the volume node of a map the colors that all maps have, from 0 to 1."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*RANGE)
    color = next(filter(slicer.mrmlScene.GetNodeByID, COLORS), None)
    if color is not None:  # else the gray it has
        display.SetAndObserveColorNodeID(color)


def show_overlay(
    background: Any, overlay: Any, *, opacity: float, threshold: float, legend: bool
) -> None:
    """Show `overlay` over `background` in all slice views; what was in front comes back later.

    Args:
        background: The scan.
        overlay: From `load_scalar_overlay`.
        opacity: 0 to 1.
        threshold: Values below are not shown, 0 to 1.
        legend: Whether the views carry its colors with numbers.
    """
    display = overlay.GetDisplayNode()
    display.AutoThresholdOff()
    display.SetThreshold(threshold, max(RANGE[1], overlay.GetImageData().GetScalarRange()[1]))
    display.SetApplyThreshold(threshold > 0)
    for view in _composites():
        if view.GetForegroundVolumeID() != overlay.GetID():
            before = view.GetForegroundVolumeID() or ""
            view.SetAttribute(_BEFORE, f"{before} {view.GetForegroundOpacity()}")
        view.SetBackgroundVolumeID(background.GetID())
        view.SetForegroundVolumeID(overlay.GetID())
        view.SetForegroundOpacity(opacity)
    _show_legend(overlay, visible=legend)


def hide_overlay(overlay: Any) -> None:
    """Take `overlay` out of the slice views that show it in front, and its legend away."""
    for view in _composites():
        if view.GetForegroundVolumeID() == overlay.GetID():
            before, _, opacity = (view.GetAttribute(_BEFORE) or " 0").partition(" ")
            there = bool(before) and slicer.mrmlScene.GetNodeByID(before) is not None
            view.SetForegroundVolumeID(before if there else None)
            view.SetForegroundOpacity(float(opacity))
            view.RemoveAttribute(_BEFORE)
    _show_legend(overlay, visible=False)


def jump_to(position_ras: Sequence[float]) -> None:
    """Bring the point (world RAS, mm) to the middle of all slice views, and the crosshair to it."""
    r, a, s = (float(value) for value in position_ras)
    slices = slicer.vtkMRMLSliceNode
    slices.JumpAllSlices(slicer.mrmlScene, r, a, s, slices.CenteredJumpSlice)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(r, a, s)


def _image(array: NDArray[np.float32]) -> Any:
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=1))
    return image


def _composites() -> Iterator[Any]:
    for index in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        yield slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")


def _show_legend(overlay: Any, *, visible: bool) -> None:
    colors = slicer.vtkSlicerColorLogic
    legend = colors.GetColorLegendDisplayNode(overlay)
    if legend is None and visible:
        legend = colors.AddDefaultColorLegendDisplayNode(overlay)
        legend.SetTitleText(LEGEND_TITLE)
        legend.SetLabelFormat("%.1f")
        legend.SetMaxNumberOfColors(256)
        legend.SetNumberOfLabels(LEGEND_LABELS)
        legend.SetSize(*LEGEND_SIZE)
        legend.SetPosition(*LEGEND_PLACE)
        for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
            text.SetFontSize(LEGEND_POINTS)
            text.SetFontFamilyToArial()
    if legend is not None:
        legend.SetVisibility(visible)
