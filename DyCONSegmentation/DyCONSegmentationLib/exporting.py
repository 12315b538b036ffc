"""What the menu Export offers: files are whole or not there, and nothing of the scene changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dycon_engine.errors import InputError
from dycon_engine.jobs.files import atomic_write, write_text
from DyCONLib import mrml
from DyCONSegmentationLib.corrected_reports import people_page, programs_report
from DyCONSegmentationLib.measuring import measure
from DyCONSegmentationLib.results import PAGE, Result
from DyCONSegmentationLib.segmentation_files import write_segmentation
from DyCONSegmentationLib.writing import Steps

_NO_NAME = re.compile(r'[\\/:*?"<>|\x00-\x1f]')
_ENDING = re.compile(r"\*(\.[.\w]+)")


class Export(NamedTuple):
    """One entry of the menu.

    Attributes:
        title: Of the entry and the dialog.
        tip: What it gives.
        suffix: Of the suggested file.
        pattern: Of the files in the dialog.
        write: Writes the result to the file; returns the steps where it takes its time.
        is_dicom: Whether it needs a scan that comes from DICOM.
    """

    title: str
    tip: str
    suffix: str
    pattern: str
    write: Callable[[Result, Path], Steps | None]
    is_dicom: bool = False

    def file_name(self, result: Result) -> str:
        """Return the suggested name; the scan's name is in it, as in Slicer's own dialogs.

        Scans from DICOM are called `6: CT Thorax`, which is no file name on Windows.
        """
        return f"{_NO_NAME.sub('_', result.segmentation.GetName())}{self.suffix}"

    def with_ending(self, chosen: str) -> Path:
        """Return the chosen file with an ending of `pattern`, which not every dialog adds."""
        endings = tuple(_ENDING.findall(self.pattern))
        return Path(chosen if chosen.lower().endswith(endings) else chosen + endings[0])


def write_uncertainty(result: Result, path: Path) -> None:
    """Write the uncertainty volume on the grid of the scan.

    Raises:
        InputError: It was removed from the scene.
        DyconError: The file cannot be written; one that was there is as before.
    """
    if result.uncertainty is None:
        raise InputError("the uncertainty volume was removed from the scene; segment again")
    atomic_write(path, lambda staged: mrml.export_volume(result.uncertainty, staged))


def write_report(result: Result, path: Path) -> None:
    """Write the report for programs, with the volumes of now and what was decided.

    Raises:
        DyconError: The file cannot be written; one that was there is as before.
    """
    content = programs_report(result, measure(result))
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_page(result: Result, path: Path) -> None:
    """Write the report for people, with pictures, as it was right after segmenting.

    What was corrected since then stands above all else, beside what the model drew.

    Raises:
        InputError: The scene does not hold it.
        DyconError: The file cannot be written; one that was there is as before.
    """
    node = result.segmentation.GetNodeReference(PAGE)
    if node is None or not node.GetText():
        raise InputError("the page of this result is not in the scene; segment again to get one")
    write_text(path, people_page(node.GetText(), measure(result)))


def write_dicom_segmentation(result: Result, path: Path) -> Steps:
    """Return the steps that write a DICOM Segmentation that refers to the series of the scan.

    Slicer's own export writes it. Where it cannot, its tool is called without it, and the last
    words say so.

    Raises:
        DyconError: The scan does not come from DICOM, or it cannot be written.
    """
    from DyCONLib import dicom_export, dicom_plugin  # noqa: PLC0415 - needs pydicom

    dicom_export.dicom_files(result.volume)
    obstacle = dicom_plugin.obstacle(result.segmentation, result.volume)
    if not obstacle:
        return (yield from dicom_plugin.export_by_plugin(result.segmentation, path))
    yield from dicom_export.export_dicom_segmentation(result.segmentation, result.volume, path)
    return f"{obstacle}: to have it in the DICOM database import the file in the module DICOM"


def write_dicom_map(result: Result, path: Path) -> Steps:
    """Return the steps that write the uncertainty as a DICOM Parametric Map of that series.

    Raises:
        DyconError: The scan does not come from DICOM, or it cannot be written.
    """
    from DyCONLib.dicom_export import export_dicom_map  # noqa: PLC0415 - needs pydicom

    if result.uncertainty is None:
        raise InputError("the uncertainty volume was removed from the scene; segment again")
    return export_dicom_map(result.uncertainty, result.volume, path)


def dicom_trouble(result: Result) -> str:
    """Return why this result cannot become DICOM, as what to do; '' where it can."""
    if result.volume is None:
        return "the scan of this result is not in the scene any more"
    try:
        from DyCONLib.dicom_export import dicom_problem  # noqa: PLC0415 - needs pydicom
    except ImportError as error:
        return f"this Slicer lacks {error.name}; update Slicer"
    return dicom_problem(result.volume)


EXPORTS = (
    Export(
        "Segmentation as file...",
        "All structures as they are now in one label map on the grid of the scan: .seg.nrrd (with "
        "names and colors), .nrrd or .nii.gz",
        " segmentation.seg.nrrd",
        "Label maps (*.seg.nrrd *.nrrd *.nii.gz)",
        write_segmentation,
    ),
    Export(
        "Segmentation as DICOM...",
        "A DICOM Segmentation object that belongs to the series of the scan, written by Slicer's "
        "own DICOM export; Slicer stands still while it does",
        " segmentation.dcm",
        "DICOM (*.dcm)",
        write_dicom_segmentation,
        is_dicom=True,
    ),
    Export(
        "Uncertainty as DICOM...",
        "A DICOM Parametric Map that belongs to the series of the scan",
        " uncertainty.dcm",
        "DICOM (*.dcm)",
        write_dicom_map,
        is_dicom=True,
    ),
    Export(
        "Uncertainty as file...",
        "The uncertainty volume, NRRD or NIfTI, on the grid of the scan",
        " uncertainty.nrrd",
        "Volumes (*.nrrd *.nii.gz)",
        write_uncertainty,
    ),
    Export(
        "Report for people...",
        "One page with figures and pictures, to be read or printed",
        " report.html",
        "Web pages (*.html)",
        write_page,
    ),
    Export(
        "Report for programs...",
        "Figures, flags, regions and what was corrected and decided, as JSON",
        " report.json",
        "JSON (*.json)",
        write_report,
    ),
)
