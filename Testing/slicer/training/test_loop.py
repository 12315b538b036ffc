"""The full loop on small crops of real hearts, with the real engine in real processes."""

from __future__ import annotations

import numpy as np

from dycon_engine.data.formats.readers import read_label
from Testing.slicer.training import loop, scenes

STEPS = 40


def test_from_scene_to_a_better_model(slicer_scene, la2018, tmp_path):
    name = train_then_close_slicer(build(la2018, tmp_path))
    made, person = attach_and_stop(tmp_path, name)
    resume_to_the_end(made, person, name)
    package_is_offered(made, person, tmp_path, name)
    left = label_next(made, person, tmp_path, name)
    train_again(made, person, tmp_path)
    assert [each.alias for each in made.labels.candidates(made.running.card(name).path)] == [left]
    made.close()
    assert list((tmp_path / "temporary").iterdir()) == []


def build(la2018, tmp_path):
    from DyCONTrainingLib.cases import Role

    loop.load_crops(la2018, 3, 2)
    made, person = loop.panel(tmp_path)
    made.open(tmp_path / "set")
    made.dataset.add_scene()
    made.dataset.set_role([2], Role.HELD_OUT)
    assert "Save the data set first" in made.why_not()
    made.dataset.save()
    loop.wait(made, loop.settled(made))
    assert (made.why_not(), made.dataset.findings, person.failures) == ("", [], [])
    return made


def train_then_close_slicer(made):
    loop.choose_tiny(made, STEPS)
    name = made.start().name
    loop.wait(made, lambda: made.running.watch.history.step >= 3)
    made.close()
    return name


def attach_and_stop(tmp_path, name):
    from DyCONTrainingLib.run_card import Standing

    made, person = loop.panel(tmp_path)
    made.reopen()
    assert (made.running.watched.name, made.running.watched.is_alive) == (name, True)
    made.poll()
    assert made.running.watch.history.step >= 3
    made.running.cancel(name)
    assert person.questions.pop().startswith(f"Stop '{name}' at step ")
    loop.wait(made, lambda: not made.running.card(name).is_alive)
    stopped = made.running.card(name)
    assert stopped.standing is Standing.CANCELLED
    assert 3 <= stopped.step < STEPS
    return made, person


def resume_to_the_end(made, person, name):
    from DyCONTrainingLib.run_card import Standing

    made.running.resume(name)
    assert person.questions.pop().startswith(f"Go on with '{name}' at step ")
    loop.wait(made, lambda: person.models or person.failures)
    done = made.running.card(name)
    assert (done.standing, done.step, person.failures) == (Standing.FINISHED, STEPS, [])
    history = made.running.watch.history
    assert history.curve("loss").steps == list(range(1, STEPS + 1))
    assert {"cross_entropy", "dice", "uncl"} <= set(history.terms)
    report = made.running.report(name)
    assert (report.labeled, report.unlabeled, len(report.scores)) == (2, 2, 1)


def package_is_offered(made, person, tmp_path, name):
    from DyCONLib.models import find_models

    (model,) = find_models([tmp_path / "models"])
    assert model.path == person.models[0].path
    assert model.name == f"left-atrium-{name}"
    (segment,) = model.segments
    assert (segment.value, segment.name, segment.color) == (1, "left atrium", (255, 128, 0))
    assert [each.name for each in made.models()] == [model.name]


def label_next(made, person, tmp_path, name):
    """Rank, open the first, correct a block of voxels, add it; return the case that is left."""
    import slicer

    run = made.running.card(name).path
    made.labels.rank(run, "cpu")
    loop.wait(made, lambda: not made.labels.progress[0])
    first, second = made.labels.candidates(run)
    assert {first.title, second.title} == {"heart 3", "heart 4"}
    opened = []
    made.labels.opened.connect(opened.append)
    made.labels.open(first.alias, run, "cpu")
    loop.wait(made, lambda: opened or person.failures)
    assert person.failures == []
    block = np.zeros(loop.CUBE, np.uint8)
    block[8:16, 10:20, 12:22] = 1
    (case,) = opened
    segment = case.segmentation.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(block, case.segmentation, segment, case.volume)
    made.labels.add(first.alias)
    loop.wait(made, loop.settled(made))
    assert (person.failures, scenes.findings(made.dataset)) == ([], [])
    stored = read_label(tmp_path / f"set/labels/{first.alias}.nii.gz").array
    np.testing.assert_array_equal(stored, block)
    made.labels.rank(run, "cpu")
    loop.wait(made, lambda: not made.labels.progress[0])
    assert [each.alias for each in made.labels.candidates(run)] == [second.alias]
    return second.alias


def train_again(made, person, tmp_path):
    loop.choose_tiny(made, 4, start="last run")
    again = made.start().name
    loop.wait(made, lambda: len(person.models) == 2)
    assert made.running.report(again).labeled == 3
    assert (tmp_path / "set/runs" / again / "start.dycon").is_file()
    assert person.failures == []
