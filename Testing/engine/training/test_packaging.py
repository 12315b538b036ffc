"""Which validation becomes best.dycon, and what is said of the calibration."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dycon_engine.config import AugmentationConfig, RunConfig
from dycon_engine.data.splits import Split
from dycon_engine.evaluation import cases as scoring
from dycon_engine.package import Calibration
from dycon_engine.training.distributed import Process
from dycon_engine.training.loop import Standing
from dycon_engine.training.packaging import BEST, Packager
from dycon_engine.training.validation import CaseResult, Validation
from Testing import tiny_package
from Testing.engine.training import small_run


class Scored:
    """A validator that hands out figures made beforehand, and notes what it was asked to score."""

    def __init__(self, *figures: tuple[float, float]) -> None:
        self.figures, self.asked = list(figures), []

    def run(self, predictor, student, *, surfaces):
        """Return the next figures: Dice of the predictor and of the student."""
        self.asked.append((predictor, student, surfaces))
        dice, student_dice = self.figures.pop(0)
        return Validation(dice, {"ball": dice}, student_dice, (), Calibration())


@pytest.fixture
def packager(monkeypatch):
    """A packager that ships nothing but notes (which, step)."""
    made = Packager(*[None] * 6, reporter=small_run.silent_reporter(), standing=Standing())
    made.shipped = []
    monkeypatch.setattr(
        made, "_ship", lambda which, trainer, _: made.shipped.append((which, trainer.step_count))
    )
    return made


def trainer(step):
    method = SimpleNamespace(predictor=lambda: "teacher", student=lambda: "student")
    return SimpleNamespace(step_count=step, method=method, process=Process(torch.device("cpu")))


def test_the_best_is_chosen_by_the_network_that_is_shipped(packager):
    """Not by the student: its best is at the third validation, the teacher's at the second."""
    validator = Scored((0.5, 0.6), (0.7, 0.5), (0.4, 0.9))
    for step in (10, 20, 30):
        packager.validated(validator, trainer(step))
    assert packager.shipped == [(BEST, 10), (BEST, 20)]
    assert (packager.standing.best_dice, packager.standing.best_step) == (0.7, 20)
    assert validator.asked == [("teacher", "student", False)] * 3


def test_a_structure_that_no_held_out_case_has_is_null_in_every_file(packager, tmp_path):
    cases = (CaseResult(0, (math.nan,), None, (scoring.absent(1),), None),)
    found = Validation(1.0, {"ball": math.nan}, None, cases, Calibration())
    made = replace(packager, run=SimpleNamespace(report=tmp_path), audit=SimpleNamespace(
        labels=(None, SimpleNamespace(name="ball"))))  # fmt: skip
    made._write_report(found, SimpleNamespace(sees_hidden_labels=False))
    report = json.loads((tmp_path / "validation.json").read_text(), parse_constant=pytest.fail)
    assert report["dice_per_class"] == {"ball": None}
    assert report["cases"][0]["classes"]["ball"]["dice"] is None


@pytest.mark.parametrize(
    ("more", "axes"),
    [
        ({}, ""),
        ({"flip_axes": "yx"}, "yx"),
        ({"flip_axes": "z", "preset": "paper"}, "yx"),
        ({"flip_axes": "z", "preset": "none"}, ""),
    ],
)
def test_a_package_knows_the_axes_that_its_training_mirrored(packager, more, axes):
    config = RunConfig(augmentation=AugmentationConfig(**more))
    made = replace(packager, config=config, split=Split((), (), (), ()), started_from="")
    method = SimpleNamespace(config=config.method, sees_hidden_labels=False)
    trainer = SimpleNamespace(step_count=1, method=method, precision=SimpleNamespace(name="fp32"))
    assert tiny_package.info(training=made._training(trainer, BEST, None)).mirrored_axes == axes


def calibrated(temperature, cases=1):
    results = tuple(CaseResult(number, (0.5,), None, (), None) for number in range(cases))
    return Validation(0.5, {"ball": 0.5}, None, results, Calibration(temperature, 0.2, 0.1))


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        (0, "not calibrated: no validation cases"),
        (1, "near boundaries, judged on the one case it was fitted on"),
        (2, "near boundaries, each case with the temperature of the others"),
    ],
)
def test_a_package_says_how_its_calibration_was_judged(packager, cases, words):
    packager.config, packager.split = RunConfig(), Split((), (), (), (), {})
    method = SimpleNamespace(config=packager.config.inference, sees_hidden_labels=False)
    shipped = SimpleNamespace(
        step_count=1, method=method, precision=SimpleNamespace(name="float32")
    )
    found = calibrated(1.0, cases) if cases else None
    assert packager._training(shipped, "last", found)["validation"]["calibration"] == words


@pytest.mark.parametrize(("temperature", "warned"), [(0.05, True), (1.3, False), (20.0, True)])
def test_a_temperature_at_an_end_of_what_is_tried_is_warned_of(
    packager, monkeypatch, temperature, warned
):
    said = []
    monkeypatch.setattr(packager.reporter, "warn", lambda *words: said.append(words))
    monkeypatch.setattr(packager, "validated", lambda *_, **__: calibrated(temperature))
    packager.run = SimpleNamespace(package=SimpleNamespace(name="package"))
    packager.finish(None, SimpleNamespace(step_count=1, process=SimpleNamespace(is_main=False)))
    assert [topic for topic, _ in said] == ["calibration"] * warned
    assert all(f"the temperature is {temperature:g}, the end" in message for _, message in said)


def test_an_equal_later_one_is_not_better_but_the_same_step_is_written_again(packager):
    validator = Scored((0.5, 0.5), (0.5, 0.5), (0.5, 0.5))
    packager.validated(validator, trainer(10))
    packager.validated(validator, trainer(20))
    assert packager.shipped == [(BEST, 10)]
    packager.validated(validator, trainer(10))  # validated again, e.g. after a resume
    assert packager.shipped == [(BEST, 10)] * 2
