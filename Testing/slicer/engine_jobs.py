"""Engine jobs that behave in one chosen way; tests start them as `dycon_engine.scripted --do WAY`.

They use the engine's own reporter, so that a runner cannot tell them from train or predict.
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from dycon_engine.errors import (
    CancelledError,
    DatasetError,
    DyconError,
    InputError,
    OutOfMemoryError,
)
from dycon_engine.jobs.lock import RunLock
from dycon_engine.jobs.reporter import Reporter, run_job

LIMIT_S = 120.0
SLEEPER = f"import time; time.sleep({LIMIT_S})"


def install(folder: Path) -> dict[str, str]:
    """Make `python -m dycon_engine.scripted` find this file; return the environment to start in."""
    (folder / "scripted.py").write_text("from Testing.slicer.engine_jobs import main\n\nmain()\n")
    start = f"""
        import sys
        sys.path.append({str(Path(__file__).resolve().parents[2])!r})
        import dycon_engine
        dycon_engine.__path__.append({str(folder)!r})
    """
    (folder / "sitecustomize.py").write_text(textwrap.dedent(start))
    return dict(os.environ) | {"PYTHONPATH": str(folder)}


def polite(reporter: Reporter) -> dict[str, object]:
    """Stop when asked."""
    reporter.stage("training", 1000)
    end = time.monotonic() + LIMIT_S  # where a test failed and nobody stops it
    while time.monotonic() < end:
        reporter.check_cancelled()
        time.sleep(0.02)
    return {}


def stubborn(reporter: Reporter) -> dict[str, object]:
    """Hear nothing, as native code that runs for minutes; with a child of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", SLEEPER])
    reporter.stage(f"child {child.pid}", 1)
    time.sleep(LIMIT_S)
    return {}


def workers(reporter: Reporter) -> dict[str, object]:
    """Die like a process the system killed, and leave a child behind."""
    child = subprocess.Popen([sys.executable, "-c", SLEEPER])
    reporter.stage(f"child {child.pid}", 1)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def killed_after_a_bad_case(reporter: Reporter) -> dict[str, object]:
    """Tell people of one case, then die as when memory runs out."""
    reporter.stage("segmenting", 2)
    sys.stderr.write("DyCON: case 'a': no image\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def ended(reporter: Reporter) -> dict[str, object]:
    """End at once and without a word, with the code of a failure."""
    reporter.stage("segmenting", 2)
    os._exit(DyconError.exit_code)


def signaled(reporter: Reporter) -> dict[str, object]:
    """Look at no request, only hear the signal, and take a moment to end."""

    def stop(*_arguments: object) -> None:
        time.sleep(0.3)
        raise CancelledError("by a signal")

    signal.signal(signal.SIGTERM, stop)
    reporter.stage("segmenting", 1)
    time.sleep(LIMIT_S)
    return {}


def lingering(reporter: Reporter) -> dict[str, object]:
    """Be done, but do not end."""
    atexit.register(time.sleep, LIMIT_S)
    return {"cases": 1}


def noisy(reporter: Reporter) -> dict[str, object]:
    """Say more than any pipe holds."""
    for _ in range(200):
        sys.stdout.write("x" * 9_999 + "\n")
        sys.stderr.write("y" * 9_999 + "\n")
    return {"cases": 1}


def garbage(reporter: Reporter) -> dict[str, object]:
    """Write lines that are no events between those that are."""
    reporter.stage("one")
    with (reporter.run_dir / "events.jsonl").open("ab") as stream:
        stream.write(b'\xff\xfe{{\n{"event": "advanced", "done": }\n[1, 2]\n{"event": 5}\n')
        stream.write(b'{"event": "from the future", "x": 1}\n\n{"event": "stage"}\n')
    reporter.stage("two")
    return {"cases": 1}


def locked(reporter: Reporter) -> dict[str, object]:
    """Hold the lock, as training does, and stop when asked."""
    with RunLock(reporter.run_dir / "lock"):
        return polite(reporter)


def failing(error: Exception):
    """Fail with `error`."""

    def job(reporter: Reporter) -> dict[str, object]:
        raise error

    return job


WAYS = {
    "bad-data": failing(DatasetError(["case 'a': no image", "case 'b': no image"])),
    "bad-input": failing(InputError("input 'x.nii': not there; check the path")),
    "bug": failing(ZeroDivisionError("oh no")),
    "ended": ended,
    "garbage": garbage,
    "killed": killed_after_a_bad_case,
    "lingering": lingering,
    "locked": locked,
    "memory": failing(OutOfMemoryError("needs 9 GiB, 2 GiB are free; close other programs")),
    "noisy": noisy,
    "polite": polite,
    "quick": lambda reporter: {"cases": 1},
    "signaled": signaled,
    "stubborn": stubborn,
    "workers": workers,
}


def main() -> None:
    """Run the way named on the command line."""
    _, _, way, *rest, _, run_dir = sys.argv
    if way == "before-events":  # as training refuses data before it makes its folder
        raise SystemExit(run_job("scripted", WAYS["bad-data"]))
    if way == "usage":
        argparse.ArgumentParser(prog="dycon scripted").error(f"unknown option {rest}")
    if way == "no-torch":
        importlib.import_module("torch_that_is_not_installed")
    raise SystemExit(run_job("scripted", WAYS[way], run_dir=Path(run_dir)))
