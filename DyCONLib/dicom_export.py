"""Results as DICOM beside the series they were made from: segmentation and parametric map.

Both are generators: the first step takes what it needs of the scene, the others are short, yield a
word of what goes on and wait for nothing. Closing one stops it; then nothing is left. A DICOM
object names its patient and study, as its scan does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
import slicer
import vtk

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import rename
from DyCONLib import dcmqi
from DyCONLib.mrml_files import export_volume, same_grid, write_array
from DyCONLib.mrml_segments import segment_arrays

CREATOR = "DyCON"
LONGEST_DESCRIPTION = 64  # of DICOM's LO
PREPARING = "Preparing DICOM"
SEGMENTATION = "DyCON segmentation, research use only"
Steps = Generator[str, None, str]  # words of what goes on; returns what else there is to say
FindFile = Callable[[str], str]  # SOP instance UID -> file, "" where the database has none


class Code(NamedTuple):
    """A coded term of DICOM."""

    value: str
    scheme: str
    meaning: str

    def table(self) -> dict[str, str]:
        """Return it as dcmqi reads it."""
        return {
            "CodeValue": self.value,
            "CodingSchemeDesignator": self.scheme,
            "CodeMeaning": self.meaning,
        }


UNCERTAINTY = Code("uncertainty", "99DYCON", "Uncertainty of a segmentation, 0 to 1")
NO_UNITS = Code("1", "UCUM", "no units")
BY_SEGMENTATION = Code("113076", "DCM", "Segmentation")
CATEGORY = Code("85756007", "SCT", "Tissue")  # what Slicer calls a segment that nobody named


def dicom_problem(volume: Any, find_file: FindFile | None = None) -> str:
    """Return why results of this volume cannot become DICOM, as what to do; empty if they can."""
    try:
        dicom_files(volume, find_file)
        dcmqi.tool("itkimage2segimage")
    except DyconError as error:
        return str(error)
    return ""


def dicom_files(volume: Any, find_file: FindFile | None = None) -> list[Path]:
    """Return the files of the series that a volume was loaded from.

    Args:
        volume: The node, as Slicer's DICOM module loads it.
        find_file: Of a DICOM database; without it Slicer's own.

    Raises:
        InputError: It was not loaded from DICOM, or its files are gone.
    """
    identifiers = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    if not identifiers:
        raise InputError(
            f"volume '{volume.GetName()}': was not loaded with Slicer's DICOM module; load the "
            "series there, or export a file of another format"
        )
    find = find_file or _find_in_database
    files = [Path(name) for each in identifiers if (name := find(each))]
    there = [path for path in files if path.is_file()]
    if len(there) < len(identifiers):
        raise InputError(
            f"volume '{volume.GetName()}': {len(identifiers) - len(there)} of {len(identifiers)} "
            "files of its series are gone; import the series into the DICOM database again"
        )
    return there


def _find_in_database(identifier: str) -> str:
    database = getattr(slicer, "dicomDatabase", None)  # absent without Slicer's module DICOM
    return str(database.fileForInstance(identifier)) if database is not None else ""


def export_dicom_segmentation(
    segmentation: Any,
    volume: Any,
    path: Path,
    *,
    description: str = SEGMENTATION,
    find_file: FindFile | None = None,
) -> Steps:
    """Write a DICOM Segmentation of the segments that have voxels, step by step.

    Args:
        segmentation: The node; names, colors, terms and overlap of its segments are kept.
        volume: The scan, loaded from DICOM.
        path: NAME.dcm; replaced only by a complete file.
        description: Of the series.
        find_file: As `dicom_files`.

    Raises:
        InputError: The volume is not from DICOM, or every segment is empty.
        DyconError: The tool is missing or failed.
    """
    files = dicom_files(volume, find_file)
    core = segmentation.GetSegmentation()
    arrays = {k: a for k, a in segment_arrays(segmentation, volume).items() if a.any()}
    if not arrays:
        raise InputError(
            f"segmentation '{segmentation.GetName()}': all its segments are empty; there is "
            "nothing to export"
        )
    with dcmqi.workspace(path) as folder:
        labels = []
        for number, array in enumerate(arrays.values()):
            labels.append(folder / f"segment{number}.nrrd")
            write_array(array.astype(np.uint8), volume, labels[-1])
        meta = _series(description) | {
            "ContentCreatorName": CREATOR,
            "segmentAttributes": [[_segment_table(core.GetSegment(key))] for key in arrays],
        }
        images = ("--inputImageList", ",".join(path.name for path in labels))
        yield PREPARING
        made = yield from dcmqi.convert("itkimage2segimage", images, meta, files, folder)
        rename(made, path)
    return ""


def export_dicom_map(
    overlay: Any,
    volume: Any,
    path: Path,
    *,
    quantity: Code = UNCERTAINTY,
    description: str = "DyCON uncertainty, research use only",
    find_file: FindFile | None = None,
) -> Steps:
    """Write a DICOM Parametric Map of a scalar volume on the grid of the scan, step by step.

    Args:
        overlay: The map, float values without units.
        volume: The scan, loaded from DICOM.
        path: NAME.dcm; replaced only by a complete file.
        quantity: What the values are.
        description: Of the series.
        find_file: As `dicom_files`.

    Raises:
        InputError: The volume is not from DICOM, or the map lies on another grid.
        DyconError: The tool is missing or failed.
    """
    files = dicom_files(volume, find_file)
    if not same_grid(overlay, volume):
        raise InputError(
            f"volume '{overlay.GetName()}' lies on another grid than '{volume.GetName()}'; "
            "resample it (Resample Scalar Volume)"
        )
    with dcmqi.workspace(path) as folder:
        export_volume(overlay, folder / "map.nrrd")
        meta = _series(description) | {
            "QuantityValueCode": quantity.table(),
            "MeasurementUnitsCode": NO_UNITS.table(),
            "DerivationCode": BY_SEGMENTATION.table(),
            "FrameLaterality": "U",
            "RealWorldValueSlope": "1",
        }
        image = ("--inputImage", "map.nrrd")
        yield PREPARING
        made = yield from dcmqi.convert("itkimage2paramap", image, meta, files, folder)
        _take_modality(made, files[0])
        rename(made, path)
    return ""


def _series(description: str) -> dict[str, Any]:
    return {
        "SeriesDescription": description[:LONGEST_DESCRIPTION],
        "SeriesNumber": "100",
        "InstanceNumber": "1",
    }


def _segment_table(segment: Any) -> dict[str, Any]:
    category, kind, modifier, region, region_modifier = _codes(segment.GetTerminology())
    table: dict[str, Any] = {
        "labelID": 1,
        "SegmentLabel": segment.GetName()[:LONGEST_DESCRIPTION],
        "SegmentDescription": segment.GetName(),
        "SegmentAlgorithmType": _tag(segment, "DICOM.SegmentAlgorithmType") or "AUTOMATIC",
        "SegmentAlgorithmName": _tag(segment, "DICOM.SegmentAlgorithmName") or CREATOR,
        "recommendedDisplayRGBValue": [round(255 * part) for part in segment.GetColor()],
        "SegmentedPropertyCategoryCodeSequence": (category or CATEGORY).table(),
        "SegmentedPropertyTypeCodeSequence": (kind or CATEGORY).table(),
    }
    optional = {
        "SegmentedPropertyTypeModifierCodeSequence": modifier,
        "AnatomicRegionSequence": region,
        "AnatomicRegionModifierSequence": region_modifier,
    }
    return table | {name: code.table() for name, code in optional.items() if code is not None}


def _codes(terminology: str) -> tuple[Code | None, ...]:
    """Return category, type, its modifier, region, its modifier of a serialized entry."""
    parts = [part.split("^") for part in terminology.split("~")]
    found = [Code(*p) if len(p) == len(Code._fields) and all(p) else None for p in parts]
    found += [None] * 7
    return (*found[1:4], *found[5:7])


def _tag(segment: Any, name: str) -> str:
    value = vtk.mutable("")
    return str(value) if segment.GetTag(name, value) else ""


def _take_modality(made: Path, source: Path) -> None:
    """Give a parametric map the modality of its scan: the tool calls every one MR."""
    data = pydicom.dcmread(made)
    data.Modality = pydicom.dcmread(source, stop_before_pixels=True).Modality
    data.save_as(made)
