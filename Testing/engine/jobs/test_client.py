"""A panel follows a run it did not start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dycon_engine.errors import CancelledError, DatasetError, InputError
from dycon_engine.jobs import client
from dycon_engine.jobs.client import EventTail, RunState, run_state
from dycon_engine.jobs.events import Stage, StepDone, to_line
from dycon_engine.jobs.lock import RunLock
from dycon_engine.jobs.reporter import Reporter, run_job


def test_the_command_starts_the_job(tmp_path):
    argv, cwd, environment = client.command(sys.executable, "train", ["--help"])
    result = subprocess.run(
        argv, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "--run-dir" in result.stdout


@given(st.lists(st.text(max_size=8), max_size=6), st.data())
def test_the_tail_gives_every_event_once_however_the_bytes_arrive(tmp_path_factory, names, data):
    path = tmp_path_factory.mktemp("tail") / "events.jsonl"
    content = "".join(to_line(Stage(name=name)) + "\n" for name in names).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    tail, seen = EventTail(path), []
    for start, stop in zip([0, *cuts], [*cuts, len(content)], strict=True):
        with path.open("ab") as stream:
            stream.write(content[start:stop])
        seen += tail.read()
    assert [event.name for event in seen] == names


def test_the_tail_waits_for_the_file_and_skips_broken_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    path.write_bytes(b'\xff\xfe{\n{"event": "st\n' + to_line(Stage(name="a")).encode() + b"\n")
    assert [event.name for event in tail.read()] == ["a"]
    path.write_text(to_line(Stage(name="b")) + "\n")
    assert [event.name for event in tail.read()] == ["b"]


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "step", "step": "x", "total": 1, "loss": 1, "terms": {}}',
        '{"event": "step", "step": 1.5, "total": 1, "loss": 1, "terms": {}}',
        '{"event": "step", "step": true, "total": 1, "loss": 1, "terms": {}}',
        '{"event": "step", "step": 1, "total": 1, "loss": 1, "terms": {"a": "b"}}',
        '{"event": "step", "step": 1, "total": 1, "loss": Infinity, "terms": {}}',
        '{"event": "stage", "name": "a", "total": 1' + "0" * 400 + "}",
        '{"event": "stage", "name": "a", "total": 1' + "0" * 9000 + "}",
        '{"event": "failed", "message": 5}',
        '{"event": "saved", "what": "a", "path": "b", "step": []}',
        '{"event": "started", "job": "train", "engine": "0", "time_s": "now"}',
        "[" * 200_000,
    ],
    ids=lambda line: line[:60],
)
def test_a_line_with_values_of_another_type_is_skipped(tmp_path, line):
    good = StepDone(step=1, total=2, loss=float("nan"), terms={"a": float("nan"), "b": 1})
    (tmp_path / "events.jsonl").write_text(f"{line}\n{to_line(good)}\n")
    (found,) = EventTail(tmp_path / "events.jsonl").read()
    assert (found.step, found.loss, found.terms) == (1, None, {"a": None, "b": 1})


def test_the_state_of_a_run(tmp_path):
    assert run_state(tmp_path) is RunState.ABSENT

    def main(reporter):
        assert run_state(tmp_path) is RunState.DEAD  # says something, holds no lock
        with RunLock(tmp_path / "lock"):
            assert run_state(tmp_path) is RunState.RUNNING
        return {}

    def failing(error):
        def fail(reporter):
            raise error

        return fail

    run_job("train", main, run_dir=tmp_path)
    assert run_state(tmp_path) is RunState.FINISHED
    run_job("train", failing(InputError("no")), run_dir=tmp_path)
    assert run_state(tmp_path) is RunState.FAILED
    run_job("train", failing(CancelledError("no")), run_dir=tmp_path)
    assert run_state(tmp_path) is RunState.CANCELLED


def test_a_killed_run_is_dead(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from dycon_engine.jobs.lock import RunLock\n"
        "from dycon_engine.jobs.reporter import Reporter\n"
        "run = Path(sys.argv[1])\n"
        "with RunLock(run / 'lock'), Reporter('train', run) as reporter:\n"
        "    reporter.stage('train')\n"
        "    sys.stdin.readline()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(client.__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    assert run_state(tmp_path) is RunState.RUNNING
    child.kill()
    child.wait()
    assert run_state(tmp_path) is RunState.DEAD


def test_a_request_to_cancel_is_heard(tmp_path):
    with Reporter("train", tmp_path) as reporter:
        client.request_cancel(tmp_path)
        assert reporter.cancelled()


def test_a_last_line_of_any_length_is_found(tmp_path):
    def failing(reporter):
        raise DatasetError([f"case 'scan{number}': {'x' * 300}" for number in range(600)])

    run_job("train", failing, run_dir=tmp_path)
    last = (tmp_path / "events.jsonl").read_bytes().splitlines()[-1]
    assert len(last) > 2 * client.TAIL_BYTES
    assert run_state(tmp_path) is RunState.FAILED
