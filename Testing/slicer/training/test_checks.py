"""Every finding on what is loaded: one plain sentence, and a fix that makes it go away."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.slicer.training import scenes

NOWHERE = (
    "label 'wall' (value 2): in no labeled case, expected in at least one; draw it, or leave its "
    "segments out"
)


@pytest.fixture
def made(slicer_scene, tmp_path):
    scenes.scans(2, 1)
    made, _ = scenes.logic(tmp_path)
    made.open(tmp_path / "set")
    made.add_scene()
    assert scenes.findings(made) == []
    return made


def only(made):
    (finding,) = scenes.findings(made)
    return finding


def node(name):
    import slicer

    return slicer.util.getNode(name)


def test_a_case_without_segmentation_cannot_be_labeled(made):
    from DyCONTrainingLib.cases import Role

    scenes.volume("more", scenes.ball(30)[0])
    made.add_scene()
    made.set_role([3], Role.LABELED)
    finding = only(made)
    assert finding.text == "case 'more': is labeled but has no segmentation"
    assert finding.fixes[0].words == "Make it unlabeled"
    made.fix(finding.fixes[0])
    assert scenes.findings(made) == []


def test_no_labeled_and_no_unlabeled(made):
    from DyCONTrainingLib.cases import Role

    made.set_role([0, 1], Role.UNLABELED)
    assert only(made).text.startswith("no labeled case")
    made.set_role([0, 1, 2], Role.LABELED)
    assert any(f.text.startswith("no unlabeled case") for f in scenes.findings(made))
    made.use_method("supervised", needs_unlabeled=False)
    assert not any(f.text.startswith("no unlabeled case") for f in scenes.findings(made))


def reminder(made):
    """Return what is said where no case is held out, None where nothing is."""
    return next((f for f in made.findings if f.text.startswith("no held-out")), None)


def roles(made):
    return {row.title: row.role.words for row in made.draft.rows}


def test_nothing_held_out_is_said_and_one_click_holds_one_out(made):
    said = reminder(made)
    assert said.text == "no held-out case: the model will be neither scored nor calibrated"
    assert (said.level.value, said.fixes) == ("warning", ())  # two labeled are needed
    scenes.scans(1, 0, first=20)
    made.add_scene()
    (fix,) = reminder(made).fixes
    assert fix.words == "Hold out one labeled case"
    made.fix(fix)
    assert roles(made)["scan 20"] == "held-out"
    assert list(roles(made).values()).count("labeled") == 2
    assert made.findings == []


def test_the_case_that_is_held_out_is_one_that_training_can_spare(made):
    scenes.patient("Doe", node("scan 1"), node("scan 2"))  # the one labeled, the other not
    image, mask = scenes.ball(21)
    scenes.segmentation(scenes.volume("rare", image), {"ball": mask, "cyst": np.roll(mask, 9, 0)})
    made.remove([0, 1, 2])
    made.add_scene()
    made.fix(reminder(made).fixes[0])
    assert {name for name, role in roles(made).items() if role == "held-out"} == {"scan 0"}
    assert all(finding.level == "warning" for finding in made.findings)


def test_no_case_is_held_out_by_a_click_where_training_can_spare_none(made):
    scenes.scans(1, 0, first=20)
    scenes.patient("Doe", node("scan 0"), node("scan 1"), node("scan 20"))
    made.remove([0, 1, 2])
    made.add_scene()
    assert reminder(made).fixes == ()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full(scenes.SIZE, 7, np.float32), "is constant (7 in every voxel)"),
        (np.full(scenes.SIZE, np.nan, np.float32), "holds NaN or infinite voxels"),
        (np.where(np.indices(scenes.SIZE)[0] == 3, np.inf, 0).astype("f4"), "holds NaN or inf"),
        (np.ones((1, 1, 1), np.float32), "has 1x1x1 voxels"),
    ],
)
def test_scans_that_are_none(made, array, words):
    scenes.volume("odd", array)
    made.add_scene()
    finding = only(made)
    assert finding.text.startswith("case 'odd': ")
    assert words in finding.text
    made.fix(finding.fixes[0])
    assert scenes.findings(made) == []
    assert len(made.draft.rows) == 3


def test_a_scan_that_is_there_twice(made):
    scenes.volume("copy", scenes.ball(0)[0])
    made.add_scene()
    finding = only(made)
    assert "cases 'scan 0', 'copy': hold the same voxels but are labeled and unlabeled" in (
        finding.text
    )
    made.fix(finding.fixes[0])
    assert [row.title for row in made.draft.rows] == ["scan 0", "scan 1", "scan 2"]


def test_a_loaded_scan_that_is_in_the_data_set_already(made, tmp_path):
    made.save()
    while made.is_busy:
        made.poll()
    now = [0.0]
    later, _ = scenes.logic(tmp_path, clock=lambda: now[0])
    later.open(tmp_path / "set")
    now[0] = 10.0
    scenes.settle(later)
    later.add_scene()
    assert len(scenes.findings(later)) == 3
    assert all("hold the same voxels" in finding.text for finding in scenes.findings(later))


def test_a_patient_on_both_sides(made):
    from DyCONTrainingLib.cases import Role

    scenes.patient("Doe", node("scan 0"), node("scan 1"))
    made.remove([0, 1])
    made.add_scene()
    made.set_role([2], Role.HELD_OUT)
    finding = only(made)
    assert finding.text == (
        "patient 'Doe': scans 'scan 0', 'scan 1' are labeled and held-out; all scans of a patient "
        "need one side"
    )
    made.fix(finding.fixes[0])
    assert [row.title for row in made.draft.rows] == ["scan 2", "scan 1"]


@pytest.mark.parametrize(
    ("times", "spacing"), [((1, 1, 5, 1), "1.5 x 1.5 x 10"), ((0.2, 1, 1, 1), "0.3 x 1.5 x 2")]
)
def test_spacing_far_from_the_others(made, times, spacing):
    scenes.volume("odd", scenes.ball(31)[0], scenes.IJK_TO_RAS @ np.diag(times))
    made.add_scene()
    finding = only(made)
    assert finding.text == (
        f"case 'odd': spacing {spacing} mm is far from the usual 1.5 x 1.5 x 2 mm; check that it "
        "is the same kind of scan"
    )


def test_a_channel_that_is_missing_and_channels_on_two_grids(made, slicer_scene):
    for number in range(3):
        scenes.volume(f"flair {number}", scenes.ball(number + 40)[0])
    shifted = scenes.IJK_TO_RAS.copy()
    shifted[0, 3] += 1
    scenes.volume("flair 3", scenes.ball(43)[0], shifted)
    made.add_scene()
    made.join([0, 3])
    assert len(made.draft.rows[0].images) == 2
    made.join([1, 3])
    made.join([2, 4])
    grids, missing = (finding.text for finding in scenes.findings(made) if finding.rows)
    assert grids == (
        "case 'scan 2': its channels lie on different grids; resample them onto the first"
    )
    assert missing.startswith("case 'flair 2': has 1 channels, the others 2; join scans")


def test_an_empty_segmentation_and_an_empty_segment(made):
    nothing = np.zeros(scenes.SIZE, bool)
    scan = scenes.volume("blank", scenes.ball(50)[0])
    scenes.segmentation(scan, {"ball": nothing})
    half = scenes.volume("half", scenes.ball(51)[0])
    scenes.segmentation(half, {"ball": scenes.ball(51)[1], "wall": nothing})
    made.add_scene()
    assert sorted(finding.text for finding in scenes.findings(made)) == [
        "case 'blank': the segmentation is empty; right only if the structure is not in the scan",
        "case 'half': empty segments: 'wall'",
        NOWHERE,
    ]
    made.set_mapping(made.draft.mapping.assigned("wall", 0))
    assert "wall" not in str([finding.text for finding in scenes.findings(made)])


def test_a_segmentation_that_belongs_elsewhere(made):
    scan = scenes.volume("lost", scenes.ball(52)[0])
    far = scenes.IJK_TO_RAS.copy()
    far[:3, 3] += 500
    other = scenes.volume("far", scenes.ball(53)[0], far)
    drawn = scenes.segmentation(other, {"ball": scenes.ball(53)[1]})
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    made.add_scene()
    (finding,) = [f for f in scenes.findings(made) if "'lost'" in f.text]
    assert "lies outside the scan" in finding.text
    assert finding.level == "problem"


def test_overlapping_segments_are_asked_about_and_the_answer_is_written(made, tmp_path):
    from dycon_engine.data.formats.readers import read_label

    inside = scenes.ball(60)[1]
    wall = np.roll(inside, 2, axis=0)
    scan = scenes.volume("both", scenes.ball(60)[0])
    scenes.segmentation(scan, {"ball": inside, "wall": wall})
    made.add_scene()
    finding = only(made)
    shared = int((inside & wall).sum())
    assert f"segments overlap: 'ball', 'wall' share {shared} voxels in 'both'" in finding.text
    assert [fix.words for fix in finding.fixes] == ["'ball' on top", "'wall' on top"]
    made.save()
    failures = []
    made.failed.connect(failures.append)
    while made.is_busy:
        made.poll()
    assert len(failures) == 1
    assert f"share {shared} voxels" in failures[0]
    made.fix(finding.fixes[1])
    assert scenes.findings(made) == []
    made.save()
    while made.is_busy:
        made.poll()
    stored = read_label(tmp_path / "set/labels/case-004.nii.gz").array
    assert (stored == 2).sum() == wall.sum()
    assert (stored == 1).sum() == (inside & ~wall).sum()


def test_segments_of_one_label_may_overlap(made):
    scan = scenes.volume("both", scenes.ball(60)[0])
    mask = scenes.ball(60)[1]
    scenes.segmentation(scan, {"ball": mask, "Ball": np.roll(mask, 1, axis=0)})
    made.add_scene()
    assert scenes.findings(made) == []


def test_a_segment_that_is_left_out_may_overlap(made):
    scan = scenes.volume("both", scenes.ball(60)[0])
    mask = scenes.ball(60)[1]
    scenes.segmentation(scan, {"ball": mask, "wall": np.roll(mask, 1, axis=0)})
    made.add_scene()
    assert "segments overlap" in only(made).text
    made.set_mapping(made.draft.mapping.assigned("wall", 0))
    assert scenes.findings(made) == []


def test_segments_of_one_name_are_counted_as_one(made):
    scan = scenes.volume("both", scenes.ball(60)[0])
    mask = scenes.ball(60)[1]
    rolled = np.roll(mask, 1, axis=0)
    drawn = scenes.segmentation(scan, {"ball": mask, "other": rolled}).GetSegmentation()
    drawn.GetSegment("other").SetName("ball")
    made.add_scene()
    row = next(row for row in made.draft.rows if row.title == "both")
    found = made._facts.look([row]).labels[row.images]
    assert (found.voxels, found.overlaps) == ({"ball": int((mask | rolled).sum())}, {})


def test_a_prediction_is_pointed_out_and_what_a_person_drew_is_preferred(made):
    scan = scenes.volume("new", scenes.ball(61)[0])
    predicted = scenes.segmentation(scan, {"ball": scenes.ball(61)[1]})
    predicted.SetAttribute("DyCON.Report", "{}")
    made.add_scene()
    assert "was made by a model" in only(made).text
    drawn = scenes.segmentation(scan, {"ball": scenes.ball(61)[1]})
    later = scenes.segmentation(scan, {"ball": scenes.ball(61)[1]})
    later.SetAttribute("DyCON.Report", "{}")
    made.remove([3])
    made.add_scene()
    assert made.draft.rows[3].label.node_id == drawn.GetID()
    assert scenes.findings(made) == []


def test_uncertainty_maps_and_label_maps_are_no_scans(made):
    import slicer

    scan = node("scan 0")
    uncertainty = scenes.volume("map", scenes.ball(62)[0])
    result = scenes.segmentation(scan, {"ball": scenes.ball(0)[1]})
    result.SetNodeReferenceID("DyCON.Uncertainty", uncertainty.GetID())
    slicer.util.addVolumeFromArray(
        scenes.ball(1)[1].astype("u1"), scenes.IJK_TO_RAS, "l", "vtkMRMLLabelMapVolumeNode"
    )
    assert made.add_scene() == 0


def test_an_edited_segmentation_is_looked_at_again(made):
    import slicer

    made.check()
    segmentation = slicer.mrmlScene.GetNodeByID(made.draft.rows[0].label.node_id)
    empty = np.zeros(scenes.SIZE, np.uint8)
    segment = segmentation.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(empty, segmentation, segment, node("scan 0"))
    made.check()
    assert "is empty" in only(made).text


def test_a_scan_that_was_closed_is_said(made):
    import slicer

    slicer.mrmlScene.RemoveNode(node("scan 2"))
    made.check()
    finding = next(f for f in scenes.findings(made) if "scan 2" in f.text)
    assert "is not loaded any more" in finding.text
    made.fix(finding.fixes[0])
    assert len(made.draft.rows) == 2


def test_many_scans_are_looked_at_little_by_little(slicer_scene, tmp_path):
    scenes.scans(3, 2)
    made, _ = scenes.logic(tmp_path)
    made._facts._budget_s = -1.0  # no time at all: one fact a look would be too many
    made.open(tmp_path / "set")
    made.add_scene()
    assert not made.is_audited
    assert scenes.findings(made) == []
    made._facts._budget_s = 60.0
    scenes.volume("copy", scenes.ball(0)[0])
    made.add_scene()
    assert "hold the same voxels" in only(made).text


def test_a_segmentation_on_another_grid_is_resampled(made):
    image, mask = scenes.ball(63)
    scan = scenes.volume("fine", image)
    half = scenes.IJK_TO_RAS @ np.diag([2.0, 2.0, 2.0, 1.0])
    coarse = scenes.volume("coarse", image[::2, ::2, ::2], half)
    drawn = scenes.segmentation(coarse, {"ball": mask[::2, ::2, ::2]})
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    made.add_scene()
    facts = made._facts.look(made.draft.rows)
    row = next(row for row in made.draft.rows if row.title == "fine")
    found = facts.labels[row.images]
    assert found.voxels["ball"] == pytest.approx(8 * mask[::2, ::2, ::2].sum(), rel=0.15)
    assert found.outside_ml == 0.0


def facts_of_cut(made, mask):
    """Add the first ten slices of a scan with what is drawn on all of it; return its facts."""
    import slicer

    image, _ = scenes.ball(64)
    scan = scenes.volume("cut", image[:10])
    whole = scenes.volume("whole", image)
    drawn = scenes.segmentation(whole, {"ball": mask})
    slicer.mrmlScene.RemoveNode(whole)
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    made.add_scene()
    row = next(row for row in made.draft.rows if row.title == "cut")
    return made._facts.look(made.draft.rows).labels[row.images]


def test_what_hangs_over_the_edge_is_counted(made):
    mask = np.zeros(scenes.SIZE, bool)
    mask[5:15, 5:10, 5:10] = True
    found = facts_of_cut(made, mask)
    assert found.voxels == {"ball": 125}
    assert found.outside_ml == pytest.approx(125 * 4.5 / 1000)
    assert any("lie outside the scan" in finding.text for finding in scenes.findings(made))


def test_a_rim_over_the_edge_is_no_finding(made):
    mask = np.zeros(scenes.SIZE, bool)
    mask[2:10, 5:10, 5:10] = mask[10, 5:8, 5:10] = True
    found = facts_of_cut(made, mask)
    assert (found.voxels, found.outside_ml) == ({"ball": 200}, 0.0)
    assert scenes.findings(made) == []
