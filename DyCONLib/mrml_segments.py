"""Label files and segmentation nodes: one layer in, one label map out, nothing lost in silence."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

from dycon_engine import __version__
from dycon_engine.errors import DyconError, InputError
from DyCONLib.models import ModelLabel
from DyCONLib.mrml_files import ijk_to_ras, read_array, voxels_of, vtk_matrix, write_array
from DyCONLib.mrml_tree import place_beside, removed_on_failure

LABELMAP = "Binary labelmap"  # vtkSegmentationConverter's name of it
PALETTE = (  # for structures without a color: outlines that color-blind eyes too can tell from each
    (64, 200, 255),  # other, from the warm colors of uncertainty and from a gray scan; tested
    (153, 34, 255),
    (68, 85, 153),
    (136, 136, 255),
    (204, 255, 255),
)
_CATEGORY = "SCT^123037004^Anatomical Structure"
_CONTEXT = "Segmentation category and type - DICOM master list"
_REGION = "~^^~Anatomic codes - DICOM master list~^^~^^"


def load_segmentation(
    path: Path, *, name: str, segments: Sequence[ModelLabel], reference_volume: Any
) -> Any:
    """Return a new segmentation node with the label map at `path`, beside its volume.

    All segments share one layer, those that the file does not contain too. The node has no storage
    node, so it does not depend on the file, and Slicer offers to save it.

    Args:
        path: Label map on the grid of the volume.
        name: Of the node.
        segments: Value, name, color and term of each segment.
        reference_volume: The scan that was segmented.

    Raises:
        DyconError: The file is missing, unreadable, on another grid, or holds values that no
            segment has; the scene is as before.
    """
    labels = _label_values(read_array(path, reference_volume, "segmentation"), segments)
    with removed_on_failure() as added:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        added.append(node)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference_volume)
        _add_segments(node.GetSegmentation(), labels, segments, reference_volume)
        place_beside(node, reference_volume)
    return node


def export_segmentation(
    segmentation: Any,
    reference_volume: Any,
    path: Path,
    values: Mapping[str, int],
    *,
    on_top: Sequence[int] = (),
) -> dict[int, int]:
    """Write segments as one label map on the grid of a volume; return voxels per value.

    The segments are taken where they stand in the world, also where they and the volume are under
    different linear transforms. Neither node is touched.

    Args:
        segmentation: The vtkMRMLSegmentationNode.
        reference_volume: Gives the grid.
        path: Label map to write.
        values: Value by segment name, 1 or more; other segments and value 0 are left out.
        on_top: Values, the topmost first; where segments overlap, the first of these is written.

    Raises:
        InputError: A segment is missing, the transforms are not linear, or segments of different
            values share voxels and `on_top` does not say which goes.
        DyconError: The file cannot be written.
    """
    wanted = _segment_ids(segmentation, values)
    size = reference_volume.GetImageData().GetDimensions()
    highest = max(values.values(), default=0)
    result = np.zeros(size[::-1], np.uint8 if highest < 256 else np.uint16)  # noqa: PLR2004 - byte
    painted = list(dict.fromkeys(wanted.values()))
    painted.sort(key=lambda value: on_top.index(value) if value in on_top else len(on_top))
    for value in reversed(painted):  # the topmost last
        for segment_id in (key for key, own in wanted.items() if own == value):
            mask = _mask(segmentation, segment_id, reference_volume)
            below = np.unique(result[mask])
            for other in (int(v) for v in below if v not in (0, value)):
                if not {value, other} <= set(on_top):
                    shared = int(np.count_nonzero(result[mask] == other))
                    raise _overlap(segmentation, wanted, value, other, shared)
            result[mask] = value
    write_array(result, reference_volume, path)
    return {value: int(np.count_nonzero(result == value)) for value in sorted(painted)}


def segment_arrays(segmentation: Any, reference_volume: Any) -> dict[str, NDArray[np.bool_]]:
    """Return the voxels of every segment by its id, (K, J, I) on the grid of a volume.

    Raises:
        InputError: The two are under different transforms that are not linear.
    """
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    return {each: _mask(segmentation, each, reference_volume) for each in ids}


def terminology_entry(term: str) -> str:
    """Return Slicer's serialized terminology entry of a model's term; empty where it has none.

    Args:
        term: A serialized entry, or a type as `scheme^code^meaning`, e.g.
            `SCT^82471001^Left atrium`.
    """
    if term.count("~") > 1:
        return term
    return f"{_CONTEXT}~{_CATEGORY}~{term}{_REGION}" if term.count("^") == 2 else ""  # noqa: PLR2004


def _label_values(array: NDArray[Any], segments: Sequence[ModelLabel]) -> NDArray[Any]:
    """Return label values in the smallest type that segmentations are kept in."""
    found = np.unique(array)
    known = {0} | {segment.value for segment in segments}
    odd = [value for value in found.tolist() if value not in known]
    if odd:
        raise DyconError(
            f"segmentation: the file holds the value {odd[0]:g}, which is none of the model's "
            "segments; segment again"
        )
    highest = max(known)
    for kind in (np.uint8, np.int16, np.int32):
        if highest <= np.iinfo(kind).max:
            return array.astype(kind)
    raise DyconError(f"segmentation: the label value {highest} is too large")


def _add_segments(
    segmentation: Any, labels: NDArray[Any], segments: Sequence[ModelLabel], volume: Any
) -> None:
    segmentation.SetSourceRepresentationName(LABELMAP)
    layer = _cropped(labels, volume)
    for label, spare in zip(segments, itertools.cycle(PALETTE)):
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*(part / 255 for part in label.color or spare))
        segment.SetLabelValue(label.value)
        segment.AddRepresentation(LABELMAP, layer)
        entry = terminology_entry(label.terminology)
        if entry:
            segment.SetTag(segment.GetTerminologyEntryTagName(), entry)
        segment.SetTag("DICOM.SegmentAlgorithmType", "AUTOMATIC")
        segment.SetTag("DICOM.SegmentAlgorithmName", f"DyCON {__version__}")
        segmentation.AddSegment(segment, segmentation.GenerateUniqueSegmentID(label.name))


def _cropped(labels: NDArray[Any], volume: Any) -> Any:
    """Return the labeled box of `labels` as vtkOrientedImageData; one voxel where there is none."""
    image = slicer.vtkOrientedImageData()
    extent: list[int] = []
    for axis in (2, 1, 0):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(labels.any(axis=others))
        extent += [int(filled[0]), int(filled[-1])] if filled.size else [0, 0]
    i0, i1, j0, j1, k0, k1 = extent
    box = np.ascontiguousarray(labels[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1])
    image.SetExtent(extent)
    scalars = numpy_to_vtk(box.ravel(), deep=1)
    scalars.SetName("ImageScalars")  # by this name Slicer's DICOM export finds the voxels
    image.GetPointData().SetScalars(scalars)
    image.SetGeometryFromImageToWorldMatrix(vtk_matrix(ijk_to_ras(volume)))
    return image


def _segment_ids(segmentation: Any, values: Mapping[str, int]) -> dict[str, int]:
    """Return the value by segment id of those that are wanted."""
    core = segmentation.GetSegmentation()
    names = {each: core.GetSegment(each).GetName() for each in core.GetSegmentIDs()}
    missing = sorted(name for name, value in values.items() if value and name not in names.values())
    if missing:
        raise InputError(
            f"segmentation '{segmentation.GetName()}': has no segment '{missing[0]}'; "
            "choose its segments again"
        )
    return {each: values[name] for each, name in names.items() if values.get(name)}


def _mask(segmentation: Any, segment_id: str, volume: Any) -> NDArray[np.bool_]:
    """Return the voxels (K, J, I) of a segment on the grid of a volume."""
    grid = _grid_of(volume, segmentation)
    own = slicer.vtkOrientedImageData()
    if segmentation.GetSegmentation().ContainsRepresentation(LABELMAP):
        segmentation.GetBinaryLabelmapRepresentation(segment_id, own)
    else:  # surfaces only: convert a copy, on the grid that is asked for
        core = slicer.vtkSegmentation()
        core.SetSourceRepresentationName(
            segmentation.GetSegmentation().GetSourceRepresentationName()
        )
        core.CopySegmentFromSegmentation(segmentation.GetSegmentation(), segment_id)
        core.SetConversionParameter(
            "Reference image geometry",
            slicer.vtkSegmentationConverter.SerializeImageGeometry(grid),
        )
        if not core.CreateRepresentation(LABELMAP):
            raise InputError(
                f"segmentation '{segmentation.GetName()}': its surfaces cannot be filled with "
                "voxels; create its binary labelmap in Segmentations"
            )
        own.DeepCopy(core.GetSegment(segment_id).GetRepresentation(LABELMAP))
    resampled = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if own.IsEmpty() or not resample(own, grid, resampled, False):
        return np.zeros(volume.GetImageData().GetDimensions()[::-1], np.bool_)
    return np.asarray(voxels_of(resampled) != 0)


def _grid_of(volume: Any, segmentation: Any) -> Any:
    """Return the grid of `volume` as vtkOrientedImageData in the segmentation's own frame."""
    between = vtk_matrix(np.eye(4))
    ours, theirs = volume.GetParentTransformNode(), segmentation.GetParentTransformNode()
    if ours is not theirs:
        if not all(each is None or each.IsTransformToWorldLinear() for each in (ours, theirs)):
            raise InputError(
                f"segmentation '{segmentation.GetName()}' and volume '{volume.GetName()}' are "
                "under different transforms that are not linear; harden them (Transforms)"
            )
        slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(ours, theirs, between)
    matrix = vtk_matrix(ijk_to_ras(volume))
    between.Multiply4x4(between, matrix, matrix)
    grid = slicer.vtkOrientedImageData()
    grid.SetDimensions(*volume.GetImageData().GetDimensions())
    grid.SetGeometryFromImageToWorldMatrix(matrix)
    return grid


def _overlap(
    segmentation: Any, wanted: Mapping[str, int], value: int, other: int, voxels: int
) -> InputError:
    core = segmentation.GetSegmentation()
    names = [
        next(core.GetSegment(key).GetName() for key, own in wanted.items() if own == each)
        for each in sorted((value, other))
    ]
    return InputError(
        f"segmentation '{segmentation.GetName()}': '{names[0]}' and '{names[1]}' share {voxels} "
        "voxels; say which one is on top"
    )
