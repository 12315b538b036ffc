"""What the panel shows and does, without Qt: choices, models, results, review, training set."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dycon_engine.errors import InputError
from Testing import tiny_package
from Testing.slicer.segmentation.contents import (
    add_segmentation,
    add_volume,
    report_table,
    report_text,
)

SIZE = (8, 9, 10)


@pytest.fixture
def desk(slicer_scene, package, tmp_path):
    """A session on an empty scene with one model in the person's folder."""
    from DyCONSegmentationLib.logic import SegmentationLogic
    from DyCONSegmentationLib.reviewing import Reviewing
    from DyCONSegmentationLib.session import Session, Surroundings

    own, shipped = tmp_path / "own", tmp_path / "shipped"
    for folder in (own, shipped):
        folder.mkdir()
    shutil.copy(package, own / "tiny.dycon")
    desk = SimpleNamespace(scene=slicer_scene, own=own, shipped=shipped, opened=[], changes=[])

    def new_session():
        around = Surroundings(
            model_folders=(own, shipped),
            sample=tmp_path / "sample.nrrd",
            sample_model="tiny.dycon",
        )
        session = Session(SegmentationLogic(lambda *_: None, tmp_path), around)
        session.changed.connect(lambda: desk.changes.append(True))
        return session

    desk.new_session = new_session
    desk.session = new_session()
    desk.review = Reviewing(desk.session, lambda: desk.opened.append(True))
    return desk


def add_result(name="scan", *, model="tiny", moved=False, **report):
    """Put a result in the scene as a finished run does; uncertainty rises along the first axis."""
    import slicer

    scan = add_volume(np.arange(np.prod(SIZE), dtype=np.int16).reshape(SIZE), name)
    rising = np.linspace(0, 1, SIZE[0], dtype=np.float32)
    uncertainty = add_volume(np.broadcast_to(rising[:, None, None], SIZE).copy(), f"{name} map")
    uncertainty.SetAttribute("DyCON.Map", "DyCON.Uncertainty")
    labels = np.zeros(SIZE, np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    segmentation = add_segmentation(labels, scan, ("ball",))
    segmentation.SetName(f"{name} result")
    if moved:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.array([[0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, -3], [0, 0, 0, 1.0]])
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        for node in (scan, uncertainty, segmentation):
            node.SetAndObserveTransformNodeID(transform.GetID())
    segmentation.SetAttribute("DyCON.Report", report_text(**report))
    segmentation.SetAttribute("DyCON.Model", model)
    segmentation.SetAttribute("DyCON.Labels", '{"ball": 3}')
    segmentation.SetNodeReferenceID("DyCON.Uncertainty", uncertainty.GetID())
    return segmentation, scan, uncertainty


def node_ids(scene):
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def test_a_session_starts_with_the_first_model_and_the_only_volume(desk):
    assert desk.session.model.name == "tiny"
    assert desk.session.problem == "Choose a volume."
    scan = add_volume(np.ones(SIZE, np.int16), "scan")
    desk.session.scene_changed()
    assert desk.session.volumes == (scan,)
    assert desk.session.problem == ""


def test_of_several_volumes_the_one_the_person_looks_at_is_taken(desk):
    import slicer

    desk.session.choose(volumes=())
    _, second, _ = (add_volume(np.ones(SIZE, np.int16), f"scan {i}") for i in range(3))
    desk.session.scene_changed()
    assert desk.session.volumes == (None,)
    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(second.GetID())
    desk.session.scene_changed()
    assert desk.session.volumes == (second,)


def test_maps_of_ours_and_label_maps_are_not_taken_for_scans(desk):
    _, scan, _ = add_result()
    add_volume(np.ones(SIZE, np.int16), "labels", kind="LabelMap")
    desk.session.scene_changed()
    assert desk.session.volumes == (scan,)


def test_a_model_of_two_channels_preselects_by_name_and_keeps_what_was_chosen(desk):
    tiny_package.save(desk.own / "two.dycon", channels=2, name_patterns=("_0000", "_0001"))
    one, two = (add_volume(np.ones(SIZE, np.int16), f"pt_000{i}") for i in (1, 0))
    desk.session.find_models()
    desk.session.choose(model="two.dycon")
    assert desk.session.volumes == (two, one)
    desk.session.choose_volume(0, one.GetID())
    assert "The same volume" in desk.session.problem
    desk.session.scene_changed()
    assert desk.session.volumes == (one, one)


def test_models_of_both_folders_are_found_the_persons_own_wins_and_broken_ones_are_named(desk):
    shutil.copy(desk.own / "tiny.dycon", desk.shipped / "tiny.dycon")
    shutil.copy(desk.own / "tiny.dycon", desk.shipped / "atrium.dycon")
    (desk.own / "broken.dycon").write_bytes(b"PK garbage")
    desk.session.find_models()
    assert [model.path.name for model in desk.session.models] == ["tiny.dycon", "atrium.dycon"]
    assert desk.session.models[0].path.parent == desk.own
    assert "broken.dycon" in desk.session.broken[0].reason


def test_an_imported_model_is_copied_and_chosen(desk, package, tmp_path):
    shutil.copy(package, tmp_path / "new.dycon")
    desk.session.import_model(tmp_path / "new.dycon")
    assert desk.session.model.path == desk.own / "new.dycon"
    (tmp_path / "bad.dycon").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"'bad\.dycon'"):
        desk.session.import_model(tmp_path / "bad.dycon")
    assert desk.session.model.path == desk.own / "new.dycon"


def test_closing_the_scene_keeps_the_model(desk, package, tmp_path):
    import slicer

    shutil.copy(package, tmp_path / "zygoma.dycon")
    desk.session.import_model(tmp_path / "zygoma.dycon")
    assert desk.session.models[0].path.name != "zygoma.dycon"
    slicer.mrmlScene.Clear(0)
    desk.session.scene_changed()
    assert desk.session.model.path.name == "zygoma.dycon"


def test_a_model_that_is_gone_is_no_model(desk):
    (desk.own / "tiny.dycon").unlink()
    desk.session.find_models()
    assert desk.session.model is None
    assert desk.session.problem == "Choose a model."


def test_replacing_asks_by_name(desk):
    assert desk.session.question == ""
    segmentation, *_ = add_result()
    desk.session.choose(output=segmentation.GetID())
    assert "'scan result'" in desk.session.question
    assert "corrections too" in desk.session.question


def test_the_newest_result_is_shown_until_another_is_chosen(desk):
    first, *_ = add_result("first")
    second, *_ = add_result("second")
    assert desk.session.result.segmentation is second
    desk.review.jump(1)
    desk.session.show_result(first.GetID())
    assert desk.session.result.segmentation is first
    assert desk.review.rank == 0  # that was a region of the other one
    desk.scene.RemoveNode(first)
    assert desk.session.result.segmentation is second


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 99}'])
def test_an_unreadable_result_of_a_foreign_scene_is_passed_over(desk, text):
    first, *_ = add_result("first")
    second, *_ = add_result("second")
    second.SetAttribute("DyCON.Report", text)
    assert desk.session.result.segmentation is first
    first.SetAttribute("DyCON.Labels", "{")
    assert desk.session.result is None


def test_jumping_shows_the_region_in_all_views_also_under_a_transform(desk):
    import slicer

    add_result(moved=True)
    desk.review.jump(2)  # at RAS 20, 5, 2 of the scan
    x, y, z = 5.0 - 5.0, 20.0, 2.0 - 3.0  # turned a quarter and moved
    offsets = {
        view.GetName(): view.GetSliceOffset()
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode")
    }
    assert offsets == pytest.approx({"Red": z, "Yellow": x, "Green": y})
    assert desk.review.rank == 2
    desk.review.jump(99)
    assert desk.review.rank == 2


def test_marking_goes_to_the_next_open_region_and_is_kept_in_the_scene(desk):
    from DyCONSegmentationLib.review import Mark

    segmentation, *_ = add_result()
    desk.review.mark(Mark.FIXED)  # nothing is chosen yet
    assert desk.session.result.review.left == 3
    desk.review.jump_to_next()
    assert desk.review.rank == 1
    desk.review.mark(Mark.ACCEPTED)
    assert (desk.review.rank, desk.session.result.review.left) == (2, 2)
    assert segmentation.GetAttribute("DyCON.Corrected") is None
    desk.review.mark(Mark.FIXED)
    assert segmentation.GetAttribute("DyCON.Corrected") == "yes"
    desk.review.mark(Mark.ACCEPTED)
    assert (desk.review.rank, desk.session.result.review.left) == (3, 0)
    assert desk.new_session().result.review.left == 0
    desk.review.mark(Mark.OPEN)
    assert (desk.review.rank, desk.session.result.review.left) == (3, 1)


def test_editing_shows_the_overlay_and_masks_what_is_not_colored(desk):
    from DyCONSegmentationLib.editing import is_masked

    from DyCONLib.segment_editor import editor_node

    _, scan, uncertainty = add_result()
    desk.session.choose(show_overlay=False, hide_below=0.4)
    desk.review.edit_uncertain()
    assert desk.opened == [True]
    assert is_masked(editor_node())
    assert editor_node().GetSourceVolumeIntensityMaskRange() == (0.4, 1.0)
    view = desk.scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert view.GetForegroundVolumeID() == uncertainty.GetID()
    assert view.GetBackgroundVolumeID() == scan.GetID()
    desk.review.edit_everything()
    assert not is_masked(editor_node())


def test_another_result_is_not_edited_under_the_mask_of_the_one_before(desk):
    from DyCONLib.segment_editor import editor_node

    first, *_ = add_result("first")
    add_result("second")
    desk.review.edit_uncertain()
    assert editor_node().GetSourceVolumeIntensityMask()
    desk.session.show_result(first.GetID())
    assert not editor_node().GetSourceVolumeIntensityMask()


def test_the_overlay_follows_the_choices(desk):
    segmentation, _, uncertainty = add_result()
    display, view = (
        uncertainty.GetDisplayNode(),
        desk.scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed"),
    )
    desk.session.choose(opacity=0.25, hide_below=0.75)
    desk.session.show()
    assert view.GetForegroundOpacity() == 0.25
    assert display.GetLowerThreshold() == 0.75
    assert not segmentation.GetDisplayNode().GetVisibility2DFill()
    desk.session.choose(show_overlay=False)
    desk.session.show()
    assert view.GetForegroundVolumeID() != uncertainty.GetID()
    assert segmentation.GetDisplayNode().GetVisibility2DFill()


def test_a_corrected_case_goes_into_a_data_set_that_the_engine_reads(desk, tmp_path):
    from dycon_engine.config import DataConfig
    from dycon_engine.data.cases import Label, read_case_image, read_case_label
    from dycon_engine.data.layouts import find_cases

    segmentation, scan, _ = add_result("Doe^Jane", moved=True)
    desk.review.add_to_training_set(tmp_path / "set", "case-001")
    assert segmentation.GetAttribute("DyCON.Corrected") == "yes"
    [case] = find_cases(tmp_path / "set", DataConfig()).cases
    assert case.name == "case-001"
    image = read_case_image(case, DataConfig())
    label = read_case_label(case, (Label(0, "background"), Label(3, "ball")), DataConfig())
    import slicer

    assert np.array_equal(image.array[0], slicer.util.arrayFromVolume(scan))
    assert label.array[2:6, 2:6, 2:6].all()
    assert int(label.array.sum()) == 4**3
    assert image.geometry.corner_distance_voxels(label.geometry) < 0.01
    for path in (tmp_path / "set").rglob("*.nrrd"):
        assert b"Jane" not in path.read_bytes()


def test_what_cannot_be_added_is_said(desk, tmp_path):
    segmentation, scan, _ = add_result()
    segmentation.GetSegmentation().AddEmptySegment("scar", "scar")
    with pytest.raises(InputError, match="segment 'scar': is not among the labels of the model"):
        desk.review.add_to_training_set(tmp_path / "set", "case-001")
    segmentation.GetSegmentation().RemoveSegment("scar")
    segmentation.SetAttribute("DyCON.Channels", '["T1", "T2"]')
    other = add_volume(np.ones(SIZE, np.int16), "other", spacing=(2.0, 1.0, 1.0))
    segmentation.AddNodeReferenceID("DyCON.OtherChannels", other.GetID())
    with pytest.raises(InputError, match="'other' lies on another grid than 'scan'; resample it"):
        desk.review.add_to_training_set(tmp_path / "set", "case-001")
    desk.scene.RemoveNode(other)
    with pytest.raises(InputError, match="takes T1, T2, and not all of them are in the scene"):
        desk.review.add_to_training_set(tmp_path / "set", "case-001")
    desk.scene.RemoveNode(scan)
    with pytest.raises(InputError, match="not in the scene any more"):
        desk.review.add_to_training_set(tmp_path / "set", "case-001")
    assert not (tmp_path / "set").exists()


def test_the_sample_is_loaded_and_chosen_with_its_model(desk, tmp_path):
    import slicer

    with pytest.raises(InputError, match="not in this installation"):
        desk.session.load_sample()
    node = add_volume(np.ones(SIZE, np.int16))
    slicer.util.exportNode(node, str(tmp_path / "sample.nrrd"))
    desk.session.choose(model="")
    desk.session.load_sample()
    assert desk.session.volumes[0].GetName() == "Sample heart"
    assert desk.session.model.name == "tiny"


def test_exports_are_whole_files_and_nothing_of_the_scene_changes(desk, tmp_path):
    import json

    import slicer
    from DyCONSegmentationLib.exporting import EXPORTS
    from DyCONSegmentationLib.review import Mark

    ball = report_table()["volumes"][0] | {"name": "ball", "voxels": 64, "volume_ml": 0.064}
    segmentation, _, uncertainty = add_result(volumes=[ball])
    page = desk.scene.AddNewNodeByClass("vtkMRMLTextNode")
    page.SetText("<html>page</html>")
    segmentation.SetNodeReferenceID("DyCON.Page", page.GetID())
    desk.review.jump(1)
    desk.review.mark(Mark.FIXED)
    before = node_ids(desk.scene)
    named = {export.write.__name__: export for export in EXPORTS}
    result = desk.session.result
    named["write_uncertainty"].write(result, tmp_path / "u.nii.gz")
    named["write_page"].write(result, tmp_path / "r.html")
    named["write_report"].write(result, tmp_path / "r.json")
    assert (tmp_path / "r.html").read_text() == "<html>page</html>"
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["reviewed"] == {"1": "fixed", "2": "open", "3": "open"}
    assert before == [
        desk.scene.GetNthNode(i).GetID() for i in range(desk.scene.GetNumberOfNodes())
    ]
    assert uncertainty.GetStorageNode() is None
    back = slicer.util.loadVolume(str(tmp_path / "u.nii.gz"))
    assert np.allclose(slicer.util.arrayFromVolume(back), slicer.util.arrayFromVolume(uncertainty))
    desk.scene.RemoveNode(page)
    desk.scene.RemoveNode(uncertainty)
    for name, words in (
        ("write_page", "segment again to get one"),
        ("write_uncertainty", "removed"),
    ):
        with pytest.raises(InputError, match=words):
            named[name].write(desk.session.result, tmp_path / "x")


def test_dicom_is_offered_only_for_a_scan_from_dicom_and_says_why_not(desk, tmp_path):
    from DyCONSegmentationLib.exporting import EXPORTS, dicom_trouble

    add_result()
    assert "was not loaded with Slicer's DICOM module" in dicom_trouble(desk.session.result)
    for export in EXPORTS:
        if export.is_dicom:
            with pytest.raises(InputError, match="was not loaded with Slicer's DICOM module"):
                list(export.write(desk.session.result, tmp_path / "x.dcm"))
    assert not list(tmp_path.glob("*.dcm"))


class OwnExport:
    """What is used of Slicer's plugin; the plugin itself is tried in test_lib_dicom_plugin.py."""

    def examineForExport(self, item):
        """Offer one series."""
        return [SimpleNamespace(setTag=lambda name, value: None)]

    def export(self, exportables):
        """Write it where it was told to."""
        Path(exportables[0].directory, "subject_hierarchy_export.dcm").write_bytes(b"by Slicer")
        return ""


def test_dicom_goes_through_slicers_own_export_and_says_where_it_cannot(
    desk, tmp_path, monkeypatch
):
    import slicer
    from DyCONSegmentationLib.exporting import write_dicom_segmentation
    from DyCONSegmentationLib.writing import Writing

    dicom_export = pytest.importorskip("DyCONLib.dicom_export")
    _, scan, _ = add_result()
    (tmp_path / "slice.dcm").touch()
    scan.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    database = SimpleNamespace(fileForInstance=lambda uid: str(tmp_path / "slice.dcm"))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    own = {"DICOMSegmentationPlugin": OwnExport}
    monkeypatch.setattr(slicer.modules, "dicomPlugins", own, raising=False)

    def without_it(segmentation, volume, path):
        path.write_bytes(b"by dcmqi")
        yield "Writing DICOM"

    monkeypatch.setattr(dicom_export, "export_dicom_segmentation", without_it)
    write = functools.partial(write_dicom_segmentation, desk.session.result)

    def export(name):
        writing = Writing()
        writing.start(write, tmp_path / name)
        first = writing.words
        writing.poll()
        return first, writing.words, (tmp_path / name).read_bytes()

    first, last, content = export("a.dcm")
    assert first.startswith("Writing with Slicer's own DICOM export; Slicer stands still")
    assert last == "'a.dcm' is written; it is in Slicer's DICOM database, too"
    assert content == b"by Slicer"
    own.clear()
    first, last, content = export("b.dcm")
    assert (first, content) == ("Writing DICOM...", b"by dcmqi")
    assert "this Slicer has no DICOM export of its own for segmentations" in last
    (tmp_path / "slice.dcm").unlink()
    with pytest.raises(InputError, match="1 of 1 files of its series are gone"):
        export("c.dcm")
