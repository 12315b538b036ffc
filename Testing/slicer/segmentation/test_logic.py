"""One segmentation from click to nodes, on the real scene, with a process in place of the engine.

Whatever goes wrong, the node list is as before, the scan is untouched, there is one clear sentence,
and no process and no file is left.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import time
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest

from dycon_engine.errors import DyconError, InputError
from Testing.slicer.segmentation import fake_predict
from Testing.slicer.segmentation.contents import add_volume, report_table

PATIENCE_S = 60
SIZE = (10, 12, 14)
TODAY = datetime(2026, 11, 21)


@pytest.fixture
def desk(slicer_scene, package, tmp_path):
    """A scan in the scene, a model, and what is needed to run and to look."""
    from DyCONLib.models import read_model

    random = np.random.default_rng(0)
    array = random.integers(0, 200, SIZE).astype(np.int16)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return SimpleNamespace(
        scene=slicer_scene,
        scan=add_volume(array, "Doe^Jane", spacing=(0.7, 1.1, 2.5)),
        array=array,
        model=read_model(package),
        temporary=temporary,
        folder=tmp_path / "fake",
        logic=None,
        heard=[],
    )


@pytest.fixture
def run(desk):
    """Start a segmentation with the engine behaving in one way; ends it after the test."""
    from DyCONSegmentationLib.logic import SegmentationLogic
    from DyCONSegmentationLib.parameters import DEFAULTS

    def start(way, chosen=DEFAULTS, volumes=None, **environment):
        starter = fake_predict.start(way, desk.folder, **environment)
        logic = SegmentationLogic(starter, desk.temporary, today=lambda: TODAY)
        for name in ("finished", "failed", "cancelled"):
            signal = getattr(logic, name)
            signal.connect(lambda *what, name=name: desk.heard.append((name, *what)))
        desk.logic = logic
        logic.segment(volumes or (desk.scan,), desk.model, chosen)
        return logic

    yield start
    if desk.logic is not None:
        desk.logic.close()


def wait(logic, until=lambda: False, limit_s=PATIENCE_S):
    """Poll as the panel's timer does, until the run is over or `until` holds."""
    end = time.monotonic() + limit_s
    while logic.phase != "idle" and not until():
        assert time.monotonic() < end, f"still {logic.phase}: {logic.log}"
        logic.poll()
        time.sleep(0.02)


def nodes(scene):
    """Everything of the scene that a person could see change: ids, names, parents, views."""
    import slicer

    listed = []
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        listed.append((node.GetID(), node.GetName()))
        if node.IsA("vtkMRMLSliceCompositeNode"):
            layers = (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID())
            listed.append((layers, node.GetForegroundOpacity()))
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    return listed, tree.GetNumberOfItems(), scene.GetNumberOfUndoLevels()


def facts(volume):
    """What must not change of a scan: voxels, grid, name, transform, place in the tree, storage."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    return (
        hashlib.sha256(slicer.util.arrayFromVolume(volume).tobytes()).hexdigest(),
        [matrix.GetElement(i // 4, i % 4) for i in range(16)],
        volume.GetName(),
        volume.GetTransformNodeID(),
        tree.GetItemParent(tree.GetItemByDataNode(volume)),
        volume.GetStorageNodeID(),
        volume.GetAttributeNames(),
    )


def test_a_result_is_new_nodes_beside_the_scan_which_is_untouched(desk, run):
    import slicer

    before = facts(desk.scan)
    logic = run("good")
    wait(logic)
    [(name, result)] = desk.heard
    assert name == "finished"
    assert facts(desk.scan) == before
    assert result.segmentation.GetName() == "Doe^Jane - DyCON 2026-11-21"
    assert result.uncertainty.GetName() == "Doe^Jane - DyCON 2026-11-21 uncertainty"
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    both = (desk.scan, result.segmentation)
    assert len({tree.GetItemParent(tree.GetItemByDataNode(node)) for node in both}) == 1
    role = result.segmentation.GetReferenceImageGeometryReferenceRole()
    assert result.segmentation.GetNodeReference(role) is desk.scan
    assert not list(desk.temporary.iterdir())


def test_the_structures_have_the_names_colors_and_terms_of_the_model(desk, run):
    term = "SCT^82471001^Left atrium"
    segments = (desk.model.segments[0]._replace(terminology=term),)
    desk.model = dataclasses.replace(desk.model, segments=segments)
    wait(run("good"))
    result = desk.heard[0][1]
    segment = result.segmentation.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "ball"
    assert result.colors == {"ball": (200, 30, 30)}
    assert result.labels == {"ball": 3}
    assert result.segmentation.GetAttribute("DyCON.Model") == "tiny"
    assert f"~SCT^123037004^Anatomical Structure~{term}~" in segment.GetTerminology()


def oblique(degrees=30.0):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return about_x @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


GRIDS = {
    "axial": np.diag([-0.7, -1.1, 2.5]),
    "anisotropic": np.diag([-0.3, -0.3, 7.5]),
    "left-handed": np.diag([0.7, -1.1, 2.5]),
    "mirrored": np.diag([0.7, 1.1, -2.5]),
    "oblique": oblique() @ np.diag([-0.7, -1.1, 2.5]),
    "oblique left-handed": oblique(200.0) @ np.diag([0.7, -1.1, 2.5]),
    "permuted": np.array([[0, 0, 2.5], [-0.7, 0, 0], [0, 1.1, 0]]),
    "permuted left-handed": oblique(12.0) @ np.array([[0, 2.5, 0], [0.7, 0, 0], [0, 0, 1.1]]),
}


@pytest.mark.parametrize(
    ("grid", "moved"),
    [*((grid, False) for grid in GRIDS), ("oblique left-handed", True), ("permuted", True)],
)
def test_segmentation_and_map_lie_voxel_for_voxel_on_the_scan(desk, run, grid, moved):
    import slicer
    import vtk

    from DyCONLib import mrml

    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = GRIDS[grid], (-31.25, 17.5, 903.125)
    desk.scan.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    if moved:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        turned = np.eye(4)
        turned[:3, :3], turned[:3, 3] = oblique(70.0), (5.0, 6.0, 7.0)
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turned))
        desk.scan.SetAndObserveTransformNodeID(transform.GetID())
    wait(run("good"))
    result = desk.heard[0][1]
    assert mrml.same_grid(result.uncertainty, desk.scan)
    shown = slicer.util.arrayFromVolume(result.uncertainty)
    assert np.allclose(shown, np.clip(desk.array / desk.array.max(), 0, 1), atol=1e-6)
    segment = result.segmentation.GetSegmentation().GetNthSegmentID(0)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, segment, desk.scan)
    assert np.array_equal(mask > 0, desk.array > fake_predict.BRIGHT)
    for node in (result.segmentation, result.uncertainty):
        assert node.GetParentTransformNode() is desk.scan.GetParentTransformNode()
    labelmap = slicer.vtkOrientedImageData()
    result.segmentation.GetBinaryLabelmapRepresentation(segment, labelmap)
    own = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(own)
    apart = np.linalg.solve(matrix, slicer.util.arrayFromVTKMatrix(own)) - np.eye(4)
    assert np.abs(apart @ [*SIZE[::-1], 1]).max() < 0.01


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("failed", "'Doe^Jane': needs 9 GiB, 2 GiB are free; close other programs"),
        ("killed", "ended from outside before it was done"),
        ("silent", "ended from outside"),
        ("garbage", "no readable report"),
        ("unwritten", "the engine wrote no readable report"),
        ("no_report", "'volumes' is missing"),
        ("no_map", "'uncertainty.nrrd' is not there"),
        ("other_grid", "lies on another grid than its volume"),
        ("other_values", "the file holds the value 77, which is none of the model's segments"),
    ],
)
def test_a_failure_leaves_the_scene_as_it_was_and_says_one_sentence(desk, run, way, words):
    before, scan = nodes(desk.scene), facts(desk.scan)
    logic = run(way)
    wait(logic)
    [(name, sentence)] = desk.heard
    assert name == "failed"
    assert words in sentence
    assert str(desk.temporary) not in sentence
    assert "Traceback" not in sentence
    assert (nodes(desk.scene), facts(desk.scan)) == (before, scan)
    assert not list(desk.temporary.iterdir())
    assert "Jane" not in logic.log
    assert logic.log
    from Testing.slicer.host.scene import errors

    errors().clear()  # Slicer's reader may have said what is wrong with the file


def test_a_fallback_of_the_engine_is_noted(desk, run):
    logic = run("fallback")
    wait(logic)
    assert logic.notices == ("CUDA does not work here (no kernel image); the CPU is used",)
    assert desk.heard[0][0] == "finished"
    run("good")
    assert desk.logic.notices == ()


@pytest.mark.parametrize("way", ["gated", "late", "deaf"])
def test_cancel_takes_effect_within_five_seconds_and_leaves_nothing(desk, run, way, tmp_path):
    before, scan = nodes(desk.scene), facts(desk.scan)
    logic = run(way, GATE=str(tmp_path / "never"))
    wait(logic, until=lambda: logic.progress.step == "Segmenting")
    began = time.monotonic()
    logic.cancel()
    assert logic.phase == "cancelling"
    wait(logic)
    assert time.monotonic() - began < 6.0  # 5 s, and one turn of a busy machine
    assert desk.heard == [("cancelled",)]
    assert (nodes(desk.scene), facts(desk.scan)) == (before, scan)
    assert not list(desk.temporary.iterdir())


def test_a_second_press_while_running_is_refused_and_changes_nothing(desk, run, tmp_path):
    from DyCONSegmentationLib.parameters import DEFAULTS

    logic = run("gated", GATE=str(tmp_path / "open"))
    with pytest.raises(InputError, match="a segmentation is running"):
        logic.segment((desk.scan,), desk.model, DEFAULTS)
    (tmp_path / "open").touch()
    wait(logic)
    assert [name for name, *_ in desk.heard] == ["finished"]


def test_a_second_run_makes_a_second_segmentation(desk, run):
    wait(run("good"))
    wait(run("good"))
    names = [what.segmentation.GetName() for _, what in desk.heard]
    assert names == ["Doe^Jane - DyCON 2026-11-21", "Doe^Jane - DyCON 2026-11-21_1"]


def test_closing_ends_the_process_at_once_and_says_nothing(desk, run):
    logic = run("deaf")
    wait(logic, until=lambda: logic.progress.step == "Segmenting")
    process = logic._run.job._process
    logic.close()
    assert process.poll() is not None
    assert (logic.phase, desk.heard) == ("idle", [])
    assert not list(desk.temporary.iterdir())
    logic.poll()
    assert desk.heard == []


def test_a_scan_that_is_removed_meanwhile_stops_the_run(desk, run, tmp_path):
    logic = run("gated", GATE=str(tmp_path / "never"))
    desk.scene.RemoveNode(desk.scan)
    before = nodes(desk.scene)
    wait(logic)
    assert desk.heard == [("cancelled",)]
    assert nodes(desk.scene) == before


def test_the_scene_is_closed_while_the_result_is_on_its_way(desk, run, tmp_path):
    from Testing.slicer.host.scene import new_scene

    logic = run("gated", GATE=str(tmp_path / "open"))
    new_scene()
    (tmp_path / "open").touch()
    wait(logic)
    assert desk.heard == [("cancelled",)]
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_replacing_keeps_the_node_and_drops_what_belonged_to_the_old_result(desk, run):
    import slicer
    from DyCONSegmentationLib.parameters import Parameters

    wait(run("good"))
    old = desk.heard.pop()[1]
    old.segmentation.SetName("my corrections")
    old.segmentation.GetSegmentation().RemoveAllSegments()
    old.segmentation.SetAttribute("DyCON.Corrected", "yes")
    logic = run("good", Parameters(output=old.segmentation.GetID()))
    assert old.segmentation.GetSegmentation().GetNumberOfSegments() == 0  # nothing before the end
    wait(logic)
    [(name, new)] = desk.heard
    assert (name, new.segmentation is old.segmentation) == ("finished", True)
    assert new.segmentation.GetName() == "my corrections"
    assert new.segmentation.GetAttribute("DyCON.Corrected") is None
    segment = new.segmentation.GetSegmentation().GetNthSegmentID(0)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(new.segmentation, segment, desk.scan)
    assert mask.any()
    assert not desk.scene.IsNodePresent(old.uncertainty)
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2


def test_a_failure_leaves_the_segmentation_that_should_be_replaced(desk, run):
    from DyCONSegmentationLib.parameters import Parameters

    wait(run("good"))
    old = desk.heard.pop()[1]
    before = nodes(desk.scene)
    wait(run("other_grid", Parameters(output=old.segmentation.GetID())))
    assert desk.heard[0][0] == "failed"
    assert nodes(desk.scene) == before


def test_the_result_is_saved_with_the_scene_and_found_again(desk, run, tmp_path):
    import slicer
    from DyCONSegmentationLib.results import find_result, keep_review
    from DyCONSegmentationLib.review import Mark

    regions = json.dumps(report_table()["regions"])
    wait(run("good", REGIONS=regions))
    result = desk.heard[0][1]
    keep_review(result.segmentation, result.review.marked(2, Mark.FIXED))
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    desk.scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    segmentation = desk.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    back = find_result(segmentation)
    assert back.report == result.report
    assert back.review.left == 2
    assert back.volume.GetName() == "Doe^Jane"
    assert back.uncertainty.GetName() == result.uncertainty.GetName()
    assert (back.labels, back.model) == ({"ball": 3}, "tiny")
    assert segmentation.GetNodeReference("DyCON.Page").GetText() == "<html>the page</html>"
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", back.volume)
    assert np.array_equal(mask > 0, desk.array > fake_predict.BRIGHT)


def test_probabilities_are_volumes_of_their_own(desk, run):
    from DyCONSegmentationLib.parameters import Parameters

    from DyCONLib import mrml

    wait(run("good", Parameters(keep_probabilities=True), PROBABILITIES="yes"))
    result = desk.heard[0][1]
    [node] = [
        result.segmentation.GetNthNodeReference("DyCON.Probabilities", i)
        for i in range(result.segmentation.GetNumberOfNodeReferences("DyCON.Probabilities"))
    ]
    assert node.GetName().endswith("probability of ball")
    assert mrml.same_grid(node, desk.scan)


def test_folders_of_a_slicer_that_was_killed_are_removed(desk, run):
    from DyCONSegmentationLib.run import Workspace

    for name in (f"dycon-{2**22 + 1}-left", f"dycon-{os.getpid()}-mine", "dycon-other"):
        (desk.temporary / name).mkdir()
    Workspace(desk.temporary, os.getpid()).remove()
    assert {path.name for path in desk.temporary.iterdir()} == {
        f"dycon-{os.getpid()}-mine",
        "dycon-other",
    }


def test_an_engine_that_cannot_be_started_leaves_nothing(desk):
    from DyCONSegmentationLib.logic import SegmentationLogic
    from DyCONSegmentationLib.parameters import DEFAULTS

    def start(arguments, run_dir):
        raise DyconError("the engine could not be started")

    logic = SegmentationLogic(start, desk.temporary)
    with pytest.raises(DyconError, match="could not be started"):
        logic.segment((desk.scan,), desk.model, DEFAULTS)
    assert logic.phase == "idle"
    assert not list(desk.temporary.iterdir())
