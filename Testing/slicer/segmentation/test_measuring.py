"""Volumes of a result as they are now: what a person corrected is measured, not remembered."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from Testing.slicer.segmentation.contents import add_segmentation, add_volume, report_text

SIZE = (8, 9, 10)
SPACING = (1.0, 2.0, 3.0)
VOXEL_ML = 0.006
VOXELS = {"atrium": 4 * 4 * 4, "ventricle": 8}


def entry(name):
    """What the engine reports of one structure."""
    ml = VOXELS[name] * VOXEL_ML
    return {
        "name": name,
        "voxels": VOXELS[name],
        "volume_ml": ml,
        "low_ml": 0.9 * ml,
        "high_ml": 1.1 * ml,
        "boundary_uncertainty": 0.31,
        "review": name == "ventricle",
        "reason": "the volume may be 25% smaller" if name == "ventricle" else "",
    }


@pytest.fixture
def desk(slicer_scene):
    """A result of two structures, as a run leaves it in the scene."""
    from DyCONSegmentationLib.results import find_result

    scan = add_volume(np.zeros(SIZE, np.int16), spacing=SPACING)
    labels = np.zeros(SIZE, np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    labels[0, 0, :8] = 2
    node = add_segmentation(labels, scan, tuple(VOXELS))
    node.SetAttribute("DyCON.Report", report_text(volumes=[entry(name) for name in VOXELS]))
    node.SetAttribute("DyCON.Labels", '{"atrium": 3, "ventricle": 7}')
    return SimpleNamespace(
        scene=slicer_scene, scan=scan, node=node, core=node.GetSegmentation(), labels=labels,
        result=lambda: find_result(node),
    )  # fmt: skip


def paint(desk, segment_id, mask):
    import slicer

    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), desk.node, segment_id, desk.scan
    )


def rows(desk):
    from DyCONSegmentationLib.measuring import measure
    from DyCONSegmentationLib.structure_words import measured_row

    return [measured_row(each) for each in measure(desk.result())]


def words(desk):
    from DyCONSegmentationLib.measuring import measure
    from DyCONSegmentationLib.structure_words import corrected_text

    return corrected_text(measure(desk.result()))


def test_what_nobody_touched_is_as_the_model_drew_it(desk):
    assert rows(desk) == [
        ("atrium", "0.384", "0.346 - 0.422", "0.31", ""),
        ("ventricle", "0.048", "0.043 - 0.053", "0.31", "review"),
    ]
    assert words(desk) == ""


def test_a_corrected_structure_has_its_own_volume_and_no_range_of_the_models(desk):
    mask = desk.labels == 1
    mask[2] = False
    paint(desk, "atrium", mask)
    assert rows(desk)[0] == ("atrium", "0.288", "-", "-", "")
    assert rows(desk)[1][1] == "0.048"
    assert words(desk) == "Corrected; the model drew atrium 0.384 ml."


def test_one_voxel_is_a_correction(desk):
    mask = desk.labels == 1
    mask[7, 7, 7] = True
    paint(desk, "atrium", mask)
    assert rows(desk)[0][1:3] == ("0.390", "-")


@pytest.mark.parametrize(
    ("side", "voxels_off", "is_corrected"),
    [(8, 0.005, False), (8, 1.0, True), (100, 0.9, False), (100, 2.0, True)],
)
def test_one_voxel_is_a_correction_and_rounding_is_none(
    slicer_scene, side, voxels_off, is_corrected
):
    """The engine's figure follows from a grid rounded to float32: a millionth more or less."""
    from DyCONSegmentationLib.measuring import measure
    from DyCONSegmentationLib.results import find_result

    scan = add_volume(np.zeros((side,) * 3, np.uint8), spacing=SPACING)
    node = add_segmentation(np.ones((side,) * 3, np.uint8), scan, ("atrium",))
    told = entry("atrium") | {"volume_ml": (side**3 + voxels_off) * VOXEL_ML}
    node.SetAttribute("DyCON.Report", report_text(volumes=[told]))
    node.SetAttribute("DyCON.Labels", '{"atrium": 3}')
    (atrium,) = measure(find_result(node))
    assert atrium.is_corrected == is_corrected


def test_an_emptied_structure_is_0_ml(desk):
    from DyCONSegmentationLib.measuring import measure
    from DyCONSegmentationLib.structure_words import reason_text

    paint(desk, "ventricle", np.zeros(SIZE, bool))
    assert rows(desk)[1] == ("ventricle", "0", "-", "-", "review")
    reason = reason_text(measure(desk.result()), -1)
    assert reason == "ventricle, as the model drew it: the volume may be 25% smaller"


def test_removed_added_and_renamed_segments(desk):
    desk.core.RemoveSegment("ventricle")
    desk.core.GetSegment("atrium").SetName("LA")
    desk.core.AddEmptySegment("Segment_1", "scar")
    paint(desk, "Segment_1", desk.labels == 2)
    assert rows(desk) == [
        ("LA", "0.384", "0.346 - 0.422", "0.31", ""),
        ("scar", "0.048", "-", "-", ""),
        ("ventricle", "-", "-", "-", "removed"),
    ]
    assert words(desk) == "Corrected; the model drew ventricle 0.048 ml. Added: scar."


def test_a_structure_that_was_drawn_anew_is_compared_with_the_models(desk):
    desk.core.RemoveSegment("ventricle")
    desk.core.AddEmptySegment("Segment_1", "ventricle")
    paint(desk, "Segment_1", desk.labels == 2)
    assert rows(desk)[1] == ("ventricle", "0.048", "0.043 - 0.053", "0.31", "review")


def test_surfaces_without_voxels_have_no_volume(desk):
    desk.core.CreateRepresentation("Closed surface")
    desk.core.SetSourceRepresentationName("Closed surface")
    desk.core.RemoveRepresentation("Binary labelmap")
    assert rows(desk)[0] == ("atrium", "-", "-", "-", "")


def test_voxels_are_counted_once_until_one_changes(desk, monkeypatch):
    from DyCONSegmentationLib import measuring

    counted, count = [], measuring._counted
    monkeypatch.setattr(measuring, "_counted", lambda each: counted.append(1) or count(each))
    gauge = measuring.Gauge()
    assert gauge.measure(desk.result()) == gauge.measure(desk.result())
    assert len(counted) == 2
    paint(desk, "atrium", np.zeros(SIZE, bool))
    assert gauge.measure(desk.result())[0].ml == 0
    desk.core.GetSegment("atrium").SetName("LA")
    assert gauge.measure(desk.result())[0].name == "LA"


def test_both_reports_tell_the_models_figures_from_those_of_now(desk, tmp_path):
    from DyCONSegmentationLib.exporting import write_page, write_report

    page = desk.scene.AddNewNodeByClass("vtkMRMLTextNode")
    page.SetText("<html><body><main><p>atrium: 0.38 ml</p></main></body></html>")
    desk.node.SetNodeReferenceID("DyCON.Page", page.GetID())
    write_page(desk.result(), tmp_path / "before.html")
    assert (tmp_path / "before.html").read_text() == page.GetText()
    write_report(desk.result(), tmp_path / "before.json")
    before = json.loads((tmp_path / "before.json").read_text())
    assert before["volumes"] == [entry(name) | {"corrected": False} for name in VOXELS]
    assert before["corrected"] is False

    paint(desk, "atrium", np.zeros(SIZE, bool))
    desk.core.RemoveSegment("ventricle")
    desk.core.AddEmptySegment("Segment_1", "<scar>")
    write_report(desk.result(), tmp_path / "after.json")
    after = json.loads((tmp_path / "after.json").read_text())
    assert after["corrected"] is True
    assert after["volumes"] == [
        {"name": "atrium", "voxels": 0, "volume_ml": 0.0, "corrected": True,
         "model": entry("atrium")},
        {"name": "<scar>", "voxels": 0, "volume_ml": 0.0, "corrected": True, "model": None},
        {"name": "ventricle", "voxels": None, "volume_ml": None, "corrected": True,
         "model": entry("ventricle")},
    ]  # fmt: skip
    write_page(desk.result(), tmp_path / "after.html")
    text = (tmp_path / "after.html").read_text()
    notice = text.index("was corrected after this page was made")
    assert text.index("<main>") < notice < text.index("atrium: 0.38 ml")
    assert ">atrium</th><td>0.00</td><td>0.38</td>" in text
    assert ">ventricle</th><td>removed</td><td>0.05</td>" in text
    assert ">&lt;scar&gt;</th><td>0.00</td><td>–</td>" in text
