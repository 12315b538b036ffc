"""A segmentation as DICOM through Slicer's own export, its plugin DICOMSegmentationPlugin.

Part of Slicer since 5.12, of the extension QuantitativeReporting before. The plugin adds what it
writes to Slicer's DICOM database. It converts on Slicer's own thread and waits for the tool, so
Slicer stands still meanwhile: the steps say so one step before.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import slicer

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import rename
from DyCONLib import dcmqi
from DyCONLib.dicom_export import CREATOR, LONGEST_DESCRIPTION, SEGMENTATION, Steps

PLUGIN = "DICOMSegmentationPlugin"
WAITING = "Writing with Slicer's own DICOM export; Slicer stands still until it is done"
DONE = "it is in Slicer's DICOM database, too"


def obstacle(segmentation: Any, volume: Any) -> str:
    """Return why Slicer's own export cannot be used for a segmentation; '' where it can.

    Args:
        segmentation: The node.
        volume: Its scan.
    """
    if PLUGIN not in getattr(slicer.modules, "dicomPlugins", {}):
        return "this Slicer has no DICOM export of its own for segmentations"
    if segmentation.GetParentTransformNode() is not volume.GetParentTransformNode():
        return "Slicer's own export would leave out the transform between it and its scan"
    return ""


def export_by_plugin(segmentation: Any, path: Path, *, description: str = SEGMENTATION) -> Steps:
    """Write a DICOM Segmentation with Slicer's own export, step by step; one step is long.

    Where a segment is empty Slicer asks whether to leave it out.

    Args:
        segmentation: The node, without an `obstacle`; its scan comes from the DICOM database.
        path: NAME.dcm; replaced only by a complete file.
        description: Of the series.

    Raises:
        InputError: The segmentation was removed, or its series is not in the DICOM database.
        DyconError: Slicer's export failed; it says why.
    """
    with dcmqi.workspace(path) as folder:
        yield WAITING
        _export(segmentation, folder, description)
        made = list(folder.glob("*.dcm"))
        if len(made) != 1:
            raise DyconError(f"Slicer's DICOM export made {len(made)} files, expected one; repeat")
        rename(made[0], path)
    return DONE


def _export(segmentation: Any, folder: Path, description: str) -> None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(segmentation)
    if not item:
        raise InputError("the segmentation was removed meanwhile; nothing was written")
    plugin = slicer.modules.dicomPlugins[PLUGIN]()
    exportables = plugin.examineForExport(item)
    if not exportables:
        raise InputError(
            f"segmentation '{segmentation.GetName()}': the series that it belongs to is not in "
            "the DICOM database any more; import it again"
        )
    for exportable in exportables:
        exportable.directory = str(folder)
        exportable.setTag("SeriesDescription", description[:LONGEST_DESCRIPTION])
        exportable.setTag("ContentCreatorName", CREATOR)
    error = plugin.export(exportables)
    if error:
        logging.getLogger("DyCON").error("Slicer's DICOM export: %s", error)
        raise DyconError(f"Slicer's DICOM export failed ({_reason(error)}); nothing was written")


def _reason(error: str) -> str:
    """Return the line of a message that says most: the tool's last error, else the last line."""
    lines = [line.strip().rstrip(".") for line in error.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "ERROR" in line.upper()), lines[-1])
