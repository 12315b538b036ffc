"""How much of every structure there is now: a person corrects what the model drew."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import vtk

from DyCONLib.mrml_files import voxels_of
from DyCONSegmentationLib.report import StructureVolume
from DyCONSegmentationLib.results import Result

LABELMAP = "Binary labelmap"  # vtkSegmentationConverter's name of it
SAME = 1e-6  # share of a volume that a grid rounded to float32 may change
NOWHERE = (None, None)


class Measured(NamedTuple):
    """One structure of a result as it is now.

    Attributes:
        name: Of the segment; of one that was removed, the model's name.
        voxels: How many there are; None where it was removed or is a surface without voxels.
        ml: The same in milliliters.
        drawn: What the model drew; None where a person added the segment.
        is_there: False where the segment was removed.
        is_corrected: Whether the volume is another one than the model's.
    """

    name: str
    voxels: int | None
    ml: float | None
    drawn: StructureVolume | None
    is_there: bool
    is_corrected: bool


class Gauge:
    """Measures results, and the same voxels only once."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._stamp: tuple[Any, ...] = ()
        self._measured: tuple[Measured, ...] = ()

    def measure(self, result: Result) -> tuple[Measured, ...]:
        """Return what the function `measure` does."""
        stamp = _stamp(result)
        if stamp != self._stamp:
            self._stamp, self._measured = stamp, measure(result)
        return self._measured


def measure(result: Result) -> tuple[Measured, ...]:
    """Return the segments of a result in their order, then what the model drew and is gone.

    A renamed segment is known by its id, which is the model's name of the structure; one that was
    drawn anew under that name counts as the same structure.
    """
    core = result.segmentation.GetSegmentation()
    segments = {each: core.GetSegment(each) for each in core.GetSegmentIDs()}
    left = {structure.name: structure for structure in result.report.volumes}
    drawn = {each: left.pop(each) for each in segments if each in left}
    for each, segment in segments.items():
        if each not in drawn and segment.GetName() in left:
            drawn[each] = left.pop(segment.GetName())
    has_voxels = core.ContainsRepresentation(LABELMAP)
    now = [_measured(each, drawn.get(key), has_voxels) for key, each in segments.items()]
    gone = [Measured(each.name, *NOWHERE, each, False, True) for each in left.values()]
    return (*now, *gone)


def _measured(segment: Any, drawn: StructureVolume | None, has_voxels: bool) -> Measured:
    name = segment.GetName()
    if not has_voxels:
        return Measured(name, *NOWHERE, drawn, True, True)
    voxels, milliliter = _counted(segment)
    ml = voxels * milliliter
    is_same = drawn is not None and abs(ml - drawn.ml) <= max(milliliter / 2, SAME * drawn.ml)
    return Measured(name, voxels, ml, drawn, True, not is_same)


def _counted(segment: Any) -> tuple[int, float]:
    """Return the voxels of a segment, and of one voxel the milliliters.

    Only the box that the segment's layer fills is looked at, plane by plane: nothing is copied.
    """
    layer = segment.GetRepresentation(LABELMAP)
    if layer is None or layer.IsEmpty() or layer.GetPointData().GetScalars() is None:
        return 0, 0.0
    value, matrix = segment.GetLabelValue(), vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    count = sum(int(np.count_nonzero(plane == value)) for plane in voxels_of(layer))
    return count, abs(matrix.Determinant()) / 1000.0


def _stamp(result: Result) -> tuple[Any, ...]:
    """Return what is another one as soon as a voxel, a name or the report is."""
    core = result.segmentation.GetSegmentation()
    segments = [(each, core.GetSegment(each)) for each in core.GetSegmentIDs()]
    layers = [segment.GetRepresentation(LABELMAP) for _, segment in segments]
    return (
        result.segmentation.GetID(),
        result.report.volumes,
        *((key, segment.GetName(), segment.GetLabelValue()) for key, segment in segments),
        *(layer.GetMTime() if layer is not None else 0 for layer in layers),
    )
