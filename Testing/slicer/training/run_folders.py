"""Run directories as the engine leaves them, made by hand: no process is needed to test a panel."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

from dycon_engine.jobs.events import (
    Cancelled,
    Failed,
    Finished,
    Saved,
    Stage,
    Started,
    StepDone,
    Validated,
    Warned,
    to_line,
)
from dycon_engine.jobs.lock import start_time


def steps(first: int, last: int, total: int = 40, at_s: float = 1000.0, **terms):
    """Return the events of steps, one a second."""
    return [
        StepDone(
            time_s=at_s + number,
            step=number,
            total=total,
            loss=1.0 / number,
            terms={"dice": 0.5 / number, "uncl": 0.1, **terms},
            diagnostics={"beta": 1.0 - number / total},
            learning_rate=0.001 * number,
            step_s=1.0,
        )
        for number in range(first, last + 1)
    ]


def write_run(folder: Path, name: str, events=(), **request) -> Path:
    """Write a run with its request and what it said."""
    run = folder / "runs" / name
    run.mkdir(parents=True)
    content = {"method": "dycon", "steps": 40} | request
    (run / "request.json").write_text(json.dumps(content))
    (run / "data.toml").write_text("")
    if events:
        said = [Started(time_s=1000.0, job="train", engine="0", pid=1), *events]
        (run / "events.jsonl").write_text("".join(to_line(each) + "\n" for each in said))
        (run / "config.json").write_text("{}")
        (run / "stderr.txt").write_text("")
    return run


def hold(run: Path, *, host: str = "", pid: int = 0) -> None:
    """Lock a run as a process of this or another machine does."""
    pid = pid or os.getpid()
    holder = {"pid": pid, "started": start_time(pid) or "", "since": "now"}
    (run / "lock").write_text(json.dumps(holder | {"host": host or platform.node()}))


def finished(run: Path, dice: float = 0.8, *, split: str = "abc", method: str = "dycon") -> None:
    """Give a run what a finished one leaves: description, package (no real one), report."""
    config = {
        "config": {"method": {"name": method}},
        "data": {"cases": {"labeled": 4, "unlabeled": 9}, "split_sha256": split},
    }
    cases = [
        {
            "case": f"validation {n + 1}",
            "classes": {"atrium": {"dice": dice + n / 100, "hd95_mm": h}},
        }
        for n, h in enumerate((4.0, None))
    ]
    calibration = {"temperature": 1.4, "ece_before": 0.12, "ece_after": 0.04}
    report = {"dice": dice, "calibration": calibration, "cases": cases}
    (run / "config.json").write_text(json.dumps(config))
    for part in ("package", "report"):
        (run / part).mkdir(exist_ok=True)
    (run / "package" / "last.dycon").write_bytes(b"")
    (run / "report" / "validation.json").write_text(json.dumps(report))


DONE = Finished(time_s=2000.0, summary={})
STOPPED = Cancelled(time_s=2000.0, message="stopped after step 5 of 40; --resume continues")
FAILED = Failed(time_s=2000.0, message="the disk is full; make room", exit_code=1)
NO_MEMORY = Failed(
    time_s=2000.0,
    message="training on cuda:0: step 1 needs more memory than there is; start a new run with a "
    "smaller training.patch_size; PyTorch: CUDA out of memory",
    topic="memory",
)
SAVED = Saved(time_s=1500.0, what="checkpoint", path="checkpoints/5.ckpt", step=5)
SCORED = Validated(time_s=1600.0, step=5, dice=0.7, student_dice=0.6, cases=2)
TRAINING = Stage(time_s=1000.0, name="train", total=40)
COLLAPSE = Warned(time_s=1700.0, topic="collapse", message="foreground is collapsing")
NOW_S = time.time
