"""Many scans, from disk, subject hierarchy and sequence: one bar, a row per scan, no early end."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from dycon_engine.errors import DyconError, InputError
from Testing.slicer.segmentation import fake_predict
from Testing.slicer.segmentation.contents import add_volume
from Testing.tiny_files import dicom_folder

PATIENCE_S = 60
SIZE = (6, 7, 8)


@pytest.fixture
def desk(slicer_scene, package, tmp_path):
    """A model, folders, and what was heard of the batch."""
    from DyCONSegmentationLib.batch import BatchLogic

    from DyCONLib.models import read_model

    for name in ("temporary", "scans"):
        (tmp_path / name).mkdir()
    desk = SimpleNamespace(
        scene=slicer_scene, model=read_model(package), path=tmp_path, heard=[], shares=[]
    )

    def batch(**environment):
        starter = fake_predict.start("many", tmp_path / "fake", **environment)
        desk.logic = BatchLogic(starter, tmp_path / "temporary")
        desk.logic.ended.connect(desk.heard.append)
        return desk.logic

    desk.batch = batch
    yield desk
    if hasattr(desk, "logic"):
        desk.logic.close()


def run(desk, plan, until=lambda: False, **environment):
    """Run a batch as the panel's timer does, to its end or until `until` holds."""
    from DyCONSegmentationLib.parameters import DEFAULTS

    logic = desk.batch(**environment)
    logic.segment(plan, desk.model, DEFAULTS)
    end = time.monotonic() + PATIENCE_S
    while logic.phase != "idle" and not until():
        assert time.monotonic() < end, logic.progress
        logic.poll()
        desk.shares.append(logic.progress.share)
        time.sleep(0.02)
    return logic


def scan_array(seed):
    return np.random.default_rng(seed).integers(0, 200, SIZE).astype(np.int16)


def write_scans(desk, *names):
    import slicer

    for seed, name in enumerate(names):
        node = add_volume(scan_array(seed))
        assert slicer.util.exportNode(node, str(desk.path / "scans" / name))
        desk.scene.RemoveNode(node)


def outcomes(logic):
    return [(row.name, row.done) for row in logic.rows]


def test_a_folder_is_segmented_into_another_without_touching_the_scene(desk):
    from DyCONSegmentationLib.sources import disk_plan

    write_scans(desk, "b.nrrd", "a.nii.gz")
    (desk.path / "scans" / "notes.txt").write_text("no scan")
    before = desk.scene.GetNumberOfNodes()
    logic = run(desk, disk_plan(desk.path / "scans", desk.path / "results", 1))
    assert outcomes(logic) == [("a", True), ("b", True)]
    assert logic.rows[0].text == "left atrium 84.6 ml, left ventricle 120 ml"
    assert logic.rows[0].review
    assert desk.heard == ["2 of 2 segmented"]
    names = {path.name for path in (desk.path / "results").iterdir()}
    assert {"a.nii.gz", "a_uncertainty.nii.gz", "a_report.json", "b.nrrd"} <= names
    assert desk.scene.GetNumberOfNodes() == before
    assert not list((desk.path / "temporary").iterdir())


def test_failures_are_listed_by_case_and_stop_nothing(desk):
    from DyCONSegmentationLib.sources import disk_plan

    write_scans(desk, "a.nrrd", "b.nrrd", "c.nrrd")
    logic = run(desk, disk_plan(desk.path / "scans", desk.path / "results", 1), FAIL="b")
    assert outcomes(logic) == [("a", True), ("b", False), ("c", True)]
    assert logic.rows[1].text == "is cut short; copy it again"
    assert desk.heard == ["2 of 3 segmented, 1 failed"]


def test_where_the_engine_dies_that_scan_fails_and_the_rest_goes_on(desk):
    from DyCONSegmentationLib.sources import disk_plan

    write_scans(desk, "a.nrrd", "b.nrrd", "c.nrrd", "d.nrrd")
    logic = run(desk, disk_plan(desk.path / "scans", desk.path / "results", 1), KILL="b,d")
    assert outcomes(logic) == [("a", True), ("b", False), ("c", True), ("d", False)]
    assert "ended from outside" in logic.rows[1].text
    assert desk.heard == ["2 of 4 segmented, 2 failed"]


def test_one_bar_never_goes_back(desk):
    from DyCONSegmentationLib.sources import disk_plan

    write_scans(desk, "a.nrrd", "b.nrrd", "c.nrrd")
    run(desk, disk_plan(desk.path / "scans", desk.path / "results", 1), KILL="b")
    known = [share for share in desk.shares if share >= 0]
    assert known == sorted(known)
    assert known[-1] == 1.0


def test_volumes_of_a_folder_of_the_tree_get_their_results_beside_them(desk):
    import slicer
    from DyCONSegmentationLib import sources

    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    patient = tree.CreateFolderItem(tree.GetSceneItemID(), "patient")
    visit = tree.CreateFolderItem(patient, "visit")
    volumes = [add_volume(scan_array(seed), f"scan {seed}") for seed in range(3)]
    for volume, parent in zip(volumes, (patient, visit, tree.GetSceneItemID()), strict=True):
        tree.SetItemParent(tree.GetItemByDataNode(volume), parent)
    folders = {folder.name: folder.item for folder in sources.folders()}
    assert list(folders) == ["patient", "patient / visit"]
    assert sources.volumes_below(folders["patient / visit"]) == [volumes[1]]
    below = sources.volumes_below(folders["patient"])
    assert {node.GetName() for node in below} == {"scan 0", "scan 1"}
    logic = run(desk, sources.scene_plan(below, desk.model))
    assert sorted(outcomes(logic)) == [("scan 0", True), ("scan 1", True)]
    for volume, parent in ((volumes[0], patient), (volumes[1], visit)):
        made = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
            if node.GetName().startswith(volume.GetName())
        ]
        assert [tree.GetItemParent(tree.GetItemByDataNode(node)) for node in made] == [parent]
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(made[0], "ball", volume)
        assert np.array_equal(mask > 0, slicer.util.arrayFromVolume(volume) > 100)
    assert len(sources.volumes_below(folders["patient"])) == 2  # maps of ours are no scans
    assert not list((desk.path / "temporary").iterdir())


def add_sequence(arrays, name="beating heart"):
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("phase")
    sequence.SetIndexUnit("%")
    for index, array in enumerate(arrays):
        frame = add_volume(array, "frame")
        sequence.SetDataNodeAtValue(frame, str(10 * index))
        slicer.mrmlScene.RemoveNode(frame)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return sequence, browser


def test_a_sequence_becomes_sequences_that_play_with_it(desk):
    import slicer
    from DyCONSegmentationLib.sources import sequence_plan

    arrays = [scan_array(seed) for seed in range(3)]
    sequence, browser = add_sequence(arrays)
    logic = run(desk, sequence_plan(sequence, desk.model))
    assert outcomes(logic) == [("phase 0 %", True), ("phase 10 %", True), ("phase 20 %", True)]
    made = slicer.util.getNodesByClass("vtkMRMLSequenceNode")[1:]
    names = [f"beating heart - DyCON{end}" for end in ("", " uncertainty")]
    assert [node.GetName() for node in made] == names
    for each in made:
        assert (each.GetNumberOfDataNodes(), each.GetIndexUnit()) == (3, "%")
        assert browser.IsSynchronizedSequenceNode(each, True)
    for index, array in enumerate(arrays):
        segmentation = made[0].GetNthDataNode(index)
        labels = slicer.util.arrayFromSegmentBinaryLabelmap(
            segmentation, "ball", sequence.GetNthDataNode(index)
        )
        assert np.array_equal(labels > 0, array > 100)
    for kind in ("Segmentation", "ScalarVolume"):  # nothing but sequences, and what they show now
        left = slicer.util.getNodesByClass(f"vtkMRML{kind}Node")
        assert [node.GetName() for node in left if not browser.IsProxyNodeID(node.GetID())] == []


def test_what_is_corrected_in_one_frame_stays_there(desk):
    import slicer
    from DyCONSegmentationLib.sources import sequence_plan

    sequence, browser = add_sequence([scan_array(seed) for seed in range(3)])
    run(desk, sequence_plan(sequence, desk.model), FAIL="scan0003")
    made = slicer.util.getNodesByClass("vtkMRMLSequenceNode")[1]
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    browser.SetSelectedItemNumber(0)
    logic.UpdateAllProxyNodes()
    proxy = browser.GetProxyNode(made)
    proxy.GetSegmentation().GetNthSegment(0).SetName("corrected")
    logic.UpdateSequencesFromProxyNodes(browser, proxy)
    for frame, name in ((1, "ball"), (0, "corrected")):
        browser.SetSelectedItemNumber(frame)
        logic.UpdateProxyNodesFromSequences(browser)
        assert proxy.GetSegmentation().GetNthSegment(0).GetName() == name
    browser.SetSelectedItemNumber(2)  # which failed: nothing, and no copy of another frame
    logic.UpdateProxyNodesFromSequences(browser)
    assert proxy.GetSegmentation().GetNumberOfSegments() == 0
    assert made.GetNumberOfDataNodes() == 2


def test_what_is_done_stays_when_a_batch_is_cancelled(desk):
    from DyCONSegmentationLib.sources import disk_plan

    write_scans(desk, "a.nrrd", "b.nrrd", "c.nrrd")
    plan = disk_plan(desk.path / "scans", desk.path / "results", 1)
    logic = run(
        desk,
        plan,
        until=lambda: desk.logic.rows[0].done,
        GATE=str(desk.path / "never"),
    )
    began = time.monotonic()
    logic.cancel()
    while logic.phase != "idle":
        logic.poll()
        time.sleep(0.02)
    assert time.monotonic() - began < 6.0
    assert outcomes(logic) == [("a", True), ("b", None), ("c", None)]
    assert desk.heard == ["1 of 3 segmented; cancelled"]
    assert not list((desk.path / "temporary").iterdir())


def test_a_volume_that_is_removed_meanwhile_fails_alone(desk):
    from DyCONSegmentationLib.sources import scene_plan

    volumes = [add_volume(scan_array(seed), f"scan {seed}") for seed in range(2)]
    plan = scene_plan(volumes, desk.model)
    desk.scene.RemoveNode(volumes[0])
    logic = run(desk, plan)
    assert outcomes(logic) == [("scan 0", False), ("scan 1", True)]
    assert "was removed meanwhile" in logic.rows[0].text


def test_closing_the_scene_ends_a_batch_in_silence(desk):
    from DyCONSegmentationLib.sources import scene_plan

    volumes = [add_volume(scan_array(seed), f"scan {seed}") for seed in range(2)]
    logic = run(desk, scene_plan(volumes, desk.model), until=lambda: desk.logic._run is not None)
    logic.close()
    assert (logic.phase, desk.heard) == ("idle", [])
    assert not list((desk.path / "temporary").iterdir())


def test_what_cannot_be_a_batch_is_refused(desk):
    from DyCONSegmentationLib.batch import BatchLogic
    from DyCONSegmentationLib.parameters import DEFAULTS
    from DyCONSegmentationLib.sources import disk_plan, scene_plan, sequence_plan

    from DyCONLib.models import Channel

    scans, results = desk.path / "scans", desk.path / "results"
    with pytest.raises(InputError, match="is not there"):
        disk_plan(desk.path / "absent", results, 1)
    with pytest.raises(InputError, match="are the same folder"):
        disk_plan(scans, scans, 1)
    logic = BatchLogic(lambda *_: None, desk.path / "temporary")
    with pytest.raises(InputError, match="no scan was found"):
        logic.segment(disk_plan(scans, results, 1), desk.model, DEFAULTS)
    two = SimpleNamespace(name="brain", channels=(Channel("T1", ""), Channel("T2", "")))
    with pytest.raises(InputError, match=r"takes several volumes per scan \(T1, T2\)"):
        scene_plan([], two)
    empty = desk.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "empty one")
    with pytest.raises(InputError, match="'empty one': holds no volumes"):
        sequence_plan(empty, desk.model)


def test_files_of_two_channels_are_one_scan_and_dicom_folders_are_scans(desk):
    from DyCONSegmentationLib.sources import disk_plan

    write_scans(desk, "pt1_0000.nrrd", "pt1_0001.nrrd", "pt2_0000.nrrd", "pt2_0001.nrrd")
    scans, results = desk.path / "scans", desk.path / "results"
    (scans / "notes").mkdir()
    (scans / "notes" / "readme.txt").write_text("no scan")
    items = disk_plan(scans, results, 2).items
    assert [(item.case, len(item.files)) for item in items] == [("pt1", 2), ("pt2", 2)]
    dicom_folder(scans / "series", np.zeros((3, 4, 5), np.int16))
    assert "series" in [item.case for item in disk_plan(scans, results, 2).items]


def open_row(desk, logic, number=0):
    from DyCONSegmentationLib.opening import Opener

    return Opener().load(logic.rows[number], logic.model)


def test_a_row_is_opened_with_its_scan_and_under_its_names(desk):
    import slicer
    from DyCONSegmentationLib.opening import Opener
    from DyCONSegmentationLib.sources import disk_plan

    write_scans(desk, "a.nii.gz", "b.nrrd")
    logic = run(desk, disk_plan(desk.path / "scans", desk.path / "results", 1), FAIL="b")
    opener = Opener()
    assert opener.find(logic.rows[0], []) is None
    result = opener.load(logic.rows[0], logic.model)
    assert result.volume.GetName() == "a"
    assert result.segmentation.GetName().startswith("a - DyCON")
    assert result.uncertainty is not None
    assert np.array_equal(slicer.util.arrayFromVolume(result.volume) > 100, ball_of(result))
    assert opener.find(logic.rows[0], [result.segmentation]) is result.segmentation
    gone = result.segmentation.GetID()
    desk.scene.Clear(0)
    other = desk.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert other.GetID() == gone
    assert opener.find(logic.rows[0], [other]) is None
    with pytest.raises(InputError, match="'b': has no files"):
        opener.load(logic.rows[1], logic.model)


def ball_of(result):
    import slicer

    return (
        slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, "ball", result.volume) > 0
    )


def test_a_row_whose_files_are_gone_leaves_the_scene_as_it_was(desk):
    from DyCONSegmentationLib.sources import disk_plan

    write_scans(desk, "a.nrrd")
    logic = run(desk, disk_plan(desk.path / "scans", desk.path / "results", 1))
    before = desk.scene.GetNumberOfNodes()
    (desk.path / "results" / "a.nrrd").unlink()
    with pytest.raises(DyconError, match=r"the file 'a\.nrrd' is not there"):
        open_row(desk, logic)
    assert desk.scene.GetNumberOfNodes() == before
    (desk.path / "scans" / "a.nrrd").unlink()
    with pytest.raises(DyconError, match=r"scan 'a\.nrrd': Slicer cannot load it"):
        open_row(desk, logic)
    assert desk.scene.GetNumberOfNodes() == before


def test_a_row_of_a_dicom_folder_is_opened(desk):
    import slicer
    from DyCONSegmentationLib.sources import disk_plan

    dicom_folder(desk.path / "scans" / "series", scan_array(0))
    logic = run(desk, disk_plan(desk.path / "scans", desk.path / "results", 1))
    result = open_row(desk, logic)
    assert result.volume.GetName() == "series"
    assert np.array_equal(slicer.util.arrayFromVolume(result.volume) > 100, ball_of(result))


def test_a_row_of_the_scene_is_the_result_beside_its_volume(desk):
    from DyCONSegmentationLib.opening import Opener
    from DyCONSegmentationLib.sources import scene_plan

    volumes = [add_volume(scan_array(seed), f"scan {seed}") for seed in range(2)]
    logic = run(desk, scene_plan(volumes, desk.model))
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    found = [Opener().find(row, nodes) for row in logic.rows]
    assert [node.GetName().split(" - ")[0] for node in found] == ["scan 0", "scan 1"]
