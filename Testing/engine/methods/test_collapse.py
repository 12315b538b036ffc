"""The collapse of the foreground is named, once, and only when it lasts."""

from __future__ import annotations

import pytest

from dycon_engine.methods.collapse import ENTROPY, MESSAGE, WEIGHTS, CollapseWatch, cure
from dycon_engine.methods.dual_network import DualNetworkConfig
from dycon_engine.methods.dycon import DyconConfig


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
