"""Slicer's own DICOM export on our segmentations: the plugin where its source is, and a double."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pydicom
import pytest

from dycon_engine.errors import DyconError, InputError
from DyCONLib.models import ModelLabel
from Testing import tiny_files

SIZE = (7, 9, 11)
GRID = np.diag([-0.5, -0.75, 2.0, 1.0])
GRID[:3, 3] = (10, 20, 0)
LABELS = (
    ModelLabel(1, "left atrium", (200, 30, 60), "SCT^82471001^Left atrium"),
    ModelLabel(2, "scar", (10, 200, 60), "T-D0050"),
    ModelLabel(5, "never there", None, ""),
)


@pytest.fixture(params=["double", "real"])
def plugin(request, slicer_qt, monkeypatch):
    """Slicer's export, registered where Slicer registers it."""
    if importlib.util.find_spec("dcmqi") is None:
        pytest.skip("dcmqi is absent: DICOM results are not tried; pip install -e '.[test]'")
    import slicer

    from Testing.slicer import dicom_plugin

    found = dicom_plugin.Double
    if request.param == "real":
        checkout = dicom_plugin.source()
        if checkout is None:
            pytest.skip(f"Slicer's source is absent: set {dicom_plugin.SOURCE} to a checkout")
        monkeypatch.setattr(slicer, "qSlicerDICOMExportable", None, raising=False)
        for name in ("DICOMLib", "DICOMPlugin", "DICOMSegmentationPlugin"):
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, "vtkSegmentationCorePython", slicer)
        found = dicom_plugin.real(checkout)
    known = {"DICOMSegmentationPlugin": found}
    monkeypatch.setattr(slicer.modules, "dicomPlugins", known, raising=False)
    return found


@pytest.fixture
def case(plugin, tmp_path, monkeypatch):
    """A scan from DICOM below its study, and the database; returns what makes a result."""
    import slicer

    from DyCONLib import mrml
    from Testing.slicer import dicom_plugin

    array = np.random.default_rng(0).integers(0, 100, SIZE).astype(np.int16)
    tiny_files.dicom_folder(tmp_path / "series", array)
    files = {
        str(pydicom.dcmread(path).SOPInstanceUID): str(path)
        for path in (tmp_path / "series").iterdir()
    }
    database = dicom_plugin.Database(files)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    volume = slicer.util.addVolumeFromArray(array.astype(np.float32), GRID, "scan")
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(sorted(files)))
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "patient")
    study = tree.CreateStudyItem(patient, "study")
    tree.SetItemParent(tree.GetItemByDataNode(volume), study)

    def result(labels):
        mrml.write_array(labels.astype(np.uint8), volume, tmp_path / "labels.nrrd")
        return mrml.load_segmentation(
            tmp_path / "labels.nrrd", name="result", segments=LABELS, reference_volume=volume
        )

    return result, volume, database


def finish(steps):
    """Take all steps; return the words on the way and the last ones."""
    words = []
    while True:
        try:
            words.append(next(steps))
        except StopIteration as end:
            return words, end.value


def labels(*, both=True):
    array = np.zeros(SIZE, np.uint8)
    array[2:4, 3:6, 4:9] = 1
    array[5, 1, 1] = 2 * both
    return array


def voxels(data):
    """The labels of a DICOM Segmentation, its frames where their position says."""
    found = np.zeros(SIZE, np.uint8)
    groups = data.PerFrameFunctionalGroupsSequence
    for group, frame in zip(groups, data.pixel_array, strict=True):
        z = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[round(z / 2)][frame > 0] = number
    return found


def test_it_writes_the_segmentation_into_the_file_and_the_database(case, tmp_path):
    from DyCONLib import dicom_plugin
    from Testing.slicer import scene_volumes

    result, volume, database = case
    node, series = result(labels()), set(database.files)
    source = pydicom.dcmread(next(iter(database.files.values())))
    before, nodes = scene_volumes.fingerprint(volume), scene_volumes.all_nodes()
    assert dicom_plugin.obstacle(node, volume) == ""
    words, last = finish(dicom_plugin.export_by_plugin(node, tmp_path / "seg.dcm"))
    assert words == [dicom_plugin.WAITING]  # said before Slicer stands still
    assert "stands still" in words[0]
    assert "DICOM database" in last
    assert scene_volumes.fingerprint(volume) == before
    assert scene_volumes.all_nodes() == nodes
    data = pydicom.dcmread(tmp_path / "seg.dcm")
    assert set(database.files) - series == {str(data.SOPInstanceUID)}
    assert data.Modality == "SEG"
    assert data.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert (data.PatientID, data.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert data.SeriesDescription == "DyCON segmentation, research use only"
    assert data.ContentCreatorName == "DyCON"
    first, second = data.SegmentSequence  # Slicer asked about the empty third
    assert (first.SegmentLabel, second.SegmentLabel) == ("left atrium", "scar")
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "82471001"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert first.SegmentAlgorithmType == "AUTOMATIC"
    assert first.SegmentAlgorithmName.startswith("DyCON ")
    assert np.array_equal(voxels(data), labels())
    assert not list(tmp_path.glob(".dycon-*"))


def test_slicers_own_dialog_offers_our_node_and_writes_the_same(case, tmp_path):
    """What the dialog does: ask the plugin, take the study above, export with the plugin's tags."""
    import slicer

    result, *_ = case
    node = result(labels())
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = tree.GetItemByDataNode(node)
    assert tree.GetItemLevel(tree.GetItemParent(item)) == "Study"
    assert tree.GetItemLevel(tree.GetItemParent(tree.GetItemParent(item))) == "Patient"
    plugin = slicer.modules.dicomPlugins["DICOMSegmentationPlugin"]()
    (offer,) = plugin.examineForExport(item)
    assert (offer.confidence, offer.tag("Modality")) == (1.0, "SEG")
    offer.directory = str(tmp_path)
    assert plugin.export([offer]) == ""
    (path,) = tmp_path.glob("*.dcm")
    data = pydicom.dcmread(path)
    assert data.SeriesDescription == "result"
    assert np.array_equal(voxels(data), labels())


def test_what_slicer_says_is_told_in_one_sentence_and_the_old_file_stays(case, tmp_path):
    from DyCONLib import dicom_plugin

    result, *_ = case
    (tmp_path / "seg.dcm").write_bytes(b"old")
    with pytest.raises(DyconError, match=r"DICOM export failed \([Nn]o .*nothing was written"):
        finish(dicom_plugin.export_by_plugin(result(0 * labels()), tmp_path / "seg.dcm"))
    node = result(labels())
    for path in (tmp_path / "series").iterdir():
        path.write_bytes(b"no DICOM any more")
    with pytest.raises(DyconError, match=r"no DICOM could be loaded .*nothing was written") as no:
        finish(dicom_plugin.export_by_plugin(node, tmp_path / "seg.dcm"))
    assert "\n" not in str(no.value)
    assert (tmp_path / "seg.dcm").read_bytes() == b"old"
    assert not list(tmp_path.glob(".dycon-*"))
    import slicer

    steps = dicom_plugin.export_by_plugin(node, tmp_path / "seg.dcm")
    next(steps)
    slicer.mrmlScene.RemoveNode(node)
    with pytest.raises(InputError, match="was removed meanwhile"):
        next(steps)


def test_a_segmentation_that_slicer_itself_imported_must_still_have_its_series(case, tmp_path):
    import slicer

    from DyCONLib import dicom_plugin

    result, *_ = case
    node = result(labels())
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    tree.SetItemAttribute(tree.GetItemByDataNode(node), "DICOM.ReferencedInstanceUIDs", "1.2 1.3")
    with pytest.raises(InputError, match="is not in the DICOM database any more"):
        finish(dicom_plugin.export_by_plugin(node, tmp_path / "seg.dcm"))


def test_without_the_plugin_or_under_another_transform_it_is_not_used(case, monkeypatch):
    import slicer

    from DyCONLib import dicom_plugin

    result, volume, _ = case
    node = result(labels())
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(moved.GetID())
    assert "leave out the transform" in dicom_plugin.obstacle(node, volume)
    volume.SetAndObserveTransformNodeID(moved.GetID())
    assert dicom_plugin.obstacle(node, volume) == ""
    monkeypatch.delattr(slicer.modules, "dicomPlugins")
    assert "no DICOM export of its own" in dicom_plugin.obstacle(node, volume)
