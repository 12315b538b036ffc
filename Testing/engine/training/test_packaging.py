"""Which validation becomes best.dycon."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dycon_engine.package import Calibration
from dycon_engine.training.distributed import Process
from dycon_engine.training.loop import Standing
from dycon_engine.training.packaging import BEST, Packager
from dycon_engine.training.validation import Validation
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


def test_an_equal_later_one_is_not_better_but_the_same_step_is_written_again(packager):
    validator = Scored((0.5, 0.5), (0.5, 0.5), (0.5, 0.5))
    packager.validated(validator, trainer(10))
    packager.validated(validator, trainer(20))
    assert packager.shipped == [(BEST, 10)]
    packager.validated(validator, trainer(10))  # validated again, e.g. after a resume
    assert packager.shipped == [(BEST, 10)] * 2
