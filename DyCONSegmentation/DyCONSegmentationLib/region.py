"""A region of interest for a scan that shows much more than the training scans did.

Such a scan may break a model that has only seen the surroundings of the organ; with a region drawn
around the organ it is nearly as good as ever.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import slicer

from DyCONLib import mrml
from DyCONLib.models import Model
from DyCONSegmentationLib.report import Report

TOPIC = "field-of-view"
SIZE_FACTOR = 1.3  # that far beyond the training scans the engine still calls the same; tested


def is_needed(report: Report, volume: Any, model: Model | None) -> bool:
    """Return whether a result comes from a scan that is too large, all of which was looked at.

    Args:
        report: Of the result.
        volume: Its scan, None where it was removed.
        model: That made it, None where it is gone.
    """
    asked = report.content.get("parameters")
    had_region = isinstance(asked, dict) and asked.get("roi") is not None
    flagged = any(flag.topic == TOPIC for flag in report.flags)
    if not flagged or had_region or volume is None or model is None:
        return False
    seen = model.largest_seen_mm
    return seen is not None and any(
        own > SIZE_FACTOR * known for own, known in zip(size_mm(volume), seen, strict=True)
    )


def propose(volume: Any, model: Model) -> Any:
    """Return a new Markups ROI as large as the training scans were, in the middle of a scan.

    Args:
        volume: The scan; the region lies beside it and under its transform.
        model: Whose training scans are known.
    """
    roi = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLMarkupsROINode",
        slicer.mrmlScene.GenerateUniqueName(f"{volume.GetName()} region"),
    )
    roi.CreateDefaultDisplayNodes()
    display = roi.GetDisplayNode()
    display.SetFillVisibility(False)  # the scan below must be seen
    display.SetPropertiesLabelVisibility(False)
    display.SetHandlesInteractive(True)
    display.SetTranslationHandleVisibility(True)
    display.SetScaleHandleVisibility(True)
    own, seen = size_mm(volume), model.largest_seen_mm or size_mm(volume)
    roi.SetSize(*map(min, own, seen))
    mrml.place_beside(roi, volume)
    half = [(count - 1) / 2 for count in volume.GetImageData().GetDimensions()]
    middle = (mrml.ijk_to_ras(volume) @ (*half, 1.0))[:3]
    roi.SetCenter(*middle)
    world = [0.0, 0.0, 0.0]
    volume.TransformPointToWorld(middle.tolist(), world)
    mrml.jump_to(world)
    return roi


def size_mm(volume: Any) -> tuple[float, float, float]:
    """Return the field of view along the axes of the body nearest to the scan's own (x, y, z)."""
    directions = mrml.ijk_to_ras(volume)[:3, :3]
    spacing = np.linalg.norm(directions, axis=0)
    cosines = np.abs(directions / spacing)  # [axis of the body, axis of the scan]
    nearest = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(cosines[body, scan] for body, scan in enumerate(order)),
    )
    sides = np.asarray(volume.GetImageData().GetDimensions()) * spacing
    x, y, z = (float(sides[scan]) for scan in nearest)
    return (x, y, z)
