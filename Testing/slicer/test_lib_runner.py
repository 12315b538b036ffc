"""A panel starts, follows and stops engine processes, whatever they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from dycon_engine.errors import DyconError
from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import Cancelled, Finished, Stage, Started
from dycon_engine.jobs.lock import start_time
from DyCONLib import interpreters, launched, lifeline, processes, runner
from DyCONLib.runner import Job
from Testing.slicer import engine_jobs

LIMIT_S = 20.0
pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups are POSIX's")


@pytest.fixture
def start(tmp_path):
    """Start a scripted engine job; what still runs at the end of the test is killed."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    environment = engine_jobs.install(folder)
    jobs = []

    def begin(way, *more, run_dir=tmp_path / "run", **options):
        options.setdefault("environment", environment)
        jobs.append(Job.start("scripted", ["--do", way, *more], run_dir=run_dir, **options))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()


def follow(job, until=lambda job: job.state is not RunState.RUNNING, limit_s=LIMIT_S):
    """Poll like a timer; return all events."""
    events, end = [], time.monotonic() + limit_s
    while time.monotonic() < end:
        events += job.poll()
        if until(job):
            return events
        time.sleep(0.02)
    raise AssertionError(f"still {job.state} after {limit_s} s: {events}\n{job.log()}")


def until_said(job, kind):
    """Poll until the job has said an event of `kind`; return it."""
    found = []

    def said(job):
        return found

    end = time.monotonic() + LIMIT_S
    while not found and time.monotonic() < end:
        found += [event for event in job.poll() if isinstance(event, kind)]
        time.sleep(0.02)
    return found[-1]


def living(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def gone(pid, within_s=5.0):
    end = time.monotonic() + within_s
    while living(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not living(pid)


def child_of(job):
    return int(until_said(job, Stage).name.removeprefix("child "))


def test_a_job_that_ends_well(start):
    job = start("quick")
    assert job.state is RunState.RUNNING
    events = follow(job)
    assert [type(event) for event in events] == [Started, Finished]
    assert events[-1].summary == {"cases": 1}
    assert job.state is RunState.FINISHED
    assert job.error == ""
    assert job.poll() == []


def test_the_real_engine_runs_and_its_refusal_is_the_error(tmp_path):
    nothing = tmp_path / "nothing.dycon"
    arguments = ["--package", nothing, "--input", tmp_path, "--output", tmp_path / "o.nii.gz"]
    job = Job.start("predict", arguments, run_dir=tmp_path / "run")
    follow(job, limit_s=60)
    assert job.state is RunState.FAILED
    assert "nothing.dycon" in job.error
    assert "check the path" in job.error


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("bad-input", "input 'x.nii': not there; check the path"),
        ("bad-data", "case 'a': no image\ncase 'b': no image"),
        ("before-events", "case 'a': no image\ncase 'b': no image"),
        ("memory", "needs 9 GiB, 2 GiB are free; close other programs"),
        ("bug", "unexpected ZeroDivisionError: oh no (log.txt of the run says where)"),
        ("usage", "dycon scripted: error: unknown option []"),
        ("no-torch", "a package that the engine needs is not installed"),
    ],
)
def test_a_failure_is_told_in_the_engines_own_words(start, way, said):
    job = start(way)
    follow(job)
    assert job.state is RunState.FAILED
    assert said in job.error
    assert "Traceback" not in job.error


def test_letters_beyond_ascii_arrive_through_a_launcher_that_spoils_them(
    start, tmp_path, monkeypatch
):
    """On Windows with Slicer before 5.12; the launcher here loses them as that one does."""
    script = tmp_path / "launcher"
    script.write_text(
        f"""#!{sys.executable}
import os, sys
words = [word.encode("ascii", "replace").decode() for word in sys.argv[1:]]
os.execv({sys.executable!r}, [{sys.executable!r}, *words])
"""
    )
    script.chmod(0o755)
    run_dir = tmp_path / "Jörg" / "日本 run"
    spoiled = start("quick", python=script, run_dir=run_dir)
    follow(spoiled)
    assert not (run_dir / "events.jsonl").exists()
    monkeypatch.setattr(launched, "os", SimpleNamespace(name="nt"))
    job = start("quick", python=script, run_dir=run_dir)
    follow(job)
    assert job.state is RunState.FINISHED
    assert (run_dir / "events.jsonl").exists()


@pytest.fixture
def launcher(tmp_path):
    """Return a stand-in for PythonSlicer: a launcher that ends in order where Python did not."""
    script = tmp_path / "launcher"
    script.write_text(
        f"""#!/bin/sh
"{sys.executable}" "$@"
code=$?
[ $code -le 128 ] && exit $code
echo "error: [/opt/Slicer/bin/python-real] exit abnormally - Report the problem." >&2
exit 1
"""
    )
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("way", ["killed", "workers"])
def test_the_launcher_does_not_hide_that_the_engine_was_killed(start, launcher, way):
    job = start(way, python=launcher)
    follow(job)
    assert job.state is RunState.DEAD
    assert "ended from outside" in job.error


def test_through_the_launcher_a_failure_keeps_its_words(start, launcher):
    job = start("bad-data", python=launcher)
    follow(job)
    assert job.state is RunState.FAILED
    assert "case 'a': no image" in job.error


def test_a_killed_engine_is_dead_with_one_sentence_and_leaves_no_worker(start):
    job = start("workers")
    child = child_of(job)
    follow(job)
    assert job.state is RunState.DEAD
    assert "ended from outside" in job.error
    assert "\n" not in job.error
    assert gone(child, 1.0)


def test_an_engine_that_was_ended_with_a_code_of_its_own_but_no_word_is_dead(start):
    """As the Task Manager of Windows ends a process: with code 1, which is a failure's, too."""
    job = start("ended")
    follow(job)
    assert job.state is RunState.DEAD
    assert "ended from outside" in job.error


def test_garbage_between_events_is_skipped(start):
    events = follow(start("garbage"))
    assert [type(event) for event in events] == [Started, Stage, Stage, Finished]
    assert [event.name for event in events if isinstance(event, Stage)] == ["one", "two"]


def test_no_pipe_ever_fills(start):
    job = start("noisy")
    time.sleep(1.0)  # nobody polls
    follow(job)
    assert job.state is RunState.FINISHED


def test_a_polite_job_stops_when_asked(start):
    job = start("polite")
    until_said(job, Stage)
    job.cancel()
    follow(job, limit_s=3)
    assert job.state is RunState.CANCELLED
    assert job.error == ""


def test_a_stubborn_job_and_its_children_are_gone_after_the_grace(start):
    job = start("stubborn")
    child = child_of(job)
    began = time.monotonic()
    job.cancel()
    follow(job, limit_s=runner.GRACE_S + runner.KILL_S + 1)
    assert time.monotonic() - began >= runner.GRACE_S
    assert job.state is RunState.CANCELLED
    assert job.error == ""
    assert gone(child, 1.0)


def test_a_job_that_hears_only_the_signal_is_given_time_to_end_itself(start, monkeypatch):
    monkeypatch.setattr(runner, "KILL_S", 10.0)
    job = start("signaled")
    until_said(job, Stage)
    job.cancel(grace_s=0.2)
    assert isinstance(follow(job)[-1], Cancelled)
    assert job.state is RunState.CANCELLED


def test_training_may_be_given_longer_to_write_its_checkpoint(start):
    job = start("stubborn")
    child_of(job)
    job.cancel(grace_s=600)
    until = time.monotonic() + 1
    follow(job, until=lambda job: time.monotonic() > until)
    assert job.state is RunState.RUNNING


def test_polling_never_waits(start):
    job = start("stubborn")
    child_of(job)
    job.cancel(grace_s=0.2)
    slowest = 0.0
    while job.state is RunState.RUNNING:
        before = time.monotonic()
        job.poll()
        slowest = max(slowest, time.monotonic() - before)
        time.sleep(0.01)
    assert slowest < 0.5


def test_kill_ends_the_tree_at_once_and_twice_is_no_error(start):
    job = start("stubborn")
    child = child_of(job)
    job.kill()
    job.kill()
    assert gone(child, 1.0)
    assert job.state is RunState.CANCELLED


def test_a_job_that_is_done_but_does_not_end_is_ended(start, monkeypatch):
    monkeypatch.setattr(runner, "LINGER_S", 0.5)
    job = start("lingering")
    follow(job)
    assert job.state is RunState.FINISHED


def test_fifty_jobs_leave_no_descriptor_no_zombie_and_no_process(start, tmp_path, new_children):
    me = psutil.Process()
    counts = []
    for number in range(50):
        job = start("stubborn" if number % 10 == 0 else "quick", run_dir=tmp_path / f"r{number}")
        if number % 10 == 0:
            child_of(job)
            job.cancel(grace_s=0.1)
        elif number % 2:
            job.kill()
        follow(job)
        counts.append(me.num_fds())
        assert new_children() == set()
    assert counts[0] == counts[-1] == max(counts)
    assert me.num_threads() == psutil.Process().num_threads()


def test_a_job_behind_a_launcher_is_killed_with_it(start, tmp_path):
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    job = start("stubborn", python=launcher)
    child = child_of(job)
    job.kill()
    assert gone(child, 1.0)


def test_an_interpreter_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(DyconError, match="could not be started with '/no/such/python'"):
        Job.start("train", [], run_dir=tmp_path / "run", python="/no/such/python")


def test_a_run_folder_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DyconError, match="cannot be made"):
        Job.start("train", [], run_dir=tmp_path / "file" / "run")


PARENT = """
    import sys, time
    from pathlib import Path
    from DyCONLib.runner import Job
    from Testing.slicer import engine_jobs
    folder, way, detached = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "detached"
    environment = engine_jobs.install(folder)
    job = Job.start("scripted", ["--do", way], run_dir=folder / "run",
                    environment=environment, detached=detached)
    print(job._process.pid, flush=True)
    while True:
        job.poll()
        time.sleep(0.05)
"""


def parent(folder, way, kind):
    """Start an application that starts a job; return it and the job's process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), str(folder), way, kind],
        cwd=Path(runner.__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
    )
    pid = int(process.stdout.readline())
    process.stdout.close()
    return process, pid


@pytest.mark.parametrize("way", ["polite", "stubborn"])
def test_a_job_ends_soon_after_the_application_was_killed(tmp_path, way):
    process, pid = parent(tmp_path, way, "attached")
    stage = until_said(Job.attach(tmp_path / "run"), Stage)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert gone(pid, 5.5)
    if way == "stubborn":
        assert gone(int(stage.name.removeprefix("child ")), 0.5)


def test_a_job_ends_where_another_process_got_the_number_of_the_application(start, monkeypatch):
    monkeypatch.setattr(lifeline, "start_time", lambda pid: f"before {start_time(pid)}")
    job = start("polite")
    follow(job)  # it may end before it hears signals
    assert job.state in (RunState.CANCELLED, RunState.DEAD)


def test_a_detached_job_survives_and_another_panel_takes_over(tmp_path):
    process, pid = parent(tmp_path, "locked", "detached")
    until_said(Job.attach(tmp_path / "run"), Stage)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.5)
    assert living(pid)
    job = Job.attach(tmp_path / "run")
    assert job.state is RunState.RUNNING
    assert [type(event) for event in job.poll()] == [Started, Stage]
    job.cancel()
    follow(job, limit_s=5)
    assert job.state is RunState.CANCELLED
    assert gone(pid, 2.0)


def test_an_attached_job_that_was_killed_is_dead_and_can_be_killed(tmp_path):
    process, pid = parent(tmp_path, "locked", "detached")
    job = Job.attach(tmp_path / "run")
    until_said(job, Stage)
    process.kill()
    process.wait()
    job.kill()
    assert gone(pid, 2.0)
    follow(job)
    assert job.state is RunState.CANCELLED
    other = Job.attach(tmp_path / "run")
    other.poll()
    assert other.state is RunState.DEAD
    assert "resume" in other.error


def test_a_run_that_goes_on_after_it_was_stopped_is_not_taken_for_ended(
    start, tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "LINGER_S", 0.3)
    stopped = start("locked")
    until_said(stopped, Stage)
    stopped.cancel()
    follow(stopped)
    process, pid = parent(tmp_path, "locked", "detached")
    job = Job.attach(tmp_path / "run")
    follow(job, until=lambda job: job.state is RunState.RUNNING)
    until = time.monotonic() + 1.5
    follow(job, until=lambda job: time.monotonic() > until)
    assert living(pid)
    assert job.state is RunState.RUNNING
    job.kill()
    process.kill()
    process.wait()


def test_a_relative_path_means_the_same_to_the_child(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--package", Path("m.dycon"), "--input", Path("scan.nii"), "--output", Path("o.nii")]
    job = Job.start("predict", words, run_dir=Path("run"))
    follow(job, limit_s=90)
    assert f"'{tmp_path / 'm.dycon'}': cannot be read" in job.error
    assert (tmp_path / "run" / "events.jsonl").exists()


def test_a_second_job_in_a_folder_speaks_for_itself_and_knows_what_was_before(start):
    follow(start("bad-input"))
    job = start("quick")
    assert [event.kind for event in job.earlier] == ["started", "failed"]
    assert [event.kind for event in follow(job)] == ["started", "finished"]
    assert job.state is RunState.FINISHED


def test_attaching_to_nothing_is_absent(tmp_path):
    job = Job.attach(tmp_path)
    job.cancel()
    job.kill()
    assert job.poll() == []
    assert job.state is RunState.ABSENT


def test_the_log_tells_what_happened_without_names(start, tmp_path):
    scan = tmp_path / "Doe^Jane_MRN4711.nii.gz"
    scan.write_text("")
    job = start("bad-input", scan)
    follow(job)
    text = job.log()
    assert "not there; check the path" in text
    assert "started scripted" in text
    for secret in ("x.nii", "Jane", "4711", str(tmp_path)):
        assert secret not in text


def test_nothing_that_lies_in_a_run_folder_is_run(tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("json", "numpy", "torch", "multiprocessing"):
        (run / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(("", "/before", ".")))
    job = Job.start("train", ["--data", tmp_path / "none"], run_dir=run, detached=True)
    follow(job, limit_s=180)
    assert "data 'none': there is no such folder or file" in job.error
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["SlicerApp-real", "SlicerApp-real.exe"])
def test_slicer_runs_the_engine_with_the_python_beside_it(tmp_path, monkeypatch, name):
    monkeypatch.setattr(interpreters.sys, "executable", str(tmp_path / name))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DyconError, match="PythonSlicer: not found"):
        interpreters.default_python()
    (tmp_path / "PythonSlicer").write_text("")
    assert interpreters.default_python() == tmp_path / "PythonSlicer"


def test_a_slicer_that_found_no_python_says_so(monkeypatch):
    monkeypatch.setattr(interpreters.sys, "executable", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DyconError, match="PythonSlicer: not found"):
        interpreters.default_python()


def test_the_child_gets_the_environment_it_is_given_and_finds_the_engine(tmp_path):
    line = runner.client.command("python", "train")
    environment = processes.child_environment(line, {"PYTHONPATH": "/before", "HOME": "/h"})
    assert environment["PYTHONPATH"] == f"{line.cwd}{os.pathsep}/before"
    assert (environment["HOME"], environment["PYTHONUTF8"]) == ("/h", "1")


def windows(monkeypatch, *, alive=True, answer=0):
    """Have the module see Windows; return what is asked of it. `answer` is taskkill's."""
    asked = []

    def run(words, timeout, **_named):
        asked.append((words[0], timeout))
        if answer is None:
            raise subprocess.TimeoutExpired(words, timeout)
        return SimpleNamespace(returncode=answer)

    def kill(*arguments):
        asked.append(("kill", *arguments))
        raise PermissionError(13, "Access is denied")  # it came to its end just now

    monkeypatch.setattr(processes, "os", SimpleNamespace(name="nt", kill=kill))
    monkeypatch.setattr(processes, "is_alive", lambda pid: alive)
    monkeypatch.setattr(processes.subprocess, "run", run)
    return asked


@pytest.mark.parametrize(("answer", "fallback"), [(0, False), (1, True), (None, True)])
def test_on_windows_a_tree_has_time_to_be_killed_else_its_head_is(monkeypatch, answer, fallback):
    asked = windows(monkeypatch, answer=answer)
    processes.kill_tree(4242)
    assert asked[0] == ("taskkill", 15.0)
    assert asked[1:] == ([("kill", 4242, signal.SIGTERM)] if fallback else [])


def test_on_windows_nothing_is_asked_for_a_tree_whose_head_has_ended(start, monkeypatch):
    job = start("quick")
    job._process.wait()
    asked = windows(monkeypatch, alive=False)
    follow(job)
    processes.kill_tree(4242)
    assert job.state is RunState.FINISHED
    assert asked == []
