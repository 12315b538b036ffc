"""A training command starts itself anew with settings of glibc under which holes fit again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dycon_engine.training.allocator import CHOICES, TUNABLES, allocator_environment

GLIBC = platform.libc_ver()[0] == "glibc"
ROOT = Path(__file__).resolve().parents[3]
SPY = """
import os
with open({log!r}, "a") as stream:
    stream.write(f"{{os.getpid()}} {{os.environ.get('GLIBC_TUNABLES', '')}}\\n")
"""
STEPS = """
import resource, torch
def grown():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
torch.zeros(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
kept = []
for step in range(12):
    blocks = []
    for _ in range(40):
        blocks.append(torch.ones(5 << 18))  # 5 MiB
        kept += [torch.empty(n) for n in (4, 8, 16)]  # what lands in the slack beside it
    while blocks:
        blocks.pop(step % len(blocks))
print(round(grown()))
"""

pytestmark = pytest.mark.skipif(not GLIBC, reason="only glibc has these settings")


@pytest.fixture(autouse=True)
def nobody_chose(monkeypatch):
    for name in os.environ:
        if name.startswith(CHOICES):
            monkeypatch.delenv(name)


def starts(tmp_path: Path, *command: str, **added: str) -> list[tuple[str, str]]:
    """Run Python with the words of `command`; return process id and settings at every start."""
    log = tmp_path / "starts"
    (tmp_path / "sitecustomize.py").write_text(SPY.format(log=str(log)), encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path} | added
    done = subprocess.run(
        [sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 2, done.stderr  # there is no such data
    return [tuple(line.split(" ")) for line in log.read_text(encoding="utf-8").splitlines()]


TRAIN = ("--data", "missing", "--run-dir", "run")


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "dycon_engine.train", *TRAIN),
        ("-u", "-X", "utf8", "-m", "dycon_engine", "train", *TRAIN),
        ("-m", "dycon_engine.probe", "--data", "missing"),
    ],
)
def test_a_training_command_starts_anew_once_in_the_same_process(tmp_path, command):
    (first, before), (second, after) = starts(tmp_path, *command)
    assert first == second
    assert (before, after) == ("", allocator_environment()[TUNABLES])


def test_the_console_script_does_too(tmp_path):
    script = tmp_path / "bin" / "dycon"
    script.parent.mkdir()
    script.write_text("from dycon_engine.__main__ import main\nraise SystemExit(main())\n")
    assert len(starts(tmp_path, str(script), "train", *TRAIN)) == 2


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "LD_PRELOAD", TUNABLES])
def test_a_choice_by_environment_is_respected(tmp_path, name):
    value = {TUNABLES: "glibc.malloc.arena_max=1"}.get(name, "1")
    found = starts(tmp_path, "-m", "dycon_engine.train", *TRAIN, **{name: value})
    assert len(found) == 1


def test_a_program_that_calls_train_is_not_started_anew(tmp_path):
    code = f"import sys; from dycon_engine.train import main; sys.exit(main({list(TRAIN)}))"
    assert len(starts(tmp_path, "-c", code)) == 1


def test_holes_are_filled_again():
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env=os.environ | allocator_environment(),
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert float(done.stdout) < 450, "200 MiB are in use; glibc 2.36 as it comes takes 1355"


def test_elsewhere_nothing_happens(monkeypatch):
    assert allocator_environment()
    monkeypatch.setattr(os, "confstr", lambda name: None)
    assert allocator_environment() == {}
