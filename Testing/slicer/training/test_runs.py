"""The list of runs tells how each stands, whatever happened to its directory; what is lost asks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import Started as Begun
from dycon_engine.jobs.lock import start_time
from Testing.slicer.training import run_folders as folders


class Started:
    """A job that was started: what with."""

    earlier = ()
    pid = os.getpid()
    state, error = RunState.RUNNING, ""

    def __init__(self, arguments, run_dir):
        self.arguments, self.run_dir, self.cancelled = [str(a) for a in arguments], run_dir, False
        (run_dir / "stderr.txt").write_text("")

    def poll(self):
        """Say nothing."""
        return []

    def cancel(self, *, grace_s=4.0):
        """Remember it."""
        self.cancelled = True


class Launcher:
    """Starts nothing."""

    def __init__(self):
        self.jobs = []

    def start(self, arguments, run_dir):
        """Remember it."""
        self.jobs.append(Started(arguments, run_dir))
        return self.jobs[-1]

    def attach(self, run_dir):
        """Return a job that says nothing."""
        return Started((), run_dir)


@pytest.fixture
def made(tmp_path):
    """Runs of a data set without cases, a launcher, and what was asked; the answer is yes."""
    from DyCONTrainingLib.folder import Folder
    from DyCONTrainingLib.runs import Runs

    answers, asked = [], []

    def ask(question):
        asked.append(question)
        return answers.pop(0) if answers else True

    runs = Runs(Folder(tmp_path), Launcher(), ask)
    runs.asked, runs.answers = asked, answers
    return runs


def standings(made):
    return {card.name: card.standing.value for card in made.cards()}


def test_every_standing(made, tmp_path):
    folders.write_run(tmp_path, "01-dycon", [*folders.steps(1, 40), folders.DONE])
    folders.write_run(tmp_path, "02-dycon", [*folders.steps(1, 5), folders.STOPPED])
    folders.write_run(tmp_path, "03-dycon", [*folders.steps(1, 5), folders.FAILED])
    folders.write_run(tmp_path, "04-dycon", folders.steps(1, 7))
    folders.hold(folders.write_run(tmp_path, "05-dycon", folders.steps(1, 7)))
    folders.write_run(tmp_path, "06-dycon")
    (tmp_path / "runs/07-holiday").mkdir()
    assert standings(made) == {
        "07-holiday": "unreadable",
        "06-dycon": "queued",
        "05-dycon": "running",
        "04-dycon": "interrupted",
        "03-dycon": "failed",
        "02-dycon": "stopped",
        "01-dycon": "finished",
    }
    cards = {card.name: card for card in made.cards()}
    assert cards["03-dycon"].sentence == "the disk is full; make room"
    assert "'Resume' goes on from the last checkpoint" in cards["04-dycon"].sentence
    assert [name for name, card in cards.items() if card.can_resume] == [
        "04-dycon",
        "03-dycon",
        "02-dycon",
    ]


def test_what_a_card_tells(made, tmp_path):
    events = [*folders.steps(1, 5), folders.SAVED, folders.SCORED, folders.TRAINING]
    folders.hold(folders.write_run(tmp_path, "01-dycon", events))
    card = made.card("01-dycon")
    assert (card.step, card.total, card.dice, card.saved_s) == (5, 40, 0.7, 1500.0)


def test_steps_that_are_saved_are_done_whatever_was_said_of_them(made, tmp_path):
    folders.write_run(tmp_path, "01-dycon", [folders.SAVED, folders.STOPPED])
    folders.write_run(tmp_path, "02-dycon", [*folders.steps(1, 3), folders.SAVED, folders.STOPPED])
    assert [made.card(name).step for name in ("01-dycon", "02-dycon")] == [5, 5]


def test_a_run_of_another_machine(made, tmp_path):
    folders.hold(folders.write_run(tmp_path, "01-dycon", folders.steps(1, 7)), host="gpu-box")
    card = made.card("01-dycon")
    assert card.is_alive
    assert "is being trained on 'gpu-box'" in card.sentence
    assert "delete its file 'lock'" in card.sentence
    with pytest.raises(InputError, match="stop it first"):
        made.delete("01-dycon")


def test_a_folder_that_is_gone_or_not_readable(made, tmp_path, monkeypatch):
    run = folders.write_run(tmp_path, "01-dycon", folders.steps(1, 7))
    job = made.follow("01-dycon")
    shutil.rmtree(run)
    assert made.card("01-dycon").sentence == (
        "run '01-dycon': its folder is gone; choose another run"
    )
    assert job.poll() == []
    with pytest.raises(InputError, match="its folder is gone"):
        made._jobs.clear() or made.follow("01-dycon")
    folders.write_run(tmp_path, "02-dycon", folders.steps(1, 7))

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("DyCONTrainingLib.run_card.os.listdir", refuse)
    card = made.card("02-dycon")
    assert (card.standing.value, card.sentence) == (
        "unreadable",
        "run '02-dycon': cannot be read (Permission denied); check its folder",
    )


@pytest.mark.parametrize("damage", ["half a line", "no request", "binary", "empty events"])
def test_half_written_directories(made, tmp_path, damage):
    run = folders.write_run(tmp_path, "01-dycon", folders.steps(1, 7))
    events = run / "events.jsonl"
    if damage == "half a line":
        events.write_bytes(events.read_bytes()[:-30])
    elif damage == "no request":
        (run / "request.json").write_text('{"method": ')
    elif damage == "binary":
        events.write_bytes(events.read_bytes() + os.urandom(500))
    else:
        events.write_text("")
    card = made.card("01-dycon")
    assert card.standing.value == "interrupted"
    assert card.can_resume
    made.resume("01-dycon")
    assert "--resume" in made._launcher.jobs[0].arguments


def test_a_run_goes_on_where_it_computed(made, tmp_path):
    folders.write_run(tmp_path, "01-dycon", [*folders.steps(1, 5), folders.STOPPED], device="mps")
    assert made.resume("01-dycon")
    line = made._launcher.jobs[0].arguments
    assert line[line.index("--device") + 1] == "mps"


def test_a_run_stopped_while_scans_were_read_starts_anew(made, tmp_path):
    run = folders.write_run(tmp_path, "01-dycon", [folders.STOPPED], settings={"method.tau": 1})
    (run / "config.json").unlink()
    (run / "start.dycon").write_bytes(b"weights")
    card = made.card("01-dycon")
    assert (card.standing.value, card.can_resume) == ("stopped", True)
    assert card.sentence == "stopped before the first step; 'Resume' starts it anew"
    assert made.resume("01-dycon")
    line = made._launcher.jobs[0].arguments
    assert "--resume" not in line
    assert {"training.steps=40", "method.tau=1", str(run / "start.dycon")} <= set(line)


def test_resuming_asks_first(made, tmp_path):
    folders.write_run(tmp_path, "01-dycon", [*folders.steps(1, 5), folders.STOPPED])
    folders.hold(folders.write_run(tmp_path, "02-dycon", folders.steps(1, 7)))
    made.answers.append(False)
    assert not made.resume("01-dycon")
    (question,) = made.asked
    assert question.startswith("'02-dycon' still trains, and two runs at once slow")
    assert question.endswith(" Go on with '01-dycon' at step 5 of 40?")
    assert made._launcher.jobs == []


def test_a_run_that_could_not_start_says_why(made, tmp_path):
    run = folders.write_run(tmp_path, "01-dycon")
    (run / "stderr.txt").write_text("DyCON: no labeled case\nDyCON: case 'a': image is constant\n")
    card = made.card("01-dycon")
    assert (card.standing.value, card.sentence) == (
        "failed",
        "no labeled case\ncase 'a': image is constant",
    )
    assert not card.can_resume


@pytest.mark.parametrize("left", ["config.json", "package/last.dycon", "checkpoints/step-1.ckpt"])
def test_a_run_without_its_events_is_not_begun_once_more(made, tmp_path, left):
    run = folders.write_run(tmp_path, "01-dycon")
    (run / left).parent.mkdir(exist_ok=True)
    (run / left).write_bytes(b"of a night")
    card = made.card("01-dycon")
    assert card.standing.value == "interrupted"
    assert "events.jsonl is missing" in card.sentence
    assert made.start_queued() is None
    assert made._launcher.jobs == []


@pytest.mark.parametrize("more", ["", "notes.txt", "checkpoints"])
def test_where_the_process_cannot_start_only_what_was_prepared_is_deleted(
    made, tmp_path, monkeypatch, more
):
    run = folders.write_run(tmp_path, "01-dycon")
    if more:
        (run / more).mkdir()

    def refuse(_arguments, run_dir):
        (run_dir / "stderr.txt").write_text("")
        raise DyconError("the engine could not be started")

    monkeypatch.setattr(made._launcher, "start", refuse)
    with pytest.raises(DyconError, match="could not be started"):
        made.start_queued()
    assert run.exists() is bool(more)


@pytest.mark.parametrize(
    "damage", [TypeError("x"), OverflowError("x"), RecursionError("x"), KeyError("x")]
)
@pytest.mark.parametrize("reader", ["run_state", "from_line", "holder"])
def test_a_run_that_cannot_be_read_hides_no_other(made, tmp_path, monkeypatch, reader, damage):
    from DyCONTrainingLib import run_card

    folders.write_run(tmp_path, "01-dycon", [*folders.steps(1, 40), folders.DONE])
    folders.write_run(tmp_path, "02-dycon", [*folders.steps(1, 40, total=41), folders.DONE])
    original = getattr(run_card, reader)

    def read(what):
        if "02-dycon" in str(what) or '"total": 41' in str(what):
            raise damage
        return original(what)

    monkeypatch.setattr(run_card, reader, read)
    assert standings(made) == {"02-dycon": "unreadable", "01-dycon": "finished"}
    assert "its record is damaged" in made.card("02-dycon").sentence
    with pytest.raises(InputError, match="its record is damaged"):
        made.follow("02-dycon")


@pytest.mark.parametrize(
    "event",
    [
        {"event": "step", "step": "x", "total": 1, "loss": 1, "terms": {}},
        {"event": "step", "step": 1, "total": [], "loss": 1, "terms": {}},
        {"event": "validated", "step": 1, "dice": "x"},
        {"event": "saved", "what": "checkpoint", "path": "p", "step": 1, "time_s": {}},
        {"event": "failed", "message": 5},
    ],
)
def test_whatever_an_event_says_the_list_can_be_shown(made, tmp_path, event):
    from DyCONTrainingLib import texts

    run = folders.write_run(tmp_path, "01-dycon", [folders.TRAINING])
    (run / "events.jsonl").write_text(json.dumps(event) + "\n")
    (card,) = made.cards()
    assert isinstance(card.sentence, str)
    assert card.saved_s >= 0
    assert texts.step_text(card)
    assert texts.dice_text(card.dice)


def test_start_gives_a_new_folder_its_own_list_of_cases(made, tmp_path):
    from DyCONTrainingLib.request import TrainRequest

    folders.write_run(tmp_path, "03-dycon", [folders.DONE])
    package = tmp_path / "old.dycon"
    package.write_bytes(b"weights")
    request = TrainRequest(method="ua_mt", settings={"method.passes": 4}, steps=7)
    card = made.start(request, package)
    (job,) = made._launcher.jobs
    assert (card.name, card.standing.value) == ("04-ua_mt", "starting")
    line = " ".join(job.arguments)
    assert "--method ua_mt --profile laptop --device auto --set method.passes=4" in line
    assert "--set training.steps=7 --set data.validation=0" in line
    assert f"--package {card.path}/start.dycon" in line
    assert (card.path / "start.dycon").read_bytes() == b"weights"
    assert (card.path / "data.toml").read_text().startswith("# DyCON data set")


def test_a_second_run_is_started_at_once_or_queued_as_the_person_says(made, tmp_path):
    from DyCONTrainingLib.request import TrainRequest

    first = folders.write_run(tmp_path, "01-dycon", folders.steps(1, 7))
    folders.hold(first)
    made.answers.append(False)
    card = made.start(TrainRequest())
    assert "'01-dycon' still trains" in made.asked[0]
    assert card.standing.value == "queued"
    assert made.start_queued() is None
    (first / "lock").unlink()
    assert made.start_queued().name == card.name
    assert standings(made)[card.name] == "starting"


def test_of_queued_runs_the_oldest_starts_first(made, tmp_path):
    for name in ("09-dycon", "10-dycon"):
        folders.write_run(tmp_path, name)
    assert made.start_queued().name == "09-dycon"
    assert standings(made) == {"10-dycon": "queued", "09-dycon": "starting"}


@pytest.mark.parametrize(
    ("profile", "device", "words"),
    [
        ("gpu", "cuda:0", "choose the profile Laptop or the device CPU, and start a new run"),
        ("gpu", "cpu", "choose the profile Laptop, and start a new run"),
        ("laptop", "mps", "choose the device CPU, and start a new run"),
        (
            "laptop",
            "cpu",
            "close other programs and start a new run, or export the job to another computer",
        ),
    ],
)
def test_too_little_memory_for_a_step_names_what_the_panel_has(
    made, tmp_path, profile, device, words
):
    said = [Begun(time_s=1001.0, job="train", engine="0", device=device), folders.TRAINING]
    folders.write_run(tmp_path, "01-dycon", [*said, folders.NO_MEMORY], profile=profile)
    card = made.card("01-dycon")
    assert card.standing.value == "failed"
    assert card.sentence == f"too little memory: {words}"
    assert not card.can_resume
    with pytest.raises(InputError, match="is failed and cannot be resumed; start a new one"):
        made.resume("01-dycon")


def test_memory_that_runs_out_later_does_not_cost_the_steps_before(made, tmp_path):
    events = [*folders.steps(1, 7), folders.SAVED, folders.NO_MEMORY]
    folders.write_run(tmp_path, "01-dycon", events, profile="gpu", device="cuda:0")
    card = made.card("01-dycon")
    assert card.sentence == (
        "memory ran out after step 7: close other programs and press 'Resume', or choose the "
        "profile Laptop or the device CPU, and start a new run"
    )
    assert card.can_resume


def test_supervised_only_on_the_same_split_is_queued(made, tmp_path):
    run = folders.write_run(
        tmp_path, "01-dycon", [folders.DONE], settings={"method.tau": 1, "network.stem": 1}
    )
    (run / "data.toml").write_text("# then")
    (run / "start.dycon").write_bytes(b"weights")
    twin = made.compare("01-dycon")
    assert twin.request.compare_with == "01-dycon"
    assert twin.request.method == "supervised"
    assert twin.request.settings == {"network.stem": 1}
    assert (twin.path / "data.toml").read_text() == "# then"
    assert (twin.path / "start.dycon").read_bytes() == b"weights"
    with pytest.raises(InputError, match="nothing to show"):
        made.compare(twin.name)


def test_what_is_lost_asks_first(made, tmp_path):
    run = folders.write_run(tmp_path, "01-dycon", folders.steps(1, 7))
    folders.finished(run)
    made.answers.append(False)
    assert not made.delete("01-dycon")
    (question,) = made.asked
    assert question.startswith("Delete the run '01-dycon' with all its files? Its model will be")
    assert run.is_dir()
    gone = made.follow("01-dycon")
    assert made.delete("01-dycon")
    assert list((tmp_path / "runs").iterdir()) == []
    folders.write_run(tmp_path, "01-dycon", folders.steps(1, 7))  # its name is free again
    assert made.follow("01-dycon") is not gone
    assert made.delete("01-dycon")
    folders.hold(folders.write_run(tmp_path, "02-dycon", folders.steps(1, 7)))
    made.answers.append(False)
    assert not made.cancel("02-dycon")
    assert not made.follow("02-dycon").cancelled
    assert made.cancel("02-dycon")
    assert made.follow("02-dycon").cancelled


@pytest.mark.parametrize("action", ["resume", "cancel", "delete"])
def test_what_cannot_be_done_is_said(made, tmp_path, action):
    standing = {"resume": folders.DONE, "cancel": folders.DONE}.get(action)
    run = folders.write_run(tmp_path, "01-dycon", [standing] if standing else folders.steps(1, 2))
    if action == "delete":
        folders.hold(run)
    with pytest.raises(InputError, match="01-dycon"):
        getattr(made, action)("01-dycon")
    assert run.is_dir()


def test_a_process_that_reads_the_data_counts_as_starting(made, tmp_path):
    from DyCONTrainingLib.run_card import mark_started

    run = folders.write_run(tmp_path, "01-dycon")
    mark_started(run, os.getpid())
    assert standings(made) == {"01-dycon": "starting"}
    (run / "started.txt").write_text(f"{2**22 + 17} 1")
    assert standings(made) == {"01-dycon": "queued"}
    if start_time(os.getpid()) is not None:  # its number is another process's by now
        (run / "started.txt").write_text(f"{os.getpid()} 1")
        assert standings(made) == {"01-dycon": "queued"}
    (run / "stderr.txt").write_text("")
    assert standings(made) == {"01-dycon": "failed"}


def test_a_process_that_has_not_said_its_last_word_still_runs(made, tmp_path):
    from DyCONTrainingLib.run_card import mark_started

    run = folders.write_run(tmp_path, "01-dycon", folders.steps(1, 7))
    assert standings(made) == {"01-dycon": "interrupted"}
    mark_started(run, os.getpid())
    os.utime(run / "started.txt", (1, 1))
    assert standings(made) == {"01-dycon": "running"}


def test_a_process_that_goes_on_with_a_run_is_starting_until_it_speaks(made, tmp_path):
    from DyCONTrainingLib.run_card import mark_started

    run = folders.write_run(tmp_path, "01-dycon", [*folders.steps(1, 5), folders.STOPPED])
    mark_started(run, os.getpid())
    os.utime(run / "events.jsonl", (1, 1))
    assert standings(made) == {"01-dycon": "starting"}
    os.utime(run / "started.txt", (1, 1))
    assert standings(made) == {"01-dycon": "stopped"}


def test_a_process_that_dies_without_a_word_is_noticed(made, tmp_path):
    waiting = [sys.executable, "-c", "input()"]
    run = folders.write_run(tmp_path, "01-dycon", folders.steps(1, 7))
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as process:
        folders.hold(run, pid=process.pid)
        assert standings(made) == {"01-dycon": "running"}
        process.kill()
        process.wait()
    assert standings(made) == {"01-dycon": "interrupted"}
