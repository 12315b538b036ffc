"""What the loop makes of a step's outcome, on a trainer that only counts."""

from __future__ import annotations

import itertools
import json
import types

import pytest
import torch

from dycon_engine.config import TrainingConfig
from dycon_engine.errors import CancelledError, DyconError, OutOfMemoryError
from dycon_engine.methods.collapse import MESSAGE
from dycon_engine.training import loop as module
from dycon_engine.training.checkpoint import CheckpointStore, decode
from dycon_engine.training.distributed import Process
from dycon_engine.training.loop import Loop, Standing
from dycon_engine.training.trainer import GRADIENT, Outcome
from Testing.engine.training import small_run

FINE = Outcome(
    loss=1.0,
    terms={"dice": 1.0},
    diagnostics={"foreground_labeled": 0.2, "foreground_unlabeled": 0.0},
    gradient_norm=1.0,
    learning_rate=0.1,
)


class Counter:
    """A trainer that does nothing, with a fixed outcome."""

    def __init__(self, outcome: Outcome, steps: int) -> None:
        self.outcome, self.step_count = outcome, 0
        self.config = TrainingConfig(steps=steps)
        self.process = Process(torch.device("cpu"))

    def step(self, _batch):
        """Count."""
        self.step_count += 1
        return self.outcome

    def state(self):
        """Return the count."""
        return {"step": self.step_count}


class Nothing:
    """Batches of nothing."""

    def iterate(self, start, stop):
        """Yield one per step."""
        return iter(range(start, stop))


@pytest.fixture
def said(tmp_path):
    """Run the loop and return the events it leaves."""
    numbers = itertools.count()

    def run(outcome, steps):
        folder = tmp_path / f"run{next(numbers)}"
        folder.mkdir()
        with small_run.silent_reporter(folder) as reporter:
            store = CheckpointStore(folder / "checkpoints", keep=1)
            trainer = Counter(outcome, steps)
            Loop(trainer, Nothing(), store, reporter, Standing(), lambda: None).run()
        return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]

    return run


def test_a_collapse_of_the_foreground_is_told_once(said):
    warnings = [event for event in said(FINE, 150) if event["event"] == "warning"]
    assert [event["topic"] for event in warnings] == ["collapse"]
    assert warnings[0]["message"].startswith(MESSAGE)


def test_a_step_that_changed_nothing_is_a_warning_and_no_step(said):
    events = said(FINE._replace(faults=("dice",)), 3)
    assert not [event for event in events if event["event"] == "step"]
    warnings = [event for event in events if event["event"] == "warning"]
    assert [event["topic"] for event in warnings] == ["non_finite"] * 3
    assert warnings[1]["message"] == "step 2: dice not finite; this step changed nothing"


def test_a_step_that_backs_off_as_the_loss_scale_does_now_and_then_is_no_warning(said):
    events = said(FINE._replace(faults=(GRADIENT,), backed_off=True), 3)
    assert not [event for event in events if event["event"] in ("step", "warning")]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        MemoryError(),
    ],
)
def test_lack_of_memory_says_what_to_do_and_what_was_said(tmp_path, error):
    class Full(Counter):
        def step(self, _batch):
            raise error

    store = CheckpointStore(tmp_path / "checkpoints", keep=1)
    with small_run.silent_reporter(tmp_path) as reporter:
        loop = Loop(Full(FINE, 3), Nothing(), store, reporter, Standing(), lambda: None)
        with pytest.raises(OutOfMemoryError, match="step 1 needs more memory than") as no:
            loop.run()
    text = str(no.value)
    assert "\n" not in text
    assert "start a new run with a smaller training.patch_size, training.unlabeled_batch" in text
    assert text.endswith((str(error) or "MemoryError").split("\n")[0])


def test_another_error_of_a_step_is_not_taken_for_lack_of_memory(tmp_path):
    class Broken(Counter):
        def step(self, _batch):
            raise RuntimeError("shape mismatch")

    store = CheckpointStore(tmp_path / "checkpoints", keep=1)
    with small_run.silent_reporter(tmp_path) as reporter:
        loop = Loop(Broken(FINE, 3), Nothing(), store, reporter, Standing(), lambda: None)
        with pytest.raises(RuntimeError, match="shape mismatch"):
            loop.run()


class Gone(Nothing):
    """Batches whose loading processes die at the second step, as a signal to the group does it."""

    def __init__(self, error, reporter):
        self.error, self.reporter = error, reporter

    def iterate(self, start, stop):
        """Yield one, then fail."""
        yield 0
        self.reporter.cancel()
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("x"), ConnectionResetError("x"), EOFError("x")])
def test_loading_processes_that_die_with_a_stop_leave_a_checkpoint(tmp_path, error):
    store = CheckpointStore(tmp_path / "checkpoints", keep=1)
    with small_run.silent_reporter(tmp_path) as reporter:
        batches = Gone(error, reporter)
        loop = Loop(Counter(FINE, 5), batches, store, reporter, Standing(), lambda: None)
        with pytest.raises(CancelledError, match="stopped after step 1"):
            loop.run()
    assert store.steps() == [1]


class Full(CheckpointStore):
    """A store whose disk is full at some steps."""

    def __init__(self, folder, failing):
        super().__init__(folder, keep=100)
        self.failing = failing

    def save(self, step, content):
        """Fail at those steps."""
        if step in self.failing:
            raise DyconError("'x.ckpt': disk full (0 MiB free); make room and repeat")
        return super().save(step, content)


def autosaving(tmp_path, failing=(), **settings):
    """Train 6 steps, with a checkpoint after every one if not said; return store and warnings."""
    store = Full(tmp_path / "checkpoints", failing)
    trainer = Counter(FINE, 6)
    trainer.config = TrainingConfig(**({"steps": 6, "save_every": 1} | settings))
    with small_run.silent_reporter(tmp_path) as reporter:
        Loop(trainer, Nothing(), store, reporter, Standing(), lambda: None).run()
    return store, [e for e in small_run.events(tmp_path) if e["event"] == "warning"]


def test_a_checkpoint_in_between_that_fails_is_tried_again_at_the_next(tmp_path):
    store, warnings = autosaving(tmp_path, {2, 4})
    assert store.steps() == [0, 1, 3, 5, 6]
    assert [event["topic"] for event in warnings] == ["checkpoint", "checkpoint"]
    assert "disk full" in warnings[0]["message"]


@pytest.mark.parametrize("failing", [{2, 3}, {6}, {0}])
def test_two_that_fail_or_one_that_is_needed_end_the_run(tmp_path, failing):
    with pytest.raises(DyconError, match="disk full"):
        autosaving(tmp_path, failing)


@pytest.fixture
def steps_take(monkeypatch):
    """Set a clock of its own, which a step advances by so many seconds."""

    def take(seconds):
        clock = itertools.count(1000.0, seconds)  # asked once after every step, and at every save
        now = [next(clock)]
        plain = Counter.step

        def step(trainer, batch):
            now[0] = next(clock)
            return plain(trainer, batch)

        monkeypatch.setattr(Counter, "step", step)
        times = types.SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0])
        monkeypatch.setattr(module, "time", times)

    return take


@pytest.mark.parametrize(
    ("seconds", "minutes", "saved"),
    [
        (31.0, 1.0, [0, 2, 4, 6]),  # counted anew from every checkpoint
        (29.0, 1.0, [0, 3, 6]),
        (31.0, 2.0, [0, 4, 6]),
        (61.0, 1.0, [0, 1, 2, 3, 4, 5, 6]),
        (31.0, 60.0, [0, 6]),
        (31.0, 0.0, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_checkpoint_is_written_in_time(tmp_path, steps_take, seconds, minutes, saved):
    steps_take(seconds)
    store, warnings = autosaving(tmp_path, save_every=0, autosave_minutes=minutes)
    assert store.steps() == saved
    assert not warnings


def test_time_runs_beside_the_count_of_steps(tmp_path, steps_take):
    steps_take(31.0)
    store, _ = autosaving(tmp_path, save_every=3, autosave_minutes=1.0)
    assert store.steps() == [0, 2, 3, 5, 6]


def test_one_that_failed_is_due_again_after_the_same_time(tmp_path, steps_take):
    steps_take(31.0)
    store, warnings = autosaving(tmp_path, {2}, save_every=0, autosave_minutes=1.0)
    assert store.steps() == [0, 4, 6]
    assert [event["topic"] for event in warnings] == ["checkpoint"]


def test_the_checkpoint_of_a_validated_step_says_that_it_was_and_how_well(tmp_path):
    """A run that is killed right after it neither repeats it nor forgets which was the best."""
    trainer, standing = Counter(FINE, 5), Standing()
    trainer.config = TrainingConfig(steps=5, validate_every=2)
    validated = []

    def validate():
        validated.append(trainer.step_count)
        standing.best_dice, standing.best_step = 0.5 + 0.1 * trainer.step_count, trainer.step_count

    store = CheckpointStore(tmp_path / "checkpoints", keep=100)
    with small_run.silent_reporter(tmp_path) as reporter:
        Loop(trainer, Nothing(), store, reporter, standing, validate).run()
    assert validated == [2, 4]
    assert store.steps() == [0, 2, 4, 5]
    for step, best in ((2, 0.7), (4, 0.9)):
        found = decode(store.folder / f"step-{step:08d}.ckpt")["standing"]
        assert found == {"validated": step, "best_dice": pytest.approx(best), "best_step": step}
