"""The collapse of the foreground is named, once, and only when it lasts."""

from __future__ import annotations

from dycon_engine.methods.collapse import MESSAGE, CollapseWatch


def feed(watch: CollapseWatch, unlabeled: float, steps: int) -> list[str]:
    seen = {"foreground_labeled": 0.2, "foreground_unlabeled": unlabeled}
    return [text for _ in range(steps) if (text := watch.update(seen)) is not None]


def test_a_lasting_collapse_is_told_once_with_its_cure() -> None:
    watch = CollapseWatch()
    assert feed(watch, 0.1, 100) == []
    (told,) = feed(watch, 0.0, 300)
    assert told.startswith(MESSAGE)
    assert "method.entropy_coefficient" in told
    assert "20.00 %" in told


def test_a_few_empty_patches_do_not_alarm() -> None:
    watch = CollapseWatch()
    assert feed(watch, 0.1, 50) + feed(watch, 0.0, 40) + feed(watch, 0.1, 200) == []


def test_a_second_collapse_is_told_again() -> None:
    watch = CollapseWatch()
    told = feed(watch, 0.0, 200) + feed(watch, 0.2, 200) + feed(watch, 0.0, 300)
    assert len(told) == 2


def test_methods_without_unlabeled_patches_are_not_watched() -> None:
    watch = CollapseWatch(patience=1)
    assert watch.update({"foreground_labeled": 0.2}) is None
