"""Slicer's DICOM export of segmentations without the application: the plugin itself, or a double.

The double has the interface and the demands of DICOMSegmentationPlugin.py of Slicer 5.12 (and of
QuantitativeReporting, whose code it is): what it reads of nodes, database and exportable, what it
refuses, and that it calls the same program. Where DYCON_SLICER_SOURCE names a checkout of Slicer
the plugin of that checkout is loaded as it is, so the same tests hold for both.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import slicer
import vtk

from DyCONLib import dcmqi

SOURCE = "DYCON_SLICER_SOURCE"
SCRIPTED = Path("Modules/Scripted")
NAME = "DICOMSegmentationPlugin"
SERIES_NUMBER = "0020,0011"


class Database:
    """What the plugin uses of ctkDICOMDatabase."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def fileForInstance(self, identifier: str) -> str:
        """Path of the file of a SOP instance, '' where it is not known."""
        return self.files.get(identifier, "")

    def fileValue(self, path: str, tag: str) -> str:
        """Value of the tag GGGG,EEEE in a file, '' where there is none."""
        group, element = (int(part, 16) for part in tag.split(","))
        try:
            data = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            return ""
        return str(data[group, element].value) if (group, element) in data else ""

    def insert(self, path: str) -> None:
        """Keep a copy, as insert does when it is not told otherwise."""
        copy = Path(tempfile.mkdtemp(dir=slicer.app.temporaryPath), "stored.dcm")
        copy.write_bytes(Path(path).read_bytes())
        self.files[str(pydicom.dcmread(copy).SOPInstanceUID)] = str(copy)


class Exportable:
    """qSlicerDICOMExportable: six properties and tags; an absent tag is ''."""

    __slots__ = (
        *("_tags", "confidence", "directory", "name", "pluginClass"),
        *("subjectHierarchyItemID", "tooltip"),
    )

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}
        self.directory = ""

    def tag(self, name: str) -> str:
        """Value of a tag, '' where it is not set."""
        return self._tags.get(name, "")

    def setTag(self, name: str, value: str) -> None:
        """Set a tag."""
        self._tags[name] = value


class Double:
    """The plugin's side of the export: `examineForExport` and `export`."""

    def examineForExport(self, item: int) -> list[Exportable]:
        """What can be exported of an item of the subject hierarchy."""
        node = _tree().GetItemDataNode(item)
        referred = _tree().GetItemAttribute(item, "DICOM.ReferencedInstanceUIDs").split()
        known = all(slicer.dicomDatabase.fileForInstance(each) for each in referred)
        if node is None or not node.IsA("vtkMRMLSegmentationNode") or not known:
            return []
        offer = Exportable()
        offer.name, offer.confidence, offer.pluginClass = "DICOMSegmentation", 1.0, NAME
        offer.subjectHierarchyItemID = item
        for name, value in (("Modality", "SEG"), ("SeriesNumber", "100")):
            offer.setTag(name, value)
        offer.setTag("SeriesDescription", node.GetName())
        return [offer]

    def export(self, exportables: list[Exportable]) -> str:
        """Write, add to the database, and return '' or what is wrong; nothing is raised."""
        for offer in exportables:
            node = _tree().GetItemDataNode(offer.subjectHierarchyItemID)
            stamp = time.strftime("%Y-%m-%d_%H%M%S")
            path = Path(offer.directory, f"subject_hierarchy_export.SEG{stamp}.dcm")
            try:
                _write(node, offer, path)
                slicer.dicomDatabase.insert(str(path))
            except ValueError as error:
                return str(error)
            except Exception as error:  # noqa: BLE001 - as the plugin
                return f"Segmentation object export failed.\n{error}"
        return ""


def _tree() -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def _write(node: Any, offer: Exportable, path: Path) -> None:
    """Convert with dcmqi's program what the plugin hands it."""
    volume = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    if volume is None:
        raise ValueError("no referenced volume")
    core = node.GetSegmentation()
    filled = [key for key in core.GetSegmentIDs() if _is_filled(core.GetSegment(key))]
    if not filled:
        raise ValueError("no segment with voxels")
    some_are_empty = len(filled) < core.GetNumberOfSegments()
    if some_are_empty and not slicer.util.confirmYesNoDisplay("Skip empty segments?"):
        raise ValueError("Export canceled")
    creator = "^".join(reversed((offer.tag("ContentCreatorName") or "Slicer").split(" ")))
    trial = ("SeriesID", "TimePointID", "CoordinatingCenterName")
    meta: dict[str, Any] = {f"ClinicalTrial{name}": "1" for name in trial}
    meta |= {name: offer.tag(name) for name in ("SeriesNumber", "SeriesDescription")}
    meta |= {"InstanceNumber": "1", "ContentCreatorName": creator}
    meta["segmentAttributes"] = [[_described(core.GetSegment(key))] for key in filled]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "series").mkdir()
        for identifier in volume.GetAttribute("DICOM.instanceUIDs").split():
            file = Path(slicer.dicomDatabase.fileForInstance(identifier))
            (folder / "series" / file.name).write_bytes(file.read_bytes())
        (folder / "meta.json").write_text(json.dumps(meta))
        images = [_label_file(node, key, folder) for key in filled]
        line = [dcmqi.tool("itkimage2segimage"), "--inputDICOMDirectory", str(folder / "series")]
        line += ["--inputImageList", ",".join(images), "--outputDICOM", str(path)]
        line += ["--inputMetadata", str(folder / "meta.json")]
        done = subprocess.run(line, capture_output=True, text=True, check=False)  # waits, as there
    if done.returncode != 0:
        raise RuntimeError(f"itkimage2segimage failed:\n{done.stderr}")


def _is_filled(segment: Any) -> bool:
    scalars = segment.GetRepresentation("Binary labelmap").GetPointData().GetArray("ImageScalars")
    return scalars is not None and scalars.GetValueRange() != (0, 0)


def _label_file(node: Any, key: str, folder: Path) -> str:
    keys, image = vtk.vtkStringArray(), slicer.vtkOrientedImageData()
    keys.InsertNextValue(key)
    node.GenerateMergedLabelmapForAllSegments(image, 0, None, keys)
    label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    logic = slicer.modules.segmentations.logic()
    assert logic.CreateLabelmapVolumeFromOrientedImageData(image, label)
    path = str(folder / f"{key}_label.nrrd")
    slicer.util.saveNode(label, path)
    slicer.mrmlScene.RemoveNode(label)
    return path


def _described(segment: Any) -> dict[str, Any]:
    entry, text = slicer.vtkSlicerTerminologyEntry(), vtk.mutable("")
    segment.GetTag(segment.GetTerminologyEntryTagName(), text)
    slicer.modules.terminologies.logic().DeserializeTerminologyEntry(str(text), entry)
    kind, algorithm = vtk.mutable(""), vtk.mutable("")
    if not segment.GetTag("DICOM.SegmentAlgorithmType", kind):
        kind = "MANUAL"
    named = segment.GetTag("DICOM.SegmentAlgorithmName", algorithm)
    if kind != "MANUAL" and not named:
        raise ValueError(f"{segment.GetName()}: no algorithm name")
    table = {
        "labelID": 1,
        "SegmentLabel": segment.GetName(),
        "SegmentDescription": entry.GetCategoryObject().GetCodeMeaning(),
        "SegmentAlgorithmType": str(kind),
        "recommendedDisplayRGBValue": [255 * part for part in segment.GetColor()],
    }
    if named:
        table["SegmentAlgorithmName"] = str(algorithm)
    for name, code, needed in (
        ("SegmentedPropertyCategoryCodeSequence", entry.GetCategoryObject(), True),
        ("SegmentedPropertyTypeCodeSequence", entry.GetTypeObject(), True),
        ("SegmentedPropertyTypeModifierCodeSequence", entry.GetTypeModifierObject(), False),
        ("AnatomicRegionSequence", entry.GetRegionObject(), False),
    ):
        parts = (code.GetCodeValue(), code.GetCodingSchemeDesignator(), code.GetCodeMeaning())
        if needed or None not in parts:
            names = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
            table[name] = dict(zip(names, parts, strict=True))
    return table


def source() -> Path | None:
    """The checkout of Slicer that the environment names; None where there is none."""
    named = Path(os.environ.get(SOURCE, "nowhere"))
    return named if (named / SCRIPTED / "DICOMPlugins" / f"{NAME}.py").is_file() else None


def real(checkout: Path) -> type:
    """The plugin's class of a checkout of Slicer, loaded as it is."""
    base = _loaded("DICOMPlugin", checkout / SCRIPTED / "DICOMLib" / "DICOMPlugin.py")
    package = ModuleType("DICOMLib")
    package.DICOMPlugin, package.DICOMLoadable = base.DICOMPlugin, base.DICOMLoadable
    sys.modules["DICOMLib"] = package
    slicer.qSlicerDICOMExportable = Exportable
    return _loaded(NAME, checkout / SCRIPTED / "DICOMPlugins" / f"{NAME}.py").__dict__[
        f"{NAME}Class"
    ]


def _loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
