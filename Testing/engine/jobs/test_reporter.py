"""What a job says, and how it ends."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from dycon_engine.errors import CancelledError, DatasetError, InputError, OutOfMemoryError
from dycon_engine.jobs import event_file, failures
from dycon_engine.jobs.events import Failed, Finished, Saved, StepDone, Validated, from_line
from dycon_engine.jobs.reporter import Reporter, run_job
from dycon_engine.jobs.terminal import shell_word

ROOT = Path(__file__).resolve().parents[3]
SENDS_SIGNALS = pytest.mark.skipif(
    sys.platform == "win32", reason="os.kill ends the process at once on Windows"
)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def kinds(path):
    return [line["event"] for line in lines(path)]


def raising(error):
    def main(reporter):
        raise error

    return main


def test_the_file_and_stdout_carry_the_same_lines(tmp_path, capsys):
    assert run_job("train", lambda reporter: {"dice": 0.5}, run_dir=tmp_path) == 0
    assert capsys.readouterr().out == (tmp_path / "events.jsonl").read_text()
    assert kinds(tmp_path / "events.jsonl") == ["started", "finished"]
    assert lines(tmp_path / "events.jsonl")[0]["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("error", "code", "last"),
    [
        (InputError("case 'a': wrong"), 2, "failed"),
        (DatasetError(["one", "two"]), 2, "failed"),
        (CancelledError("stopped as asked"), 3, "cancelled"),
        (KeyboardInterrupt(), 3, "cancelled"),
        (ZeroDivisionError("oops\nmore"), 1, "failed"),
    ],
)
def test_every_end_is_one_terminal_event_and_its_exit_code(tmp_path, capsys, error, code, last):
    assert run_job("train", raising(error), run_dir=tmp_path) == code
    assert kinds(tmp_path / "events.jsonl") == ["started", last]
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert text.count("\n") == (2 if isinstance(error, DatasetError) else 1)


def test_where_memory_runs_out_the_line_says_what_to_do(tmp_path, capsys):
    assert run_job("predict", raising(MemoryError("Unable to allocate 9 GiB")), run_dir=tmp_path)
    text = capsys.readouterr().err
    assert "memory ran out (Unable to allocate 9 GiB); close other programs" in text


@pytest.mark.parametrize(
    ("error", "topic"),
    [
        (OutOfMemoryError("step 1 needs more memory than there is"), "memory"),
        (MemoryError("Unable to allocate 9 GiB"), "memory"),
        (InputError("case 'a': wrong"), ""),
        (ZeroDivisionError("oops"), ""),
    ],
)
def test_programs_are_told_that_memory_ran_out(tmp_path, error, topic):
    run_job("train", raising(error), run_dir=tmp_path)
    last = from_line((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert (type(last), last.topic) == (Failed, topic)


def test_an_unforeseen_failure_is_one_line_and_a_trace_without_paths_in_the_log(tmp_path, capsys):
    run_job("train", raising(ZeroDivisionError("oops\nmore")), run_dir=tmp_path)
    assert capsys.readouterr().err.startswith("DyCON: unexpected ZeroDivisionError: oops (log.txt")
    log = (tmp_path / "log.txt").read_text()
    assert "test_reporter.py:" in log
    assert str(ROOT) not in log


def system(number, path):
    return OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            system(errno.EACCES, "a/scan.nii"),
            2,
            "'a/scan.nii': cannot be opened (Permission denied)",
        ),
        (system(errno.ENOENT, "a/scan.nii"), 2, "'a/scan.nii': cannot be opened (No such file"),
        (system(errno.EIO, "a/scan.nii"), 1, "'a/scan.nii': failed (Input/output error)"),
        (system(errno.ENOSPC, "a/out.nii"), 1, "'a/out.nii': disk full; make room and repeat"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "disk full; make room and repeat"),
        (ConnectionResetError(104, "reset"), 1, "unexpected ConnectionResetError"),
    ],
)
def test_what_the_system_refuses_is_one_line_and_no_surprise(tmp_path, capsys, error, code, words):
    assert run_job("audit", raising(error), run_dir=tmp_path) == code
    assert capsys.readouterr().err.startswith(f"DyCON: {words}")
    assert lines(tmp_path / "events.jsonl")[-1]["exit_code"] == code


def test_folders_that_are_not_named_are_named_nowhere(tmp_path, capsys):
    folder = tmp_path / "MUELLER_HANS"
    run_dir = folder / "run"

    def main(reporter):
        reporter.cut_folders(run_dir)
        reporter.warn("checkpoint", f"'{run_dir / 'a.ckpt'}': disk full")
        reporter.case_failed("one", system(errno.EIO, run_dir / "b"))
        raise system(errno.EACCES, run_dir / "c")

    assert run_job("train", main, run_dir=run_dir) == 2
    said = capsys.readouterr()
    assert "'run/c': cannot be opened" in said.err
    for text in (*said, (run_dir / "events.jsonl").read_text(), (run_dir / "log.txt").read_text()):
        assert "MUELLER" not in text


def test_the_log_tells_no_name_but_which_are_the_same(tmp_path, capsys):
    def main(reporter):
        reporter.hide(["pt07", "O'Brien Pat", "ab"])
        reporter.warn("data", "label 'SCHMIDT': no scan; case 'pt07' and 'SCHMIDT' abound")
        reporter.tell('1 of 2 cases failed: pt07; the patient\'s others are fine, "SCHMIDT" too')
        raise InputError("case 'O'Brien Pat': wrong")

    assert run_job("train", main, run_dir=tmp_path) == 2
    log = (tmp_path / "log.txt").read_text()
    words = [line.partition(" ")[2] for line in log.splitlines()]
    assert words == [
        "Warning: label 'name 2': no scan; case 'name 1' and 'name 2' abound",
        "1 of 2 cases failed: name 1; the patient's others are fine, 'name 2' too",
        "DyCON: case 'name 3': wrong",
    ]
    assert "case 'pt07' and 'SCHMIDT' abound" in capsys.readouterr().err
    assert lines(tmp_path / "events.jsonl")[-1]["message"] == "case 'O'Brien Pat': wrong"


def test_events_that_a_full_disk_kept_back_follow(tmp_path, capsys, monkeypatch):
    write, full = os.write, []

    def short(descriptor, content):
        if not full:
            return write(descriptor, content)
        if full.pop():
            return write(descriptor, content[:9])  # half a line, then nothing
        full[:] = [False]
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(event_file.os, "write", short)
    with Reporter("train", tmp_path, stdout=io.StringIO()) as reporter:
        reporter.emit(StepDone(step=1, total=3, loss=1.0, terms={}))
        full[:] = [False, True]
        reporter.emit(Saved(what="checkpoint", path="a", step=1))
        reporter.emit(StepDone(step=2, total=3, loss=1.0, terms={}))
        full.clear()
        reporter.emit(StepDone(step=3, total=3, loss=1.0, terms={}))
        full[:] = [False]
        reporter.emit(Finished(summary={"steps": 3}))
        full.clear()  # at the end there is room again
    found = lines(tmp_path / "events.jsonl")  # every line is whole
    assert [line["event"] for line in found] == ["step", "saved", "step", "finished"]
    assert [line.get("step") for line in found] == [1, 1, 3, None]
    assert capsys.readouterr().err.count("events.jsonl cannot be written now") == 1


def test_an_events_file_that_may_not_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "events.jsonl").mkdir()
    assert run_job("train", lambda reporter: {}, run_dir=tmp_path) == 1
    assert "events.jsonl': writing failed (Is a directory" in capsys.readouterr().err


def test_nothing_follows_a_terminal_event(tmp_path):
    with Reporter("train", tmp_path) as reporter:
        reporter.emit(Finished(summary={}))
        reporter.warn("late", "too late")
        reporter.emit(Finished(summary={}))
    assert kinds(tmp_path / "events.jsonl") == ["finished"]


def test_events_before_the_run_directory_exists_are_kept(tmp_path):
    with Reporter("train", stdout=io.StringIO()) as reporter:
        reporter.stage("audit", 3)
        run_dir = tmp_path / "run"
        run_dir.mkdir()
        reporter.attach(run_dir)
        reporter.stage("train", 5)
    assert [line["name"] for line in lines(run_dir / "events.jsonl")] == ["audit", "train"]


def test_a_resumed_run_appends_after_half_a_line(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "started", "job": "train", "engine": "0"}\n{"event": "st')
    run_job("train", lambda reporter: {}, run_dir=tmp_path)
    complete = [text for text in path.read_text().splitlines() if text.endswith("}")]
    assert [json.loads(text)["event"] for text in complete] == ["started", "started", "finished"]


def test_non_finite_numbers_become_null(tmp_path):
    with Reporter("train", tmp_path) as reporter:
        reporter.emit(StepDone(step=1, total=2, loss=float("nan"), terms={"a": float("inf")}))
    assert lines(tmp_path / "events.jsonl")[0]["loss"] is None


def test_the_cancel_file_stops_and_an_old_one_does_not(tmp_path):
    old = tmp_path / "cancel"
    old.touch()
    os.utime(old, (1.0, 1.0))
    with Reporter("train", tmp_path) as reporter:
        assert not reporter.cancelled()
        old.touch()
        assert reporter.cancelled()
        with pytest.raises(CancelledError):
            reporter.check_cancelled()


@SENDS_SIGNALS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop(tmp_path, number):
    finished = []

    def main(reporter):
        assert not reporter.cancelled()
        os.kill(os.getpid(), number)
        finished.append("the step in hand")
        reporter.check_cancelled()
        return {}

    before = signal.getsignal(number)
    assert run_job("train", main, run_dir=tmp_path) == 3
    assert finished
    assert signal.getsignal(number) is before


@SENDS_SIGNALS
def test_a_second_interrupt_stops_at_once(tmp_path):
    def main(reporter):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return {"reached": True}

    assert run_job("train", main, run_dir=tmp_path) == 3
    assert kinds(tmp_path / "events.jsonl") == ["started", "cancelled"]


def test_a_reader_that_went_away_never_stops_the_job(tmp_path):
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from dycon_engine.jobs.reporter import run_job
        def main(reporter):
            sys.stdin.readline()  # the reader has closed its end by now
            for done in range(5000):
                reporter.stage(f"stage {done}")
            return {}
        sys.exit(run_job("train", main, run_dir=Path(sys.argv[1])))
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.readline()
    child.stdout.close()
    child.stdin.write(b"go\n")
    child.stdin.close()
    errors = child.stderr.read().decode()
    assert child.wait() == 0, errors
    assert errors == ""
    assert len(lines(tmp_path / "events.jsonl")) == 5002


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_names_in_any_script_pass_any_console(tmp_path, encoding):
    code = (
        "import sys\n"
        "from dycon_engine.errors import InputError\n"
        "from dycon_engine.jobs.reporter import run_job\n"
        "def main(reporter):\n"
        "    raise InputError('\\u60a3\\u8005 \\U0001f600 \\udc80: wrong')\n"
        "sys.exit(run_job('train', main))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.decode("utf-8").startswith("DyCON: \u60a3\u8005 ")
    assert b"Traceback" not in result.stderr


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Say so."""
        return True


def test_a_person_reads_a_summary_and_no_python(tmp_path):
    out, err = Terminal(), Terminal()
    with Reporter("audit", tmp_path, stdout=out, stderr=err) as reporter:
        reporter.emit(
            Finished(
                summary={
                    "channels": ["T1", "T2"],
                    "dice_per_class": {"left atrium": 0.91234},
                    "cases": [{"name": "pt01"}, {"name": "pt02"}],
                    "warnings": ["x" * 60, "y" * 60],
                    "problems": [],
                    "student_dice": None,
                }
            )
        )
    assert err.getvalue().splitlines() == [
        "channels: T1, T2",
        "dice per class: left atrium 0.9123",
        "cases: 2",
        "warnings: 2",
    ]


def test_a_job_may_say_its_summary_in_its_own_words(tmp_path):
    """What training saves meanwhile, with paths from the folder of the run, is told at its end."""
    out, err = Terminal(), Terminal()
    with Reporter(
        "train",
        tmp_path,
        stdout=out,
        stderr=err,
        closing=lambda summary: [f"Done after {summary['steps']} steps"],
    ) as reporter:
        reporter.emit(Validated(step=1, dice=0.5, cases=1))
        reporter.emit(Validated(step=2, dice=0.625, cases=2))
        reporter.emit(Saved(what="package best", path="package/best.dycon", step=2))
        reporter.emit(Saved(what="labels", path="mask.nii.gz"))
        reporter.emit(Finished(summary={"steps": 2, "data_wait_share": 0.25}))
    assert err.getvalue().splitlines() == [
        "step 1: Dice 0.5000 on 1 case",
        "step 2: Dice 0.6250 on 2 cases",
        "labels: mask.nii.gz",
        "Done after 2 steps",
    ]
    assert lines(tmp_path / "events.jsonl")[-1]["summary"]["data_wait_share"] == 0.25


@pytest.mark.skipif(os.name == "nt", reason="quotes of a POSIX shell")
def test_a_path_that_is_told_can_be_pasted():
    path = Path("runs/the first") / "it's" / "$HOME.dycon"
    assert shlex.split(shell_word(path)) == [str(path)]
    assert shell_word(Path("runs/first")) == "runs/first"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_job("predict", lambda reporter: {}, run_dir=tmp_path / "file" / "run") == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"DyCON: folder '{tmp_path / 'file' / 'run'}': cannot be made")
    assert [json.loads(line)["event"] for line in said.out.splitlines()] == ["started", "failed"]


def test_a_terminal_gets_a_bar_and_no_protocol(tmp_path):
    out, err = Terminal(), Terminal()
    with Reporter("train", tmp_path, stdout=out, stderr=err) as reporter:
        reporter.stage("train", 2)
        reporter.emit(StepDone(step=1, total=2, loss=0.25, terms={}, step_s=0.5, data_s=0.005))
        reporter.warn("collapse", "the foreground vanished")
        reporter.emit(Finished(summary={"dice": 0.91234}))
    assert out.getvalue() == ""
    text = err.getvalue()
    assert "Warning: the foreground vanished" in text
    assert "dice: 0.9123" in text
    assert "loss 0.250, 2.00 steps/s, data 1 %" in text


@SENDS_SIGNALS
def test_what_breaks_because_the_job_was_stopped_is_no_failure(tmp_path):
    """Loading processes hear the signal too, and are gone before the training process stops."""

    def main(reporter):
        os.kill(os.getpid(), signal.SIGTERM)
        raise ConnectionResetError("the loading process is gone")

    assert run_job("train", main, run_dir=tmp_path) == 3
    last = lines(tmp_path / "events.jsonl")[-1]
    assert last["event"] == "cancelled"
    assert "ConnectionResetError" in last["message"]


def test_a_signal_that_comes_after_what_it_broke_is_waited_for(tmp_path):
    def main(reporter):
        threading.Timer(0.2, reporter.cancel).start()
        raise ConnectionResetError("the loading process is gone")

    assert run_job("train", main, run_dir=tmp_path) == 3


@pytest.fixture
def broken_by_children():
    """A handler as PyTorch has it: a child that ended raises in the main thread, anywhere."""

    def handler(_number, _frame):
        raise RuntimeError("DataLoader worker is killed by signal")

    before = signal.signal(signal.SIGCHLD, handler)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="no SIGCHLD")
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_children_that_end_after_the_signal_break_nothing(tmp_path, broken_by_children, first):
    def main(reporter):
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), signal.SIGCHLD)
        reporter.check_cancelled()
        return {}

    assert run_job("train", main, run_dir=tmp_path) == 3
    assert lines(tmp_path / "events.jsonl")[-1]["message"] == "stopped as asked"


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="no SIGCHLD")
def test_a_child_that_ends_while_a_failure_is_told_changes_nothing(
    tmp_path, broken_by_children, monkeypatch
):
    log = Reporter.log

    def logging(self, text):
        os.kill(os.getpid(), signal.SIGCHLD)
        log(self, text)

    monkeypatch.setattr(Reporter, "log", logging)
    assert run_job("train", raising(ZeroDivisionError("oops")), run_dir=tmp_path) == 1
    assert "unexpected ZeroDivisionError: oops" in lines(tmp_path / "events.jsonl")[-1]["message"]


def test_a_failure_that_cannot_be_described_still_ends_the_job(tmp_path, monkeypatch):
    def failing(_error, _log, *, is_logged):
        raise RuntimeError("once more")

    monkeypatch.setattr(failures, "_told", failing)
    assert run_job("train", raising(ZeroDivisionError("oops")), run_dir=tmp_path) == 1
    assert lines(tmp_path / "events.jsonl")[-1]["message"] == "unexpected ZeroDivisionError"
