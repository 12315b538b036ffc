"""Curves and plain words from what a run said; pure functions of events and time."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import Advanced, Saved, Stage, Started, StepDone, Warned
from Testing.slicer import scene_volumes
from Testing.slicer.color_vision import apart, contrast
from Testing.slicer.training import run_folders as folders


def history(*events):
    from DyCONTrainingLib.history import History

    made = History()
    made.add(events)
    return made


def trained(dice, *, seconds=60.0, foreground=None, drawn=0.1):
    """A history of one step per value of the labeled Dice, `seconds` apart."""
    events = [Stage(name="train", total=len(dice))]
    for number, value in enumerate(dice, start=1):
        watched = {"labeled_dice": value}
        if foreground is not None:
            watched |= {"foreground_labeled": drawn, "foreground_unlabeled": foreground(number)}
        events.append(
            StepDone(
                time_s=1000 + seconds * number,
                step=number,
                total=len(dice),
                loss=1 - value,
                terms={"dice": 1 - value},
                diagnostics=watched,
            )
        )
    return history(*events), 1000 + seconds * len(dice)


def lossy(dice):
    """The same of a run that tells its loss terms only, a minute apart."""
    said = [folders.steps(n, n, at_s=1000 + 59 * n, dice=value) for n, value in enumerate(dice, 1)]
    return history(folders.TRAINING, *itertools.chain(*said)), 1000 + 60 * len(dice)


def judged(made, now, state=RunState.RUNNING, **more):
    from DyCONTrainingLib.advice import judge

    return judge(made, state, now, **more)


def test_every_term_has_a_curve():
    made = history(*folders.steps(1, 5, fecl=0.3), folders.SCORED, folders.SAVED)
    assert list(made.terms) == ["dice", "uncl", "fecl"]
    assert made.curve("beta").values[-1] == pytest.approx(1 - 5 / 40)
    assert made.curve("learning rate").steps == [1, 2, 3, 4, 5]
    assert (made.curve("held-out cases").values, made.curve("held-out cases, student").values) == (
        [0.7],
        [0.6],
    )
    assert made.saved_s == 1500.0


def test_steps_that_a_resumed_run_does_again_count_once():
    made = history(*folders.steps(1, 8), Started(job="train", engine="0"), *folders.steps(6, 9))
    assert made.curve("loss").steps == list(range(1, 10))


def test_what_is_no_number_leaves_a_gap():
    made = history(*folders.steps(1, 2, odd=math.nan), *folders.steps(3, 3, odd=None))
    assert made.curve("odd").values == []
    assert made.curve("dice").steps == [1, 2, 3]


def test_a_long_curve_is_thinned_by_means():
    made = history(*folders.steps(1, 1000, total=1000))
    steps, values = made.curve("loss").thinned(100)
    assert len(steps) == 100
    assert steps[0] == pytest.approx(5.5)
    assert values[0] == pytest.approx(sum(1 / n for n in range(1, 11)) / 10)
    made = history(*folders.steps(1, 150, total=150))
    assert len(made.curve("loss").thinned(100)[0]) == 75, "at most 100"


def test_a_device_is_called_by_its_name():
    begun = Started(job="train", engine="0")
    made = history(begun, replace(begun, device="cuda:0", device_name="NVIDIA H100"))
    assert made.device == "NVIDIA H100"
    assert history(replace(begun, device="cpu")).device == "cpu"


def test_still_improving():
    made, now = trained([0.9 - 0.8 * math.exp(-n / 60) for n in range(150)])
    assert judged(made, now) == ("good", "Still improving")


def test_flat_for_so_many_minutes():
    rising = [0.8 * n / 50 for n in range(50)]
    made, now = trained(rising + [0.8] * 100)
    mood, text = judged(made, now)
    assert mood == "watch"
    assert text.startswith("Flat for ")
    minutes = int(text.split()[2]) if "min" in text.split()[3] else 60 * int(text.split()[2])
    assert 90 <= minutes + (int(text.split()[4]) if text.split()[3] == "h" else 0) <= 104


def test_a_gain_of_next_to_nothing_is_a_plateau():
    made, now = trained([0.8 + 0.00002 * n for n in range(150)])  # 0.003 in all
    assert judged(made, now).text.startswith("Flat for")
    made, now = lossy([0.3 - 0.00004 * n for n in range(150)])  # 2 % in all
    assert judged(made, now).text.startswith("Flat for")
    made, now = lossy([0.01 * 0.995**n for n in range(150)])  # late, but it halves
    assert judged(made, now).text == "Still improving"


def test_a_plateau_takes_minutes_and_a_share_of_the_training():
    made, now = trained([0.1 + 0.01 * min(n, 50) for n in range(150)], seconds=1.0)
    assert judged(made, now).text == "Still improving", "flat for 100 s only"
    made, now = trained([0.1 + 0.005 * min(n, 120) for n in range(150)], seconds=240.0)
    assert judged(made, now).text == "Still improving", "flat for 2 of 10 hours only"


def test_held_out_cases_tell_more_than_the_patches_that_are_learned():
    rising, seconds = [0.1 + 0.005 * n for n in range(150)], 60.0
    made, now = trained(rising, seconds=seconds)
    scored = [replace(folders.SCORED, step=n, time_s=1000 + seconds * n) for n in range(1, 150)]
    made.add(scored)
    assert judged(made, now).text.startswith("Flat for")


def test_noise_is_no_plateau_and_no_improvement():
    noise = [0.05 * math.sin(7 * n) for n in range(300)]
    made, now = trained([0.7 + n for n in noise])
    assert judged(made, now).text.startswith("Flat for")
    made, now = trained([0.2 + 0.002 * i + n for i, n in enumerate(noise)])
    assert judged(made, now).text == "Still improving"


def test_foreground_that_vanishes():
    made, now = trained([0.5] * 100, foreground=lambda n: 0.1 if n < 40 else 0.001)
    assert judged(made, now, entropy=0.5) == (
        "bad",
        "Foreground is collapsing: stop and lower the entropy coefficient",
    )
    assert judged(made, now, entropy=None).text.endswith("lower the entropy coefficient")
    assert judged(made, now, entropy=0.0).text.endswith("lower the weights of the unlabeled terms")
    made, now = trained([0.5] * 100, foreground=lambda n: 0.05)
    assert "collapsing" not in judged(made, now).text
    made, now = trained([0.5] * 500, foreground=lambda n: 0.09 if n < 400 else 0.02)
    assert "collapsing" in judged(made, now).text, "it fell to a quarter of what it was"
    made, now = trained([0.5] * 500, foreground=lambda n: 0.5 if n < 100 else 0.02)
    assert "collapsing" not in judged(made, now).text, "a new network marks anything"
    made, now = trained([0.5] * 100, foreground=lambda n: 0.0, drawn=0.0)
    assert "collapsing" not in judged(made, now).text, "there is nothing to find"
    made = history(folders.TRAINING, *folders.steps(1, 3), folders.COLLAPSE)
    assert "collapsing" in judged(made, 2000.0).text


def test_steps_without_numbers_are_told():
    warned = Warned(topic="non_finite", message="step 3: dice not finite")
    made = history(folders.TRAINING, *folders.steps(1, 2), warned)
    assert judged(made, 2000.0).mood == "watch"
    later = [Warned(topic="fallback", message=f"{n}") for n in range(3)]
    made.add(later)
    assert judged(made, 2000.0).mood == "good", "that was long ago"


def test_a_resumed_run_begins_without_warnings():
    made = history(folders.TRAINING, *folders.steps(1, 3), folders.COLLAPSE)
    made.add([Started(job="train", engine="0"), folders.TRAINING, *folders.steps(4, 5)])
    assert "collapsing" not in judged(made, 2000.0).text
    made.add([folders.COLLAPSE, Started(job="train", engine="0", device="cpu")])
    assert "collapsing" in judged(made, 2000.0).text, "the device is said later, by the same run"


def test_what_comes_before_and_after_the_steps():
    assert judged(history(), 0.0).text == "Starting the engine"
    made = history(Stage(name="audit", total=20), Advanced(stage="audit", done=3, total=20))
    assert judged(made, 0.0).text == "Checking the scans: 3 of 20"
    made = history(*folders.steps(1, 40), folders.SCORED, folders.DONE)
    assert judged(made, 0.0, RunState.FINISHED) == (
        "good",
        "Done: 40 steps, Dice 0.700 on the held-out cases",
    )
    made = history(*folders.steps(1, 5), folders.STOPPED)
    assert "'Resume' goes on" in judged(made, 0.0, RunState.CANCELLED).text
    before = judged(history(folders.STOPPED), 0.0, RunState.CANCELLED).text
    assert before == "Stopped before the first step; 'Resume' starts it anew"
    made = history(*folders.steps(1, 5), folders.FAILED)
    assert judged(made, 0.0, RunState.FAILED) == ("bad", "the disk is full; make room")


def test_saved_and_left():
    from DyCONTrainingLib.advice import remaining_text, saved_text

    made = history(folders.SAVED, *folders.steps(1, 10), folders.TRAINING)
    assert saved_text(made, 1620.0) == "saved 2 min ago"
    assert saved_text(history(), 1620.0) == "not saved yet"
    preview = Saved(time_s=1615.0, what="preview", path="preview/5.nii.gz", step=5)
    again = history(folders.SAVED, replace(folders.SAVED, time_s=1600.0), preview)
    assert saved_text(again, 1620.0) == "saved 20 s ago"
    assert remaining_text(made) == "about 30 s left"
    (slow,) = folders.steps(11, 11)
    made.add([replace(slow, step_s=20.0)])
    assert remaining_text(made) == "about 57 s left", "one slow step tells little"
    scoring = Stage(time_s=1011.0, name="validate", total=2)
    scored = Advanced(time_s=1015.0, stage="validate", done=1, total=2, remaining_s=4.0)
    assert remaining_text(history(*folders.steps(1, 10), scoring, scored)) == "about 34 s left"
    assert remaining_text(history(*folders.steps(1, 40), scoring, scored)) == "about 4 s left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "5 s"),
        (90, "2 min"),
        (3600, "1 h"),
        (12000, "3 h 20 min"),
        (100000, "27 h 47 min"),
        (400000, "5 days"),
    ],
)
def test_time_in_words(seconds, words):
    from DyCONTrainingLib.advice import duration

    assert duration(seconds) == words


def test_charts_are_nodes_that_are_updated_and_go_away(slicer_scene):
    from DyCONTrainingLib.charts import DICE_CHART, LOSS_CHART, SCHEDULE_CHART, Charts

    before = slicer_scene.GetNumberOfNodes()
    charts, made = Charts("01-dycon"), history(*folders.steps(1, 5))
    charts.update(made)
    assert charts.node(DICE_CHART) is None
    loss = charts.node(LOSS_CHART)
    assert loss.GetNumberOfPlotSeriesNodes() == 2
    rows = loss.GetNthPlotSeriesNode(0).GetTableNode().GetTable().GetNumberOfRows()
    nodes = slicer_scene.GetNumberOfNodes()
    made.add([*folders.steps(6, 9), folders.SCORED])
    charts.update(made)
    assert rows == 5
    table = loss.GetNthPlotSeriesNode(0).GetTableNode().GetTable()
    assert table.GetNumberOfRows() == 9
    assert table.GetValue(8, 1).ToDouble() == pytest.approx(0.5 / 9, rel=1e-6)
    assert charts.node(DICE_CHART).GetNumberOfPlotSeriesNodes() == 2
    assert slicer_scene.GetNumberOfNodes() == nodes + 1 + 2 * 2
    names = [charts.node(SCHEDULE_CHART).GetNthPlotSeriesNode(i).GetName() for i in range(2)]
    assert names == ["beta (1 = 0.975)", "learning rate (1 = 0.009)"]
    rate = charts.node(SCHEDULE_CHART).GetNthPlotSeriesNode(1).GetTableNode().GetTable()
    shares = [rate.GetValue(row, 1).ToDouble() for row in (0, 8)]
    assert shares == pytest.approx([1 / 9, 1.0])
    names = [loss.GetNthPlotSeriesNode(i).GetName() for i in range(2)]
    assert names == ["Dice loss", "consistency where sure (UnCL)"]
    charts.remove()
    assert slicer_scene.GetNumberOfNodes() == before


def test_few_points_are_seen_as_points(slicer_scene):
    """The Dice on held-out cases may be known once only: a line of one point is nothing."""
    from DyCONTrainingLib.charts import CIRCLE, DICE_CHART, LOSS_CHART, NO_MARKER, Charts

    charts, made = Charts("01-dycon"), history(*folders.steps(1, 5), folders.SCORED)
    charts.update(made)
    loss = charts.node(LOSS_CHART).GetNthPlotSeriesNode(0)
    score = charts.node(DICE_CHART).GetNthPlotSeriesNode(0)
    assert (loss.GetMarkerStyle(), score.GetMarkerStyle()) == (CIRCLE, CIRCLE)
    made.add(folders.steps(6, 100, total=100))
    charts.update(made)
    assert (loss.GetMarkerStyle(), score.GetMarkerStyle()) == (NO_MARKER, CIRCLE)


def test_what_is_zero_is_not_drawn_on_an_axis_without_zero(slicer_scene):
    from DyCONTrainingLib.charts import LOSS_CHART, SCHEDULE_CHART, charted

    still = [replace(step, learning_rate=0.0) for step in folders.steps(1, 5, fecl=0.0)]
    made = history(*still)
    assert list(charted(made)[LOSS_CHART]) == ["dice", "uncl"]
    assert list(charted(made)[SCHEDULE_CHART]) == ["beta"]
    made.add(folders.steps(6, 9, fecl=0.1))
    assert list(charted(made)[LOSS_CHART]["fecl"].steps) == [6, 7, 8, 9]


def test_every_loss_term_has_a_name_for_people(slicer_scene):
    from DyCONTrainingLib.charts import TERMS

    golden = Path(__file__).resolve().parents[2] / "engine" / "methods" / "golden"
    steps = [step for path in golden.glob("*.json") for step in json.loads(path.read_text())]
    assert len(steps) > 0
    assert {name for step in steps for name in step} - set(TERMS) == set()


CREAM, DARK = (1.0, 0.99, 0.96), (0.14, 0.14, 0.14)  # Slicer's plot view; a dark window
APART, READABLE = 30.0, 3.0  # CIE76 difference; contrast of graphics (WCAG 2.1)


def test_every_curve_of_a_chart_can_be_told_from_the_others(slicer_scene):
    """By color-blind eyes too, on light and dark, and whenever a term begins to count."""
    from DyCONTrainingLib.charts import LOSS_CHART, Charts

    late = {"fecl": 0.3, "consistency": 0.0, "pseudo_label": 0.0, "entropy": 0.2, "more": 0.0}
    charts, made = Charts("01-dycon"), history(*folders.steps(1, 5, **late))
    charts.update(made)
    made.add(folders.steps(6, 9, **dict.fromkeys(late, 0.1)))
    charts.update(made)
    loss = charts.node(LOSS_CHART)
    drawn = [loss.GetNthPlotSeriesNode(i) for i in range(loss.GetNumberOfPlotSeriesNodes())]
    assert len(drawn) == 7
    for one, two in itertools.combinations(drawn, 2):
        same_line = one.GetLineStyle() == two.GetLineStyle()
        assert not same_line or apart(one.GetColor(), two.GetColor()) > APART
    for each in drawn:
        assert min(contrast(each.GetColor(), back) for back in (CREAM, DARK)) >= READABLE


def test_a_part_of_a_chart_that_a_person_looks_at_stays(slicer_scene):
    from DyCONTrainingLib.charts import LOSS_CHART, Charts

    charts, made = Charts("01-dycon"), history(*folders.steps(1, 5))
    charts.update(made)
    loss = charts.node(LOSS_CHART)
    assert loss.GetXAxisRange() == (0, 40)
    loss.SetXAxisRange(2, 4)
    made.add(folders.steps(6, 9))
    charts.update(made)
    assert loss.GetXAxisRange() == (2, 4)


def write_preview(run, step, value):
    """Write what the engine writes: the scan once, label map and uncertainty of one step."""
    from dycon_engine.data.formats.writers import write_label, write_scalar
    from dycon_engine.data.geometry import Geometry

    geometry = Geometry.from_parts((6, 7, 8), (2.0, 1.5, 1.5))
    folder = run / "preview"
    folder.mkdir(parents=True, exist_ok=True)
    whole = np.full((6, 7, 8), value)
    files = [f"{step:06d}_labels.nii.gz", f"{step:06d}_uncertainty.nii.gz"]
    write_label(folder / files[0], whole.astype(np.uint8), geometry, overwrite=True)
    write_scalar(folder / files[1], whole / 10, geometry, overwrite=True)
    if not (folder / "image.nii.gz").exists():
        write_scalar(folder / "image.nii.gz", whole * 1.0, geometry, overwrite=False)
        files.insert(0, "image.nii.gz")
    return [Saved(what="preview", path=f"preview/{name}", step=step) for name in files]


@pytest.fixture
def previews(slicer_scene, tmp_path):
    from DyCONTrainingLib.labels import Color, LabelClass
    from DyCONTrainingLib.previews import Previews

    classes = (LabelClass(1, "atrium", Color(255, 0, 0)), LabelClass(2, "wall", Color(0, 0, 255)))
    return Previews(tmp_path, classes)


def test_previews_are_scrubbed_in_the_slice_views(previews, slicer_scene, tmp_path):
    import slicer

    before = slicer_scene.GetNumberOfNodes()
    made = history(*write_preview(tmp_path, 5, 1), *write_preview(tmp_path, 10, 2))
    previews.update(made.previews())
    assert previews.steps == [5, 10]
    assert not previews.is_shown  # nobody asked to see it
    previews.show(0)
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    assert view.GetUseLabelOutline()  # the uncertainty is seen inside
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(
        slicer_scene.GetNodeByID(red.GetForegroundVolumeID())
    )
    assert legend.GetVisibility()
    assert not legend.GetSaveWithScene()
    labels = slicer_scene.GetNodeByID(red.GetLabelVolumeID())
    unsure = slicer_scene.GetNodeByID(red.GetForegroundVolumeID())
    assert slicer.util.arrayFromVolume(labels).max() == 1
    assert slicer.util.arrayFromVolume(unsure).max() == pytest.approx(0.1)
    previews.show(1)
    assert slicer.util.arrayFromVolume(labels).max() == 2
    assert labels.GetDisplayNode().GetColorNode().GetColorName(2) == "wall"
    previews.remove()
    assert not view.GetUseLabelOutline()
    assert slicer_scene.GetNumberOfNodes() == before


def test_previews_leave_the_views_of_the_next_scene_alone(previews, slicer_scene, tmp_path):
    """A scene that is closed counts its nodes anew: the next scan has the id of the last."""
    import slicer

    made = history(*write_preview(tmp_path, 5, 1))
    previews.update(made.previews())
    previews.show(0)
    assert previews.is_shown
    slicer_scene.Clear(0)
    scan = scene_volumes.volume(name="next patient")
    slicer.util.setSliceViewerLayers(background=scan)
    assert not previews.is_shown
    previews.show(0)
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetBackgroundVolumeID() == scan.GetID()
    assert not red.GetLabelVolumeID()


def test_previews_are_no_scans_of_the_person(previews, slicer_scene, tmp_path):
    import slicer
    from DyCONTrainingLib.scene_rows import rows_of_scene

    made = history(*write_preview(tmp_path, 5, 1))
    previews.update(made.previews())
    assert rows_of_scene() == []
    previews.show(0)
    assert rows_of_scene() == []
    saved = (n for n in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if n.GetSaveWithScene())
    assert list(saved) == []


def test_a_person_at_the_newest_preview_sees_the_next_one(previews, tmp_path):
    made = history(*write_preview(tmp_path, 5, 1))
    previews.update(made.previews())
    previews.show(0)
    made.add(write_preview(tmp_path, 10, 2))
    previews.update(made.previews())
    assert previews.shown == 1
    previews.show(0)
    made.add(write_preview(tmp_path, 15, 2))
    previews.update(made.previews())
    assert previews.shown == 0


def test_a_preview_that_is_gone_is_told_and_left_out(previews, tmp_path):
    made = history(*write_preview(tmp_path, 5, 1), *write_preview(tmp_path, 10, 2))
    (tmp_path / "preview/000010_labels.nii.gz").unlink()
    previews.update(made.previews())
    assert previews.steps == [5]
    assert "preview '000010_labels.nii.gz': cannot be read" in previews.problem
