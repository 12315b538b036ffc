"""Results as DICOM, written by the tool that Slicer has and read again by others."""

from __future__ import annotations

import errno
import importlib.util
import itertools
import os
import time

import numpy as np
import psutil
import pydicom
import pytest

from dycon_engine.data.formats.readers import read_image
from dycon_engine.errors import DyconError, InputError
from DyCONLib.models import ModelLabel
from Testing import tiny_files

SIZE = (7, 9, 11)
GRID = np.diag([-0.5, -0.75, 2.0, 1.0])
GRID[:3, 3] = (10, 20, 0)
BOX = np.zeros(SIZE, bool)
BOX[2:4, 3:6, 4:9] = True
LABELS = (
    ModelLabel(1, "left atrium", (200, 30, 60), "SCT^82471001^Left atrium"),
    ModelLabel(2, "scar", (10, 200, 60), "T-D0050"),
    ModelLabel(5, "never there", None, ""),
)


@pytest.fixture(autouse=True)
def _dcmqi():
    if importlib.util.find_spec("dcmqi") is None:
        pytest.skip("dcmqi is absent: DICOM results are not tried; pip install -e '.[test]'")


@pytest.fixture
def export(slicer_scene):
    from DyCONLib import dicom_export

    return dicom_export


@pytest.fixture
def loaded(slicer_scene, tmp_path):
    """A CT series on disk, the volume that Slicer makes of it, and its database."""
    import slicer

    array = np.random.default_rng(0).integers(0, 100, SIZE).astype(np.int16)
    tiny_files.dicom_folder(tmp_path / "series", array)
    database = {
        str(pydicom.dcmread(path).SOPInstanceUID): str(path)
        for path in (tmp_path / "series").iterdir()
    }
    volume = slicer.util.addVolumeFromArray(array.astype(np.float32), GRID, "scan")
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(sorted(database)))
    return volume, lambda identifier: database.get(identifier, "")


def result(volume, tmp_path, array):
    from DyCONLib import mrml

    mrml.write_array(array, volume, tmp_path / "labels.nrrd")
    return mrml.load_segmentation(
        tmp_path / "labels.nrrd", name="r", segments=LABELS, reference_volume=volume
    )


def finish(steps):
    """Take all steps, as a timer would; return the words on the way."""
    words = []
    for word in steps:
        words.append(word)
        time.sleep(0.01)
    return list(dict.fromkeys(words))


def test_the_test_volume_lies_where_the_series_does(loaded, tmp_path):
    from DyCONLib import mrml

    volume, _ = loaded
    mrml.export_volume(volume, tmp_path / "v.nrrd")
    there, here = read_image(tmp_path / "series"), read_image(tmp_path / "v.nrrd")
    assert there.geometry.corner_distance_voxels(here.geometry) < 1e-6


def test_a_segmentation_refers_to_its_series_and_lies_on_it(export, loaded, tmp_path):
    from Testing.slicer import scene_volumes

    volume, find = loaded
    labels = BOX.astype(np.uint8)
    labels[5, 1, 1] = 2
    node = result(volume, tmp_path, labels)
    before, nodes = scene_volumes.fingerprint(volume), scene_volumes.all_nodes()
    assert export.dicom_problem(volume, find) == ""
    path = tmp_path / "seg.dcm"
    words = finish(export.export_dicom_segmentation(node, volume, path, find_file=find))
    assert words == ["Preparing DICOM", "Writing DICOM"]
    assert scene_volumes.fingerprint(volume) == before
    assert scene_volumes.all_nodes() == nodes
    assert not list(tmp_path.glob(".dycon-*"))
    data = pydicom.dcmread(path)
    source = pydicom.dcmread(find("1.2.3.4.1"))
    assert data.Modality == "SEG"
    assert data.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert (data.PatientID, data.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    first, second = data.SegmentSequence  # the empty third is left out
    assert (first.SegmentLabel, second.SegmentLabel) == ("left atrium", "scar")
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Left atrium"
    assert first.SegmentAlgorithmType == "AUTOMATIC"
    assert first.SegmentAlgorithmName.startswith("DyCON ")
    assert "research" in data.SeriesDescription
    numbers = [
        group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for group in data.PerFrameFunctionalGroupsSequence
    ]
    found = np.zeros(SIZE, np.uint8)
    for number, (z, frame) in zip(numbers, pairs(data, data.pixel_array), strict=True):
        found[round(z / 2)][frame > 0] = number
    assert np.array_equal(found, labels)


def pairs(data, pixels):
    groups = data.PerFrameFunctionalGroupsSequence
    places = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups]
    return [(float(place[2]), frame) for place, frame in zip(places, pixels, strict=True)]


def test_overlapping_segments_are_both_kept(export, loaded, tmp_path):
    import slicer

    volume, find = loaded
    node = result(volume, tmp_path, BOX.astype(np.uint8))
    extra = node.GetSegmentation().AddEmptySegment("", "by hand")
    slicer.util.updateSegmentBinaryLabelmapFromArray(BOX.astype(np.uint8), node, extra, volume)
    folder = tmp_path / "Doe, Jané"  # the tool takes a list of files with commas between
    folder.mkdir()
    finish(export.export_dicom_segmentation(node, volume, folder / "seg.dcm", find_file=find))
    data = pydicom.dcmread(folder / "seg.dcm")
    assert [each.SegmentLabel for each in data.SegmentSequence] == ["left atrium", "by hand"]
    assert data.pixel_array.sum() == 2 * BOX.sum()


def test_what_slicers_own_export_asks_of_a_segmentation_is_there(loaded, tmp_path):
    import vtk

    volume, _ = loaded
    node = result(volume, tmp_path, BOX.astype(np.uint8))
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    for index in range(node.GetSegmentation().GetNumberOfSegments()):
        segment = node.GetSegmentation().GetNthSegment(index)
        layer = segment.GetRepresentation("Binary labelmap")
        assert layer.GetPointData().GetArray("ImageScalars") is not None
        name = vtk.mutable("")
        assert segment.GetTag("DICOM.SegmentAlgorithmName", name)
        assert str(name).startswith("DyCON ")


def test_a_map_becomes_a_parametric_map_with_the_same_values(export, loaded, tmp_path):
    from DyCONLib import mrml

    volume, find = loaded
    array = np.random.default_rng(1).random(SIZE).astype(np.float32)
    mrml.write_array(array, volume, tmp_path / "map.nrrd")
    overlay = mrml.load_scalar_overlay(
        tmp_path / "map.nrrd", name="unsure", reference_volume=volume
    )
    finish(export.export_dicom_map(overlay, volume, tmp_path / "map.dcm", find_file=find))
    data = pydicom.dcmread(tmp_path / "map.dcm")
    source = pydicom.dcmread(find("1.2.3.4.1"))
    assert data.SOPClassUID.name == "Parametric Map Storage"
    assert (data.PatientID, data.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert data.Modality == source.Modality
    assert data.ContentQualification == "RESEARCH"
    pixels = np.frombuffer(data.FloatPixelData, "<f4").reshape(-1, data.Rows, data.Columns)
    for z, frame in pairs(data, pixels):
        assert np.array_equal(frame, array[round(z / 2)])
    mapping = data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert "99DYCON" in str(mapping)


class FakeDatabase:
    """What is used of ctkDICOMDatabase."""

    def __init__(self, find):
        self.fileForInstance = find


def test_a_volume_that_is_not_from_dicom_is_refused(export, loaded, tmp_path, monkeypatch):
    import slicer

    volume, find = loaded
    other = slicer.util.addVolumeFromArray(np.zeros(SIZE, np.float32), GRID, "loose")
    assert "was not loaded with Slicer's DICOM module" in export.dicom_problem(other, find)
    gone = next((tmp_path / "series").iterdir())
    gone.unlink()
    with pytest.raises(InputError, match="1 of 7 files of its series are gone"):
        export.dicom_files(volume, find)
    with pytest.raises(InputError, match="7 of 7 files"):
        export.dicom_files(volume, lambda identifier: "")
    assert not hasattr(slicer, "dicomDatabase")  # as in a Slicer without its module DICOM
    assert "7 of 7 files" in export.dicom_problem(volume)
    monkeypatch.setattr(slicer, "dicomDatabase", FakeDatabase(find), raising=False)
    assert "1 of 7 files" in export.dicom_problem(volume)


def test_an_empty_result_and_another_grid_are_refused(export, loaded, tmp_path):
    import slicer

    volume, find = loaded
    node = result(volume, tmp_path, np.zeros(SIZE, np.uint8))
    with pytest.raises(InputError, match="all its segments are empty"):
        finish(export.export_dicom_segmentation(node, volume, tmp_path / "s.dcm", find_file=find))
    other = slicer.util.addVolumeFromArray(np.zeros(SIZE, np.float32), 2 * GRID, "other")
    with pytest.raises(InputError, match="another grid"):
        finish(export.export_dicom_map(other, volume, tmp_path / "m.dcm", find_file=find))
    assert not list(tmp_path.glob("*.dcm"))


def test_a_failing_tool_is_one_sentence_and_keeps_the_old_file(export, loaded, tmp_path):
    volume, find = loaded
    node = result(volume, tmp_path, BOX.astype(np.uint8))
    for path in (tmp_path / "series").iterdir():
        path.write_bytes(b"no DICOM any more")
    (tmp_path / "seg.dcm").write_bytes(b"old")
    with pytest.raises(DyconError, match="itkimage2segimage failed") as no:
        finish(export.export_dicom_segmentation(node, volume, tmp_path / "seg.dcm", find_file=find))
    assert "\n" not in str(no.value)
    assert (tmp_path / "seg.dcm").read_bytes() == b"old"
    assert not list(tmp_path.glob(".dycon-*"))


def slow_tool(tmp_path, monkeypatch):
    """A tool that takes a minute and has a child of its own."""
    from DyCONLib import dcmqi

    script = tmp_path / "slow-tool"
    script.write_text("#!/bin/sh\nsleep 60 &\nsleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(dcmqi, "tool", lambda name: str(script))
    return dcmqi


@pytest.mark.skipif(os.name == "nt", reason="the slow tool is a shell script")
def test_nobody_waits_for_the_tool_and_stopping_leaves_nothing(
    export, loaded, tmp_path, monkeypatch, new_children
):
    volume, find = loaded
    node = result(volume, tmp_path, BOX.astype(np.uint8))
    slow_tool(tmp_path, monkeypatch)
    (tmp_path / "seg.dcm").write_bytes(b"old")
    steps = export.export_dicom_segmentation(node, volume, tmp_path / "seg.dcm", find_file=find)
    words, slowest = [], 0.0
    while words.count("Writing DICOM") < 20:
        began = time.monotonic()
        words.append(next(steps))
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 2.0  # where a step waits it takes a minute
    (process,) = new_children()
    family = [process, *process.children(recursive=True)]
    steps.close()
    assert not psutil.wait_procs(family, timeout=5)[1]
    assert not new_children()
    assert (tmp_path / "seg.dcm").read_bytes() == b"old"
    assert not list(tmp_path.glob(".dycon-*"))


@pytest.mark.skipif(os.name == "nt", reason="the slow tool is a shell script")
def test_a_tool_that_never_ends_is_ended(export, loaded, tmp_path, monkeypatch, new_children):
    volume, find = loaded
    node = result(volume, tmp_path, BOX.astype(np.uint8))
    monkeypatch.setattr(slow_tool(tmp_path, monkeypatch), "LIMIT_S", 0.2)
    with pytest.raises(DyconError, match="did not end in 0 s; nothing was written"):
        finish(export.export_dicom_segmentation(node, volume, tmp_path / "s.dcm", find_file=find))
    assert not new_children()
    assert not list(tmp_path.glob("*.dcm"))


def test_a_series_on_another_disk_is_copied_file_by_file(export, loaded, tmp_path, monkeypatch):
    volume, find = loaded
    node = result(volume, tmp_path, BOX.astype(np.uint8))

    def refuse(source, target):
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    steps = export.export_dicom_segmentation(node, volume, tmp_path / "s.dcm", find_file=find)
    words = list(itertools.islice(steps, 1 + SIZE[0]))
    assert words == ["Preparing DICOM", *["Reading the series"] * SIZE[0]]
    finish(steps)
    assert pydicom.dcmread(tmp_path / "s.dcm").Modality == "SEG"


def test_a_slicer_without_the_tool_says_what_to_install(export, loaded, monkeypatch):
    import importlib.metadata

    volume, find = loaded

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert "extension DCMQI" in export.dicom_problem(volume, find)
