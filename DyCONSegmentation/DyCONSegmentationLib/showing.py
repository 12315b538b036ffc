"""How a result looks in the slice views: scan, colors of uncertainty with legend, outlines."""

from __future__ import annotations

from typing import Any

import slicer

from DyCONLib import mrml
from DyCONSegmentationLib.parameters import Parameters
from DyCONSegmentationLib.results import Result

OUTLINE_PIXELS = 2


def show(result: Result, chosen: Parameters) -> None:
    """Draw `result` in all slice views as chosen; views that show another scan are fitted."""
    if result.volume is None or result.uncertainty is None:
        return
    if not chosen.show_overlay:
        mrml.hide_overlay(result.uncertainty)
        _outline(result.segmentation, filled=True)
        return
    elsewhere = any(view.GetBackgroundVolumeID() != result.volume.GetID() for view in _views())
    mrml.show_overlay(
        result.volume,
        result.uncertainty,
        opacity=chosen.opacity,
        threshold=chosen.hide_below,
        legend=chosen.show_legend,
    )
    _outline(result.segmentation, filled=False)
    if elsewhere:
        fit()


def fit() -> None:
    """Show the whole scan in all slice views; without a main window there are none."""
    if slicer.app.layoutManager() is not None:
        slicer.util.resetSliceViews()


def jump(position_ras: tuple[float, float, float]) -> None:
    """Show a place (world RAS, mm) in all slice views, with a crosshair if there is none yet."""
    mrml.jump_to(position_ras)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None and crosshair.GetCrosshairMode() == crosshair.NoCrosshair:
        crosshair.SetCrosshairMode(crosshair.ShowBasic)


def _outline(segmentation: Any, *, filled: bool) -> None:
    """Draw edges only while colors of uncertainty lie over the scan: a fill would mix with them."""
    display = segmentation.GetDisplayNode()
    if display is not None:
        display.SetVisibility2DOutline(True)
        display.SetVisibility2DFill(filled)
        display.SetSliceIntersectionThickness(OUTLINE_PIXELS)


def _views() -> list[Any]:
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]
