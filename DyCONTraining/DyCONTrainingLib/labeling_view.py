"""What the slice views show of a scan that is being labeled."""

from __future__ import annotations

from typing import Any

import slicer

from DyCONLib import mrml
from DyCONLib.mrml_views import HIDE_BELOW

OPACITY = 0.5  # of the uncertainty
LINE = 2  # pixels


def show_for_labeling(volume: Any, segmentation: Any, uncertainty: Any) -> None:
    """Show a scan with its prediction as outlines over its uncertainty, at the first segment.

    What was drawn on other scans is put out of sight; it would lie over this one.
    """
    for other in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if other is not segmentation and other.GetDisplayNode() is not None:
            other.GetDisplayNode().SetVisibility(False)
    display = segmentation.GetDisplayNode()
    display.SetVisibility2DFill(False)  # it would hide how unsure the model is
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(LINE)
    slicer.util.setSliceViewerLayers(background=volume, label=None, fit=True)
    mrml.show_overlay(volume, uncertainty, opacity=OPACITY, threshold=HIDE_BELOW, legend=True)
    center = _center(segmentation)
    if center is not None:
        mrml.jump_to(center)


def _center(segmentation: Any) -> tuple[float, float, float] | None:
    """Return the middle of the first segment that is not empty (RAS, mm)."""
    core = segmentation.GetSegmentation()
    for number in range(core.GetNumberOfSegments()):
        middle = segmentation.GetSegmentCenterRAS(core.GetNthSegmentID(number))
        if middle is not None:  # it is where the segment is empty
            return tuple(middle)
    return None
