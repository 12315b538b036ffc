"""Train, stop, resume, again and again: no process, no lock, no folder, no open file is left."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from Testing.slicer.training import loop, scenes


def open_files() -> int:
    return psutil.Process().num_fds()


def children() -> set[int]:
    """Every process below this one that still lives."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def leftovers(root: Path) -> list[str]:
    """Files that should be gone when nothing runs."""
    found = [p for p in root.rglob("*") if p.name in ("lock", "cancel", "cache")]
    hidden = list(root.rglob(".*"))
    return [str(p.relative_to(root)) for p in (*found, *hidden, *(root / "temporary").iterdir())]


def cycle(made, name: str, steps: int, others: set[int]) -> int:
    """Let a run do at least `steps` more steps, stop it; return how many it did in all.

    Afterwards no process is left but `others`.
    """
    before = made.running.card(name).step
    loop.wait(made, lambda: made.running.watch.history.step >= before + steps)
    made.running.cancel(name)
    loop.wait(made, lambda: not made.running.card(name).is_alive)
    loop.wait(made, lambda: children() <= others)
    return made.running.card(name).step


@pytest.mark.parametrize("cycles", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_nothing_piles_up(slicer_scene, tmp_path, cycles):
    others = children()  # of tests that ran before in this process
    scenes.scans(2, 1)
    made, person = loop.panel(tmp_path)
    made.open(tmp_path / "set")
    made.dataset.add_scene()
    made.dataset.save()
    loop.wait(made, lambda: not made.dataset.is_busy)
    loop.choose_tiny(made, 100_000)
    name = made.start().name
    done, counts = [cycle(made, name, 2, others)], []
    for _ in range(cycles):
        counts.append(open_files())
        made.running.resume(name)
        done.append(cycle(made, name, 2, others))
        assert leftovers(tmp_path) == []
    assert sorted(done) == done
    assert len(set(done)) == len(done)
    assert max(counts) == min(counts), counts
    history = made.running.watch.history
    assert history.curve("loss").steps == list(range(1, done[-1] + 1))
    assert person.failures == []
    made.close()
    assert children() <= others
    assert list((tmp_path / "temporary").iterdir()) == []
