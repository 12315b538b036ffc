"""A scan of a batch and what the batch wrote for it, from disk into the scene, to be reviewed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from dycon_engine.errors import DyconError, InputError
from DyCONLib import mrml
from DyCONLib.models import Model
from DyCONSegmentationLib.batch import Row
from DyCONSegmentationLib.results import Result, place, result_name


class Opener:
    """Opens rows of a batch; a row that was opened before is only shown again."""

    def __init__(self, today: Callable[[], datetime] = datetime.now) -> None:
        """Know no row yet.

        Args:
            today: The date in the name of a result.
        """
        self._today = today
        self._opened: dict[Path, Any] = {}  # by label file; ids are given anew in another scene

    def find(self, row: Row, results: Sequence[Any]) -> Any:
        """Return the segmentation of a finished row in the scene; None where it must be loaded."""
        if row.item is None:
            return None
        if row.files is None:  # it was placed beside its volume
            ours = [node for node in results if _scan_of(node) is row.item.volume]
            return ours[-1] if ours and row.item.volume is not None else None
        opened = self._opened.get(row.files.labels)
        return opened.Get() if opened is not None and opened.Get() in results else None

    def load(self, row: Row, model: Model) -> Result:
        """Return the result of a row whose files lie on disk, loaded with its scan.

        Raises:
            InputError: The row has no files.
            DyconError: A file cannot be read, or scan and result do not fit; the scene is as
                before.
        """
        if row.item is None or row.files is None:
            raise InputError(f"'{row.name}': has no files of a result; segment it again")
        with mrml.removed_on_failure() as added:
            for path in row.item.files:
                added.append(_load(path))
                added[-1].SetName(_name(row, len(added), len(row.item.files)))
            scan, *others = added
            name = result_name(scan, self._today())
            result = place(row.files, model=model, volume=scan, name=name, others=others)
        self._opened[row.files.labels] = vtk.vtkWeakReference()
        self._opened[row.files.labels].Set(result.segmentation)
        return result


def _scan_of(segmentation: Any) -> Any:
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def _name(row: Row, number: int, count: int) -> str:
    return row.name if count == 1 else f"{row.name}_{number - 1:04d}"


def _load(path: Path) -> Any:
    """Return the volume of a file, or of the series in a DICOM folder."""
    if path.is_dir():
        return _load_series(path)
    try:
        return slicer.util.loadVolume(str(path), {"show": False, "singleFile": True})
    except RuntimeError as error:
        raise _unloadable(path) from error


def _load_series(folder: Path) -> Any:
    """Return the volume of a DICOM folder, whose files are read in the order of their places."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", folder.name)
    with mrml.removed_on_failure() as added:
        added.append(node)
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetSingleFile(0)
        for number, file in enumerate(_along_the_normal(folder)):
            storage.AddFileName(str(file))
            if number == 0:
                storage.SetFileName(str(file))
        if not storage.ReadData(node) or node.GetImageData() is None:
            raise _unloadable(folder)
        node.CreateDefaultDisplayNodes()
    return node


def _along_the_normal(folder: Path) -> list[Path]:
    import pydicom  # noqa: PLC0415 - Slicer has it, a bare Python may not

    places = {}
    for file in folder.iterdir():
        try:
            data = pydicom.dcmread(file, stop_before_pixels=True)
            right, down = np.reshape(np.asarray(data.ImageOrientationPatient, float), (2, 3))
            places[file] = float(np.dot(np.cross(right, down), data.ImagePositionPatient))
        except (OSError, ValueError, TypeError, AttributeError, pydicom.errors.InvalidDicomError):
            continue  # a folder may hold other files, too
    if not places:
        raise _unloadable(folder)
    return sorted(places, key=places.__getitem__)


def _unloadable(path: Path) -> DyconError:
    return DyconError(f"scan '{path.name}': Slicer cannot load it; look whether it is still there")
