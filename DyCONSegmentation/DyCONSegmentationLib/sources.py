"""Where the scans of a batch come from and their results go: disk, subject hierarchy, sequence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import slicer
import vtk

from dycon_engine.errors import InputError
from DyCONLib import mrml
from DyCONLib.models import Model
from DyCONSegmentationLib.batch import Item, Plan
from DyCONSegmentationLib.orders import SUFFIX
from DyCONSegmentationLib.report import Report, read_report
from DyCONSegmentationLib.results import Files, is_scan, place, result_name

SCANS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
DICOM = (".dcm", ".ima")
DICM_AT = 128
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")


class Folder(NamedTuple):
    """A folder of the subject hierarchy; its item id, and its name below those above it."""

    item: int
    name: str


def disk_plan(folder: Path, output: Path, channels: int) -> Plan:
    """Return the batch of all scans directly in `folder`; DICOM series are folders in it.

    Args:
        folder: Of the scans.
        output: Of the results; made if it is not there.
        channels: Of the model; then NAME_0000, NAME_0001... are one scan.

    Raises:
        InputError: A folder cannot be read or made, or both are the same.
    """
    if not folder.is_dir():
        raise InputError(f"folder '{folder}': is not there; choose the folder of the scans")
    if output.resolve() == folder.resolve():
        raise InputError("scans and results are the same folder; choose another one for results")
    try:
        paths = sorted(path for path in folder.iterdir() if _is_scan_file(path))
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"folder '{error.filename}': {error.strerror}; choose another") from error
    items = tuple(Item(case, case, tuple(files)) for case, files in _grouped(paths, channels))
    return Plan(items, output, _no_export, lambda _item, files: read_report(files.report))


def scene_plan(
    volumes: Sequence[Any], model: Model, *, today: Callable[[], datetime] = datetime.now
) -> Plan:
    """Return the batch of these volumes; every result is placed beside its volume.

    Raises:
        InputError: The model takes several volumes per scan.
    """
    _require_one_channel(model)
    items = tuple(
        Item(volume.GetName(), case, (Path(f"{case}{SUFFIX}"),), volume)
        for case, volume in zip(_cases(len(volumes)), volumes, strict=True)
    )

    def keep(item: Item, files: Files) -> Report:
        if not slicer.mrmlScene.IsNodePresent(item.volume):
            raise InputError("the volume was removed meanwhile")
        name = result_name(item.volume, today())
        return place(files, model=model, volume=item.volume, name=name).report

    return Plan(items, None, _export, keep)


def sequence_plan(sequence: Any, model: Model) -> Plan:
    """Return the batch of all volumes of a sequence; the results are sequences beside it.

    Raises:
        InputError: The model takes several volumes per scan, or the sequence holds no volumes.
    """
    _require_one_channel(model)
    if sequence.GetDataNodeClassName() != "vtkMRMLScalarVolumeNode":
        raise InputError(f"sequence '{sequence.GetName()}': holds no volumes; choose another one")
    count, unit = sequence.GetNumberOfDataNodes(), sequence.GetIndexUnit() or ""
    items = tuple(
        Item(
            f"{sequence.GetIndexName() or 'frame'} {sequence.GetNthIndexValue(index)} {unit}",
            case,
            (Path(f"{case}{SUFFIX}"),),
            sequence.GetNthDataNode(index),
        )
        for index, case in enumerate(_cases(count))
    )
    frames = _Frames(sequence, model, [item.case for item in items])
    return Plan(items, None, _export, frames.keep)


def folders() -> list[Folder]:
    """Return the folders, patients and studies of the subject hierarchy that hold volumes."""
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    found = vtk.vtkIdList()
    tree.GetItemChildren(tree.GetSceneItemID(), found, True)
    ids = [found.GetId(index) for index in range(found.GetNumberOfIds())]
    return [
        Folder(item, _path_of(tree, item))
        for item in ids
        if tree.GetItemDataNode(item) is None and volumes_below(item)
    ]


def volumes_below(item: int) -> list[Any]:
    """Return the scans in a subject-hierarchy item and everything below it, in its order."""
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    found = vtk.vtkCollection()
    tree.GetDataNodesInBranch(item, found, "vtkMRMLScalarVolumeNode")
    nodes = (found.GetItemAsObject(index) for index in range(found.GetNumberOfItems()))
    return [node for node in nodes if is_scan(node)]


class _Frames:
    """Puts the results of frames into sequences that play together with the scans."""

    def __init__(self, sequence: Any, model: Model, cases: Sequence[str]) -> None:
        """Make nothing yet: a batch that fails from the start leaves the scene as it was."""
        self._source, self._model = sequence, model
        self._index = {case: index for index, case in enumerate(cases)}
        self._sequences: dict[str, Any] = {}

    def keep(self, item: Item, files: Files) -> Report:
        """Place one frame's result, move it into the sequences, return its report."""
        if not slicer.mrmlScene.IsNodePresent(self._source):
            raise InputError("the sequence was removed meanwhile")
        frame = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "frame")
        try:
            frame.CopyContent(item.volume)
            result = place(files, model=self._model, volume=frame, name="frame")
            for role, node in (("", result.segmentation), (" uncertainty", result.uncertainty)):
                if node is not None:
                    self._add(role, node, item.case)
            return result.report
        finally:
            slicer.mrmlScene.RemoveNode(frame)

    def _add(self, role: str, node: Any, case: str) -> None:
        is_new = role not in self._sequences
        if is_new:
            name = f"{self._source.GetName()} - DyCON{role}"
            made = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
            made.SetIndexName(self._source.GetIndexName())
            made.SetIndexUnit(self._source.GetIndexUnit())
            made.SetIndexType(self._source.GetIndexType())
            self._sequences[role] = made
        made = self._sequences[role]
        made.SetDataNodeAtValue(node, self._source.GetNthIndexValue(self._index[case]))
        slicer.mrmlScene.RemoveNode(node)
        for browser in _browsers(self._source) if is_new else ():
            browser.AddSynchronizedSequenceNode(made)
            browser.SetMissingItemMode(made, browser.MissingItemSetToDefault)  # none if failed
            browser.SetSaveChanges(made, not role)  # corrections of a frame stay with it


def _browsers(sequence: Any) -> Iterable[Any]:
    found = slicer.mrmlScene.GetNodesByClass("vtkMRMLSequenceBrowserNode")
    found.UnRegister(None)
    nodes = (found.GetItemAsObject(index) for index in range(found.GetNumberOfItems()))
    return [node for node in nodes if node.IsSynchronizedSequenceNode(sequence, True)]


def _require_one_channel(model: Model) -> None:
    if len(model.channels) > 1:
        names = ", ".join(channel.name for channel in model.channels)
        raise InputError(
            f"model '{model.name}' takes several volumes per scan ({names}); segment a folder on "
            "disk with files NAME_0000, NAME_0001..."
        )


def _cases(count: int) -> list[str]:
    """Return names that tell nothing of the volumes."""
    return [f"scan{number:04d}" for number in range(1, count + 1)]


def _export(item: Item, path: Path) -> None:
    mrml.export_volume(item.volume, path)


def _no_export(_item: Item, _path: Path) -> None:
    """The files are on disk already."""


def _grouped(paths: Iterable[Path], channels: int) -> Iterable[tuple[str, list[Path]]]:
    """Return the files of every scan, named as the engine names them."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        lower = path.name.lower()
        suffix = next((suffix for suffix in SCANS if lower.endswith(suffix)), "")
        stem = path.name[: len(path.name) - len(suffix)]
        match = _CHANNEL.fullmatch(stem)
        together = match is not None and (channels > 1 or match["number"] == "0000")
        groups.setdefault(match["case"] if match and together else stem, []).append(path)
    return groups.items()


def _is_scan_file(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return any(_is_dicom(file) for file in sorted(path.iterdir())[:3])
    return path.name.lower().endswith(SCANS)


def _is_dicom(path: Path) -> bool:
    if not path.is_file() or (path.suffix and path.suffix.lower() not in DICOM):
        return False
    with path.open("rb") as stream:
        stream.seek(DICM_AT)
        return stream.read(4) == b"DICM"


def _path_of(tree: Any, item: int) -> str:
    names: list[str] = []
    while item and item != tree.GetSceneItemID():
        names.insert(0, tree.GetItemName(item))
        item = tree.GetItemParent(item)
    return " / ".join(names)
