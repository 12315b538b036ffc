"""Our segmentations in the scene: put there whole or not at all, found again, shown.

Everything a result needs later lies in the scene itself: the segmentation carries the report and
the marks of the review list as attributes, and refers to its uncertainty volume.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import slicer
import vtk

from dycon_engine.errors import DyconError, InputError
from DyCONLib import mrml
from DyCONLib.models import Model
from DyCONSegmentationLib.report import Report, parse_report
from DyCONSegmentationLib.review import ReviewList, review_list

REPORT = "DyCON.Report"
REVIEW = "DyCON.Review"
UNCERTAINTY = "DyCON.Uncertainty"
PROBABILITIES = "DyCON.Probabilities"


class Files(NamedTuple):
    """What the engine wrote for one scan; None where it was not asked."""

    labels: Path
    report: Path
    uncertainty: Path | None = None
    probabilities: Path | None = None


@dataclass(frozen=True)
class Result:
    """A segmentation of ours; volumes are None where somebody removed them."""

    segmentation: Any
    volume: Any
    uncertainty: Any
    report: Report
    review: ReviewList


def place(
    files: Files, *, model: Model, volume: Any, name: str, replaced: Any | None = None
) -> Result:
    """Return the result of `files` as new nodes beside `volume`, or none at all.

    Args:
        files: Of the engine, on the grid of `volume`.
        model: Gives names, colors and terms of the structures.
        volume: The scan that was segmented.
        name: Of the new segmentation; made unique.
        replaced: A segmentation that takes the new content instead of a new node.

    Raises:
        DyconError: A file is missing, unreadable or on another grid; the scene is as before.
    """
    report = _read_report(files.report)
    with _all_or_nothing():
        segmentation = mrml.load_segmentation(
            files.labels,
            name=slicer.mrmlScene.GenerateUniqueName(name),
            segments=model.segments,
            reference_volume=volume,
        )
        title = (replaced or segmentation).GetName()
        uncertainty = files.uncertainty and mrml.load_scalar_overlay(
            files.uncertainty, name=f"{title} uncertainty", reference_volume=volume
        )
        if replaced is not None:
            segmentation = _moved(segmentation, replaced)
        segmentation.SetAttribute(REPORT, report.text())
        segmentation.SetAttribute(REVIEW, ReviewList().text())
        segmentation.SetNodeReferenceID(UNCERTAINTY, uncertainty.GetID() if uncertainty else None)
    return Result(segmentation, volume, uncertainty, report, review_list(report.regions, None))


def find_result(segmentation: Any) -> Result | None:
    """Return what `segmentation` is the result of; None where it is no readable one of ours."""
    text = segmentation.GetAttribute(REPORT) if segmentation is not None else None
    if not text:
        return None
    try:
        report = parse_report(text, f"segmentation '{segmentation.GetName()}'")
    except InputError:
        return None
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    return Result(
        segmentation=segmentation,
        volume=segmentation.GetNodeReference(role),
        uncertainty=segmentation.GetNodeReference(UNCERTAINTY),
        report=report,
        review=review_list(report.regions, segmentation.GetAttribute(REVIEW)),
    )


def keep_review(segmentation: Any, review: ReviewList) -> None:
    """Keep the marks of `review` with the scene."""
    segmentation.SetAttribute(REVIEW, review.text())


def region_position(result: Result, rank: int) -> tuple[float, float, float] | None:
    """Return where the region of this rank lies in the world (RAS mm); None if it is unknown."""
    for region in result.review.regions:
        if region.rank == rank:
            x, y, z = region.center_ras
            if result.volume is not None:  # the report knows nothing of the scene's transforms
                world = [0.0, 0.0, 0.0]
                result.volume.TransformPointToWorld([x, y, z], world)
                x, y, z = world
            return (x, y, z)
    return None


def _read_report(path: Path) -> Report:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise DyconError("the engine wrote no readable report; segment again") from None
    return parse_report(text, "result")


def _moved(source: Any, target: Any) -> Any:
    """Give `target` the segments and geometry of `source`, which is removed, and return it."""
    for role in (UNCERTAINTY, PROBABILITIES):
        for index in reversed(range(target.GetNumberOfNodeReferences(role))):
            slicer.mrmlScene.RemoveNode(target.GetNthNodeReference(role, index))
    target.GetSegmentation().DeepCopy(source.GetSegmentation())
    role = source.GetReferenceImageGeometryReferenceRole()
    target.SetNodeReferenceID(role, source.GetNodeReferenceID(role))
    target.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    slicer.mrmlScene.RemoveNode(source)
    return target


@contextlib.contextmanager
def _all_or_nothing() -> Iterator[None]:
    """Remove every node that was added inside, if what is done there fails."""
    added: list[Any] = []

    def note(caller: Any, event: str, node: Any) -> None:  # noqa: ARG001 - VTK's signature
        added.append(node)

    note.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
    tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, note)
    try:
        yield
    except Exception:
        _remove(added)
        raise
    finally:
        slicer.mrmlScene.RemoveObserver(tag)


def _remove(nodes: Sequence[Any]) -> None:
    for node in reversed(nodes):
        if slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)
