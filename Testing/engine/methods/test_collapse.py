"""The collapse of the foreground is named, once, and only when it lasts."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dycon_engine.losses.uncertainty import posterior
from dycon_engine.methods.collapse import ENTROPY, MESSAGE, WEIGHTS, CollapseWatch, cure
from dycon_engine.methods.dual_network import DualNetworkConfig
from dycon_engine.methods.dycon import DyconConfig
from dycon_engine.methods.teaching import watch as watched
from dycon_engine.methods.views import View, mixed
from dycon_engine.schedules import Progress
from Testing.engine.methods.tiny import tiny_batch, tiny_method


def feed(watch: CollapseWatch, unlabeled: float, steps: int) -> list[str]:
    seen = {"foreground_labeled": 0.2, "foreground_unlabeled": unlabeled}
    return [text for _ in range(steps) if (text := watch.update(seen)) is not None]


def test_a_lasting_collapse_is_told_once_with_its_cure() -> None:
    watch = CollapseWatch()
    assert feed(watch, 0.1, 100) == []
    (told,) = feed(watch, 0.0, 300)
    assert told.startswith(MESSAGE)
    assert WEIGHTS in told
    assert "20.00 %" in told


def test_it_is_told_after_so_many_steps_in_a_row() -> None:
    watch = CollapseWatch(patience=5, memory=0.0)
    assert feed(watch, 0.0, 4) + feed(watch, 0.2, 1) + feed(watch, 0.0, 4) == []
    assert len(feed(watch, 0.0, 1)) == 1


def test_a_few_empty_patches_do_not_alarm() -> None:
    watch = CollapseWatch()
    assert feed(watch, 0.1, 50) + feed(watch, 0.0, 40) + feed(watch, 0.1, 200) == []


def test_a_second_collapse_is_told_again() -> None:
    watch = CollapseWatch()
    told = feed(watch, 0.0, 200) + feed(watch, 0.2, 200) + feed(watch, 0.0, 300)
    assert len(told) == 2


def test_a_fall_to_a_part_of_what_it_was_is_a_collapse() -> None:
    watch = CollapseWatch()
    assert feed(watch, 0.5, 100) + feed(watch, 0.2, 400) == []  # a new network marks anything
    assert feed(watch, 0.09, 300) == []
    (told,) = feed(watch, 0.05, 300)
    assert "student marks 5." in told


def test_patches_that_hold_little_foreground_from_the_start_are_no_collapse() -> None:
    assert feed(CollapseWatch(), 0.02, 1000) == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (DyconConfig(entropy_coefficient=None), ENTROPY),
        (DyconConfig(entropy_coefficient=0.1), ENTROPY),
        (DyconConfig(), WEIGHTS),
        (DualNetworkConfig(), WEIGHTS),
    ],
)
def test_the_cure_is_a_setting_that_the_method_has(config, said) -> None:
    assert cure(config) == said


def test_methods_without_unlabeled_patches_are_not_watched() -> None:
    watch = CollapseWatch(patience=1)
    assert watch.update({"foreground_labeled": 0.2}) is None


def test_what_was_mixed_in_does_not_hide_a_collapse() -> None:
    """A student knows the labeled patches by heart, which are half of a mixture."""
    batch = tiny_batch()
    batch = dataclasses.replace(batch, label=torch.ones_like(batch.label))
    view = mixed(View(batch.unlabeled), batch.image, batch.label, 1.0)
    p = torch.zeros(len(view.image), 2, *view.image.shape[2:])
    p[:, 1] = (~view.unknown).float() * 20.0 - 10.0  # foreground where it is known only
    seen = watched(batch, posterior(p), posterior(p), view)
    assert float(seen["foreground_unlabeled"]) == float(seen["foreground_teacher"]) == 0.0
    assert float(watched(batch, posterior(p), posterior(p))["foreground_unlabeled"]) > 0.2


@pytest.mark.parametrize("name", ["dycon", "mean_teacher"])
def test_the_methods_that_mix_watch_what_is_unlabeled(name: str, monkeypatch) -> None:
    views = []

    def spy(batch, student, teacher, view=None):
        views.append(view)
        return watched(batch, student, teacher, view)

    monkeypatch.setattr(f"dycon_engine.methods.{name}.watch", spy)
    tiny_method(name, mixing=1.0)(tiny_batch(), Progress(5, 10))
    assert views[0].unknown is not None
