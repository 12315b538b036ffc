"""Our segmentations in the scene: put there whole or not at all, and found again.

Everything a result needs later lies in the scene itself: the segmentation carries the report and
the marks of the review list as attributes, and refers to its uncertainty volume.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import slicer

from dycon_engine.errors import InputError
from DyCONLib import mrml
from DyCONLib.models import Model
from DyCONSegmentationLib.probabilities import load_probabilities
from DyCONSegmentationLib.report import Report, parse_report, read_report
from DyCONSegmentationLib.review import ReviewList, review_list

REPORT = "DyCON.Report"
REVIEW = "DyCON.Review"
MODEL = "DyCON.Model"  # the training module tells by it what a model drew ...
CORRECTED = "DyCON.Corrected"  # ... and by this that a person went over it
LABELS = "DyCON.Labels"
CHANNELS = "DyCON.Channels"  # names of the model's channels ...
OTHERS = "DyCON.OtherChannels"  # ... and the volumes of the second and later ones
MAP = "DyCON.Map"  # on volumes that we made: they are no scans
UNCERTAINTY = "DyCON.Uncertainty"
PROBABILITIES = "DyCON.Probabilities"
PAGE = "DyCON.Page"


class Files(NamedTuple):
    """What the engine wrote for one scan; None where it was not asked."""

    labels: Path
    report: Path
    uncertainty: Path | None = None
    probabilities: Path | None = None
    report_html: Path | None = None


@dataclass(frozen=True)
class Result:
    """A segmentation of ours.

    Attributes:
        segmentation: Its node.
        volume: The scan, of several channels the first; None where it was removed.
        others: The volumes of the other channels; None for one that was removed.
        uncertainty: Its uncertainty volume; None where it was removed.
        report: What the engine said.
        review: The review list with its marks.
        labels: Value in label files by name of structure, as the model has them.
        channels: Name per channel of the model.
        model: Its name.
    """

    segmentation: Any
    volume: Any
    others: tuple[Any, ...]
    uncertainty: Any
    report: Report
    review: ReviewList
    labels: dict[str, int]
    channels: tuple[str, ...]
    model: str

    @property
    def volumes(self) -> tuple[Any, ...]:
        """The volume of every channel; None for one that was removed."""
        return (self.volume, *self.others)

    @property
    def colors(self) -> dict[str, tuple[int, int, int]]:
        """Color (RGB, 0-255) by name of segment, as it is now."""
        core = self.segmentation.GetSegmentation()
        segments = (core.GetNthSegment(index) for index in range(core.GetNumberOfSegments()))
        return {segment.GetName(): _rgb(segment.GetColor()) for segment in segments}


def place(
    files: Files,
    *,
    model: Model,
    volume: Any,
    name: str,
    others: Sequence[Any] = (),
    replaced: Any = None,
) -> Result:
    """Return the result of `files` as new nodes beside `volume`, or none at all.

    Args:
        files: Of the engine, on the grid of `volume`.
        model: Gives names, colors and terms of the structures.
        volume: The scan that was segmented.
        name: Of the new segmentation; made unique.
        others: The volumes of the other channels.
        replaced: A segmentation that takes the new content instead of a new node.

    Raises:
        DyconError: A file is missing, unreadable or on another grid; the scene is as before.
    """
    report = read_report(files.report)
    unique = replaced.GetName() if replaced else slicer.mrmlScene.GenerateUniqueName(name)
    with mrml.removed_on_failure() as added:
        segmentation = mrml.load_segmentation(
            files.labels, name=unique, segments=model.segments, reference_volume=volume
        )
        added.append(segmentation)
        maps = _load_maps(files, model, volume, unique, added)
        if replaced is not None:
            segmentation = _moved(segmentation, replaced)
        for role, node in maps:
            node.SetAttribute(MAP, role)
            segmentation.AddNodeReferenceID(role, node.GetID())
        _describe(segmentation, report, model, others)
        _keep_page(segmentation, files.report_html, unique)
    return _result(segmentation)


def find_result(segmentation: Any) -> Result | None:
    """Return what `segmentation` is the result of; None where it is no readable one of ours."""
    if segmentation is None or not segmentation.GetAttribute(REPORT):
        return None
    try:
        return _result(segmentation)
    except (InputError, ValueError, TypeError, AttributeError):
        return None


def is_result(segmentation: Any) -> bool:
    """Return whether `segmentation` is marked as one of ours, without reading its report."""
    return bool(segmentation.GetAttribute(REPORT))


def result_name(volume: Any, date: datetime) -> str:
    """Return what the segmentation of `volume` is called."""
    return f"{volume.GetName()} - DyCON {date:%Y-%m-%d}"


def keep_review(segmentation: Any, review: ReviewList) -> None:
    """Keep the marks of `review` with the scene."""
    segmentation.SetAttribute(REVIEW, review.text())


def mark_corrected(segmentation: Any) -> None:
    """Note that a person went over the segmentation."""
    segmentation.SetAttribute(CORRECTED, "yes")


def is_scan(volume: Any) -> bool:
    """Return whether a volume node may be a scan: no label map, no map of ours, not hidden."""
    return not (
        volume.IsA("vtkMRMLLabelMapVolumeNode")
        or volume.GetHideFromEditors()
        or volume.GetAttribute(MAP)
    )


def region_position(result: Result, rank: int) -> tuple[float, float, float] | None:
    """Return where the region of this rank lies in the world (RAS mm); None if it is unknown."""
    for region in result.review.regions:
        if region.rank == rank:
            x, y, z = region.point_ras
            if result.volume is not None:  # the report knows nothing of the scene's transforms
                world = [0.0, 0.0, 0.0]
                result.volume.TransformPointToWorld([x, y, z], world)
                x, y, z = world
            return (x, y, z)
    return None


def _result(segmentation: Any) -> Result:
    text = segmentation.GetAttribute(REPORT)
    report = parse_report(text, f"segmentation '{segmentation.GetName()}'")
    labels = json.loads(segmentation.GetAttribute(LABELS) or "{}")
    return Result(
        segmentation=segmentation,
        volume=segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole()),
        others=tuple(
            segmentation.GetNthNodeReference(OTHERS, index)
            for index in range(segmentation.GetNumberOfNodeReferences(OTHERS))
        ),
        uncertainty=segmentation.GetNodeReference(UNCERTAINTY),
        report=report,
        review=review_list(report.regions, segmentation.GetAttribute(REVIEW)),
        labels={str(name): int(value) for name, value in labels.items()},
        channels=tuple(map(str, json.loads(segmentation.GetAttribute(CHANNELS) or "[]"))),
        model=segmentation.GetAttribute(MODEL) or "",
    )


def _load_maps(
    files: Files, model: Model, volume: Any, name: str, added: list[Any]
) -> list[tuple[str, Any]]:
    """Return the volumes that go with a segmentation, each with its role."""
    maps = []
    if files.uncertainty is not None:
        node = mrml.load_scalar_overlay(
            files.uncertainty, name=f"{name} uncertainty", reference_volume=volume
        )
        added.append(node)
        maps.append((UNCERTAINTY, node))
    if files.probabilities is not None:
        names = [segment.name for segment in model.segments]
        for node in load_probabilities(files.probabilities, names, name, volume):
            added.append(node)
            maps.append((PROBABILITIES, node))
    return maps


def _describe(segmentation: Any, report: Report, model: Model, others: Sequence[Any]) -> None:
    segmentation.SetAttribute(REPORT, report.text())
    segmentation.SetAttribute(REVIEW, ReviewList().text())
    segmentation.SetAttribute(MODEL, model.name)
    segmentation.RemoveAttribute(CORRECTED)
    values = {segment.name: segment.value for segment in model.segments}
    segmentation.SetAttribute(LABELS, json.dumps(values))
    segmentation.SetAttribute(CHANNELS, json.dumps([each.name for each in model.channels]))
    segmentation.RemoveNodeReferenceIDs(OTHERS)
    for other in others:
        segmentation.AddNodeReferenceID(OTHERS, other.GetID())


def _keep_page(segmentation: Any, path: Path | None, name: str) -> None:
    """Keep the report as a page in a hidden text node; a page that is missing is no failure."""
    try:
        text = path.read_text(encoding="utf-8") if path is not None else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    if text:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", f"{name} report")
        node.SetHideFromEditors(True)
        node.SetText(text)
        node.SetForceCreateStorageNode(node.CreateStorageNodeAlways)
        segmentation.SetNodeReferenceID(PAGE, node.GetID())


def _moved(source: Any, target: Any) -> Any:
    """Give `target` the segments and geometry of `source`, which is removed, and return it."""
    for role in (UNCERTAINTY, PROBABILITIES):
        for index in reversed(range(target.GetNumberOfNodeReferences(role))):
            mrml.remove(target.GetNthNodeReference(role, index))
        target.RemoveNodeReferenceIDs(role)
    if target.GetNodeReference(PAGE) is not None:
        slicer.mrmlScene.RemoveNode(target.GetNodeReference(PAGE))
    target.GetSegmentation().DeepCopy(source.GetSegmentation())
    role = source.GetReferenceImageGeometryReferenceRole()
    target.SetNodeReferenceID(role, source.GetNodeReferenceID(role))
    target.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    mrml.remove(source)
    return target


def _rgb(color: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in color)
    return (red, green, blue)
