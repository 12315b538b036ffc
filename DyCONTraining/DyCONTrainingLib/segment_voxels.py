"""The voxels of segments on the grid of a scan, one segment at a time and only where it lies.

A segmentation drawn on the scan has its grid already; then nothing is resampled. Many segments of a
large scan need neither time nor memory for as many whole masks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from DyCONLib.mrml_files import ijk_to_ras, voxels_of

ALIGNED = 1e-3  # of a voxel: matrices that differ less are one grid
LABELMAP = "Binary labelmap"  # vtkSegmentationConverter's name of it


class Piece(NamedTuple):
    """A segment on the grid of the scan.

    Attributes:
        name: Of the segment.
        box: Where `mask` lies in the scan: slices of (slices, rows, columns).
        mask: Its voxels there.
        outside: Its voxels beyond the scan.
    """

    name: str
    box: tuple[slice, ...]
    mask: NDArray[np.bool_]
    outside: int


def pieces(segmentation: Any, volume: Any) -> Iterator[Piece]:
    """Yield every segment of a segmentation on the grid of `volume`."""
    core = segmentation.GetSegmentation()
    same_place = segmentation.GetParentTransformNode() is volume.GetParentTransformNode()
    for index in range(core.GetNumberOfSegments()):
        segment = core.GetNthSegment(index)
        image = segment.GetRepresentation(LABELMAP)
        if image is not None and same_place and _is_on_grid(image, volume):
            yield _cut(segment, image, volume)
        else:
            yield _resampled(segmentation, core.GetNthSegmentID(index), segment.GetName(), volume)


def shared_voxels(segmentation: Any, volume: Any) -> tuple[dict[str, int], dict[Any, int], int]:
    """Return voxels by segment, voxels that two segments share by both names, and those outside.

    Segments of one name are one.
    """
    shape = volume.GetImageData().GetDimensions()[::-1]
    owner = np.zeros(shape, np.int16)
    names: list[str] = [""]
    voxels: dict[str, int] = defaultdict(int)
    shared: dict[tuple[str, str], int] = defaultdict(int)
    outside = 0
    for piece in pieces(segmentation, volume):
        number = names.index(piece.name) if piece.name in names else len(names)
        if number == len(names):
            names.append(piece.name)
        there = owner[piece.box]
        before = there[piece.mask]
        for other, count in zip(*np.unique(before, return_counts=True), strict=True):
            if other not in (0, number):
                shared[names[other], piece.name] += int(count)
        voxels[piece.name] += int(np.count_nonzero(before != number))
        there[piece.mask] = number
        outside += piece.outside
    return dict(voxels), dict(shared), outside


def _is_on_grid(image: Any, volume: Any) -> bool:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    own = np.array([[matrix.GetElement(row, col) for col in range(4)] for row in range(4)])
    between = np.linalg.solve(ijk_to_ras(volume), own)
    size = max(volume.GetImageData().GetDimensions())
    apart = np.abs(between - np.eye(4)) * np.array([size, size, size, 1.0])
    return bool(apart.max() < ALIGNED)


def _cut(segment: Any, image: Any, volume: Any) -> Piece:
    """Return a segment whose label map lies on the scan's grid: a box of it."""
    name, value = segment.GetName(), segment.GetLabelValue()
    if image.IsEmpty():
        return Piece(name, (slice(0, 0),) * 3, np.zeros((0, 0, 0), np.bool_), 0)
    whole = voxels_of(image) == value
    extent, size = image.GetExtent(), volume.GetImageData().GetDimensions()
    box, inside = [], []
    for axis in (2, 1, 0):
        low, high = extent[2 * axis], extent[2 * axis + 1] + 1
        first, last = max(low, 0), max(min(high, size[axis]), low, 0)
        box.append(slice(first, last))
        inside.append(slice(first - low, last - low))
    mask = whole[tuple(inside)]
    beyond = int(np.count_nonzero(whole)) - int(np.count_nonzero(mask))
    return Piece(name, tuple(box), mask, beyond)


def _resampled(segmentation: Any, identifier: str, name: str, volume: Any) -> Piece:
    """Return a segment on another grid; what lies outside is told by its volume, about."""
    array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, volume)
    shape = volume.GetImageData().GetDimensions()[::-1]
    mask = np.zeros(shape, np.bool_) if array is None else array.astype(np.bool_)
    own = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(identifier, own)
    there = 0.0 if own.IsEmpty() else np.count_nonzero(voxels_of(own)) * _cubic_mm(own)
    beyond = there / _cubic_mm(volume) - np.count_nonzero(mask)
    return Piece(name, tuple(slice(0, n) for n in shape), mask, max(0, round(beyond)))


def _cubic_mm(grid: Any) -> float:
    return float(np.prod(grid.GetSpacing()))
