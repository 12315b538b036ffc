"""What the checks need to know of loaded scans and segmentations, computed once per change."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import slicer

from DyCONLib import mrml
from DyCONTrainingLib.cases import FromScene, Row, Source
from DyCONTrainingLib.draft import Key
from DyCONTrainingLib.facts import Facts, ImageFacts, LabelFacts
from DyCONTrainingLib.labels import Segment
from DyCONTrainingLib.scene_rows import is_prediction, reference_of, segments_of
from DyCONTrainingLib.segment_voxels import shared_voxels

GONE = ImageFacts(problem="is not loaded any more; load it again or leave it out")
T = TypeVar("T")
OUTSIDE_SHARE = 0.1  # of a segmentation; less may be rounding at the border


class FactBook:
    """The facts of rows in the scene; a node that did not change is not looked at again.

    Attributes:
        is_complete: Whether the last look saw every row; else look again.
    """

    def __init__(
        self, budget_s: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start without facts.

        Args:
            budget_s: A look ends after this time, at the least after one new fact, so that a panel
                stays alive with many large scans.
            clock: Seconds that only grow.
        """
        self.is_complete = True
        self._budget_s, self._clock, self._until = budget_s, clock, 0.0
        self._images: dict[Key, tuple[object, ImageFacts]] = {}
        self._labels: dict[Key, tuple[object, LabelFacts]] = {}

    def look(self, rows: Iterable[Row]) -> Facts:
        """Return what is known of those of `rows` that lie in the scene."""
        rows = list(rows)
        loaded = [row for row in rows if isinstance(row.images[0], FromScene)]
        gone = {row.images: GONE for row in loaded if not _nodes(row.images)}
        self.is_complete, self._until = True, self._clock() + self._budget_s
        images = {row.images: self._image(row) for row in loaded if row.images not in gone}
        drawn = {row.images: self._label(row) for row in rows if grid_of(row) is not None}
        return Facts(
            {key: facts for key, facts in images.items() if facts is not None} | gone,
            {key: facts for key, facts in drawn.items() if facts is not None},
        )

    def _image(self, row: Row) -> ImageFacts | None:
        nodes = _nodes(row.images)
        stamp = tuple((node.GetID(), node.GetMTime(), _voxels_time(node)) for node in nodes)
        return self._known(self._images, row, stamp, lambda: image_facts(nodes))

    def _label(self, row: Row) -> LabelFacts | None:
        node: Any = node_of(row.label)
        volume: Any = grid_of(row)
        times = (node.GetMTime(), _drawn_time(node), volume.GetMTime(), _voxels_time(volume))
        stamp = (node.GetID(), *times)
        return self._known(self._labels, row, stamp, lambda: label_facts(node, volume))

    def _known(
        self, book: dict[Key, tuple[object, T]], row: Row, stamp: object, see: Callable[[], T]
    ) -> T | None:
        """Return a fact from the book, or seen now; None where the time is over."""
        entry = book.get(row.images)
        if entry is None or entry[0] != stamp:
            if self._clock() > self._until:
                self.is_complete = False
                return None
            entry = book[row.images] = (stamp, see())
        return entry[1]


def node_of(source: Source | None) -> Any | None:
    """Return the node of a source in the scene; None where it is elsewhere or gone."""
    return slicer.mrmlScene.GetNodeByID(source.node_id) if isinstance(source, FromScene) else None


def grid_of(row: Row) -> Any | None:
    """Return the volume whose grid a row's segmentation node is written on; None without one.

    A scan that lies in the data set already is loaded as the volume that was drawn on.
    """
    segmentation = node_of(row.label)
    if segmentation is None:
        return None
    volume = node_of(row.images[0]) or reference_of(segmentation)
    return volume if volume is not None and volume.GetImageData() is not None else None


def segments_in(rows: Iterable[Row]) -> tuple[list[Segment], dict[str, int]]:
    """Return every segment of the rows' segmentations once, and in how many cases it is."""
    segments: dict[str, Segment] = {}
    cases: dict[str, int] = {}
    for row in rows:
        node = node_of(row.label)
        for segment in segments_of(node) if node is not None else ():
            segments.setdefault(segment.name, segment)
            cases[segment.name] = cases.get(segment.name, 0) + 1
    return list(segments.values()), cases


def image_facts(volumes: Sequence[Any]) -> ImageFacts:
    """Return what is known of a scan with one volume node per channel."""
    first = volumes[0]
    arrays = [slicer.util.arrayFromVolume(volume) for volume in volumes]
    columns, rows, slices = (int(n) for n in first.GetImageData().GetDimensions())
    size = (columns, rows, slices)
    digest = hashlib.sha256(repr((len(arrays), slices, rows, columns)).encode())  # as the engine's
    ranges = []
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<f4").data)
        ranges.append((float(array.min(initial=np.inf)), float(array.max(initial=-np.inf))))
    colored = any(array.ndim != 3 for array in arrays)  # noqa: PLR2004 - slices, rows, columns
    return ImageFacts(
        size_xyz=size,
        spacing_mm=tuple(sorted(float(mm) for mm in first.GetSpacing())),
        low=min(low for low, _ in ranges),
        high=max(high for _, high in ranges),
        finite=all(np.isfinite(low) and np.isfinite(high) for low, high in ranges),
        constant=any(low == high for low, high in ranges),
        sha256=digest.hexdigest(),
        channels_agree=all(mrml.same_grid(volume, first) for volume in volumes[1:]),
        problem="is a color image, expected one intensity per voxel" if colored else "",
    )


def label_facts(segmentation: Any, volume: Any) -> LabelFacts:
    """Return what is known of a segmentation on the grid of `volume`."""
    voxels, overlaps, outside = shared_voxels(segmentation, volume)
    outside_ml = outside * float(np.prod(volume.GetSpacing())) / 1000.0
    return LabelFacts(
        voxels=voxels,
        overlaps=overlaps,
        outside_ml=outside_ml if outside > OUTSIDE_SHARE * sum(voxels.values()) else 0.0,
        is_prediction=is_prediction(segmentation),
    )


def _voxels_time(volume: Any) -> int:
    return int(volume.GetImageData().GetMTime())


def _drawn_time(segmentation: Any) -> int:
    """Return when anything of a segmentation changed last, its voxels included."""
    core = segmentation.GetSegmentation()
    times = [core.GetMTime()]
    for index in range(core.GetNumberOfSegments()):
        segment = core.GetNthSegment(index)
        shape = segment.GetRepresentation(core.GetSourceRepresentationName())
        scalars = shape and shape.GetPointData().GetScalars()
        times += [int(each.GetMTime()) for each in (segment, shape, scalars) if each is not None]
    return int(max(times))


def _nodes(sources: Iterable[Source | None]) -> list[Any]:
    """Return the nodes of sources that all lie in the scene; [] where one does not."""
    nodes = [node_of(source) for source in sources]
    return [] if any(node is None for node in nodes) else nodes
