"""The segmentation of a result as a file on the grid of its scan, as it is now."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import vtk

from dycon_engine.errors import InputError
from dycon_engine.jobs.files import atomic_write, rename
from DyCONLib import mrml
from DyCONSegmentationLib.measuring import measure
from DyCONSegmentationLib.results import Result

WITH_NAMES = ".seg.nrrd"
LONGEST_HEADER = 1 << 20


def write_segmentation(result: Result, path: Path) -> None:
    """Write all segments as one label map: NAME.seg.nrrd with names and colors, .nrrd or .nii.gz.

    The model's structures have the model's values, whatever they are called now; segments that a
    person added have the next ones.

    Raises:
        InputError: The scan is gone, there is no segment, two have one name, or they share voxels.
        DyconError: The file cannot be written; one that was there is as before.
    """
    if result.volume is None:
        raise InputError("the scan of this result is not in the scene any more")
    values = _values(result)

    def write(staged: Path) -> None:
        mrml.export_segmentation(result.segmentation, result.volume, staged, values)
        if path.name.lower().endswith(WITH_NAMES):
            _add_keys(staged, _segment_keys(result, values))

    atomic_write(path, write)


def _values(result: Result) -> dict[str, int]:
    """Return the value in the file by name of segment."""
    title = result.segmentation.GetName()
    values: dict[str, int] = {}
    free = max(result.labels.values(), default=0) + 1
    for segment in measure(result):
        if not segment.is_there:
            continue
        if segment.name in values:
            raise InputError(
                f"segmentation '{title}': has two segments '{segment.name}'; rename one of them"
            )
        known = result.labels.get(segment.drawn.name) if segment.drawn is not None else None
        values[segment.name] = known or free
        free += known is None
    if not values:
        raise InputError(f"segmentation '{title}': holds no segment; segment again")
    return values


def _segment_keys(result: Result, values: Mapping[str, int]) -> dict[str, str]:
    """Return what makes a label map a segmentation in Slicer: one layer, a segment per value."""
    core = result.segmentation.GetSegmentation()
    size = result.volume.GetImageData().GetDimensions()
    keys = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, segment_id in enumerate(core.GetSegmentIDs()):
        segment = core.GetSegment(segment_id)
        fields = {
            "ID": segment_id,
            "Name": segment.GetName(),
            "LabelValue": str(values[segment.GetName()]),
            "Layer": "0",
            "Color": " ".join(f"{part:.6g}" for part in segment.GetColor()),
            "Extent": " ".join(f"0 {count - 1}" for count in size),
        }
        tag, term = segment.GetTerminologyEntryTagName(), vtk.mutable("")
        if segment.GetTag(tag, term):
            fields["Tags"] = f"{tag}:{term}|"
        keys |= {f"Segment{number}_{field}": text for field, text in fields.items()}
    return keys


def _add_keys(path: Path, keys: Mapping[str, str]) -> None:
    """Add keys to the header of an NRRD file; its voxels are copied as they are."""
    lines = "".join(f"{key}:={_escaped(text)}\n" for key, text in keys.items())
    grown = path.with_name(f"{path.name}.named")
    try:
        with path.open("rb") as source, grown.open("wb") as target:
            header, _, rest = source.read(LONGEST_HEADER).partition(b"\n\n")
            target.write(header + b"\n" + lines.encode() + b"\n" + rest)
            shutil.copyfileobj(source, target)
        rename(grown, path)
    finally:
        grown.unlink(missing_ok=True)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\")
