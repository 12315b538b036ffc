"""B1: a training run killed anywhere and resumed ends bit for bit like one that never stopped.

Children are forked from a server that imported torch once, train on real files, and get SIGKILL
after a random number of events; then they are resumed. CI: 20 kills; `-m slow`: 200.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from dycon_engine.training.trainer import Trainer
from Testing.engine.training import small_run
from Testing.faults.forked import Whole, start, wait_for_a_moment

if sys.platform == "win32":
    pytest.skip("fork and SIGKILL", allow_module_level=True)

STEPS = 16
SETTINGS = (f"training.steps={STEPS}",)


@dataclass
class Tally:
    """What happened over many trajectories."""

    kills: int = 0
    trajectories: int = 0
    in_training: int = 0


def train(data: Path, run_dir: Path, assignments: tuple[str, ...], resume: bool) -> int:
    return small_run.run(data, run_dir, *assignments, resume=resume)


def strike(process, run_dir: Path, *, chance: random.Random, whole: Whole) -> None:
    """Kill the process after a random number of its events."""
    wait_for_a_moment(process, run_dir, chance, whole)
    with contextlib.suppress(ProcessLookupError):  # it came to its end just now
        os.kill(process.pid, signal.SIGKILL)


def trajectory(
    data: Path, run_dir: Path, every: int, *, kills: int, strikes: Callable[..., None]
) -> int:
    """Train to the end with up to `kills` kills by `strikes`; return how many hit."""
    assignments = (*SETTINGS, f"training.save_every={every}")
    hit = 0
    while True:
        resume = (run_dir / "config.json").exists()
        process = start(train, data, run_dir, assignments, resume)
        if hit < kills:
            strikes(process, run_dir)
        process.join()
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0, small_run.events(run_dir)[-1]
            return hit
        hit += 1


def battery(tmp_path: Path, *, kills: int, seed: int) -> Tally:
    data = small_run.write_scans(tmp_path / "data")
    trajectory(data, tmp_path / "whole", 7, kills=0, strikes=strike)
    expected = small_run.fingerprint(tmp_path / "whole")
    chance, tally = random.Random(seed), Tally()
    strikes = partial(strike, chance=chance, whole=Whole.of(tmp_path / "whole"))
    while tally.kills < kills:
        run_dir = tmp_path / f"run{tally.trajectories}"
        wanted = min(chance.randint(1, 4), kills - tally.kills)
        every = chance.choice((1, 3, 7))
        tally.kills += trajectory(data, run_dir, every, kills=wanted, strikes=strikes)
        tally.trajectories += 1
        tally.in_training += len(small_run.losses(run_dir)) < len(
            [event for event in small_run.events(run_dir) if event["event"] == "step"]
        )
        assert len(small_run.losses(run_dir)) == STEPS
        assert small_run.fingerprint(run_dir) == expected, f"trajectory {tally.trajectories}"
        left = [p.name for p in run_dir.rglob(".dycon-*")]
        assert not left
        assert not (run_dir / "cache").exists()
        assert not (run_dir / "lock").exists()
    return tally


def test_a_killed_and_resumed_run_is_bit_identical(tmp_path):
    tally = battery(tmp_path, kills=20, seed=1)
    assert tally.kills == 20
    assert tally.trajectories >= 5


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_hundred_kills(tmp_path):
    tally = battery(tmp_path, kills=200, seed=2)
    assert tally.kills == 200
    assert tally.trajectories >= 60
    assert tally.in_training >= 10


def test_forgetting_the_optimizer_is_noticed(tmp_path, monkeypatch):
    """Negative control: what the battery compares does see a state that was not restored."""
    data = small_run.write_scans(tmp_path / "data")
    settings = ("training.steps=6", "training.save_every=3")
    assert small_run.run(data, tmp_path / "whole", *settings) == 0
    for name, forgets in (("exact", False), ("forgetful", True)):
        run_dir = tmp_path / name
        assert small_run.run(data, run_dir, *settings) == 0
        (run_dir / "checkpoints" / "step-00000006.ckpt").unlink()  # as if killed after step 3
        with monkeypatch.context() as patch:
            if forgets:
                load = Trainer.load_state

                def without_optimizer(self, state, load=load):
                    load(self, {**state, "optimizer": self.optimizer.state_dict()})

                patch.setattr(Trainer, "load_state", without_optimizer)
            assert small_run.run(data, run_dir, *settings, resume=True) == 0
    expected = small_run.fingerprint(tmp_path / "whole")
    assert small_run.fingerprint(tmp_path / "exact") == expected
    assert small_run.fingerprint(tmp_path / "forgetful") != expected
