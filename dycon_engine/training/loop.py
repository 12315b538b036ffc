"""The one loop: batch, step, event; checkpoints in time; validation now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from dycon_engine.config import TrainingConfig
from dycon_engine.data.batch import Batch
from dycon_engine.errors import CancelledError, DyconError, NonFiniteError
from dycon_engine.jobs.events import Saved, StepDone
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.methods.collapse import CollapseWatch
from dycon_engine.settings import Table
from dycon_engine.training.checkpoint import CheckpointStore
from dycon_engine.training.trainer import Outcome, Trainer, refusing_lack_of_memory


class Batches(Protocol):
    """Where batches come from: a pure function of the step number."""

    def iterate(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of steps `start` to `stop` - 1."""


@dataclass
class Standing:
    """What a run remembers besides the trainer: which validation was the best, and the last."""

    validated: int = 0
    best_dice: float = -1.0
    best_step: int = 0

    def state(self) -> Table:
        """Return plain values for the checkpoint."""
        return dict(vars(self))

    def load_state(self, state: Table) -> None:
        """Take the values of `state`."""
        for name in vars(self):
            setattr(self, name, state[name])


@dataclass
class Speed:
    """How long steps took in this process, and how much of it was waiting for data."""

    steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, step_s: float, data_s: float) -> None:
        """Count one step."""
        self.steps += 1
        self.seconds += step_s
        self.data_seconds += data_s

    def summary(self) -> Table:
        """Return steps per second and the share of waiting, for the terminal event."""
        if not self.seconds:
            return {}
        return {
            "steps_per_s": self.steps / self.seconds,
            "data_wait_share": self.data_seconds / self.seconds,
        }


@dataclass
class Loop:
    """Everything the loop needs.

    `validate` is called between steps, on every rank; `on_step` and `preview` after each step that
    changed something.
    """

    trainer: Trainer
    batches: Batches
    store: CheckpointStore
    reporter: Reporter
    standing: Standing
    validate: Callable[[], object]
    on_step: Callable[[StepDone], None] = lambda _event: None
    preview: Callable[[int], None] = lambda _step: None
    speed: Speed = field(default_factory=Speed)
    collapse: CollapseWatch = field(default_factory=CollapseWatch)
    _saved_at: float = 0.0
    _saved_step: int = -1
    _save_failed: bool = False

    @property
    def config(self) -> TrainingConfig:
        """The settings of the optimization."""
        return self.trainer.config

    def run(self) -> None:
        """Train until the last step; a checkpoint lies at every end.

        Raises:
            CancelledError: As asked for; the checkpoint is written.
            NonFiniteError: Too many steps in a row were not finite.
        """
        self.save()
        total = self.config.steps
        self.reporter.stage("train", total, done=self.trainer.step_count)
        batches = self.batches.iterate(self.trainer.step_count, total)
        while True:
            self._validate_if_due()
            if self.trainer.step_count >= total:
                break
            self._one_step(batches)
            stop, save = self.trainer.process.any(self.reporter.cancelled(), self._is_save_due())
            if stop:
                self.save()
                raise CancelledError(
                    f"stopped after step {self.trainer.step_count} of {total}; --resume continues"
                )
            if save:
                self._autosave()
        self.save()

    def save(self) -> None:
        """Write a checkpoint, once per step, by the main process."""
        step = self.trainer.step_count
        self._saved_at = time.monotonic()
        if not self.trainer.process.is_main or step == self._saved_step:
            return
        content = {"trainer": self.trainer.state(), "standing": self.standing.state()}
        path = self.store.save(step, content)
        self._saved_step = step
        where = f"{self.store.folder.name}/{path.name}"
        self.reporter.emit(Saved(what="checkpoint", path=where, step=step))

    def _autosave(self) -> None:
        """Write a checkpoint; where that fails it is tried again when the next one is due.

        Raises:
            DyconError: It failed twice in a row; or a value in it is NaN or infinite.
        """
        try:
            self.save()
        except NonFiniteError:
            raise
        except DyconError as error:
            if self._save_failed:
                raise
            self._save_failed = True
            self.reporter.warn("checkpoint", f"{error}; training goes on, one more try follows")
        else:
            self._save_failed = False

    def load(self, content: Table) -> None:
        """Go on from a checkpoint's content."""
        self.trainer.load_state(content["trainer"])
        self.standing.load_state(content["standing"])
        self._saved_step = self.trainer.step_count

    def _one_step(self, batches: Iterator[Batch]) -> None:
        began = time.perf_counter()
        with refusing_lack_of_memory(self.trainer.step_count, self.trainer.process.device):
            batch = self._next(batches)
            data_s = time.perf_counter() - began
            outcome = self.trainer.step(batch)
        step_s = time.perf_counter() - began
        self.speed.add(step_s, data_s)
        self._report(outcome, step_s, data_s)

    def _next(self, batches: Iterator[Batch]) -> Batch:
        try:
            return next(batches)
        except (RuntimeError, OSError, EOFError):  # a signal may end the loading processes too
            if not self.reporter.stops_soon():
                raise
            self.save()
            raise CancelledError(
                f"stopped after step {self.trainer.step_count}; --resume continues"
            ) from None

    def _report(self, outcome: Outcome, step_s: float, data_s: float) -> None:
        step = self.trainer.step_count
        if outcome.backed_off:
            return
        if outcome.faults:
            names = ", ".join(outcome.faults)
            self.reporter.warn(
                "non_finite", f"step {step}: {names} not finite; this step changed nothing"
            )
            return
        event = StepDone(
            step=step,
            total=self.config.steps,
            loss=outcome.loss,
            terms=outcome.terms,
            diagnostics=outcome.diagnostics | {"gradient_norm": outcome.gradient_norm},
            learning_rate=outcome.learning_rate,
            step_s=step_s,
            data_s=data_s,
        )
        self.reporter.emit(event)
        self.reporter.advance(step)
        self.on_step(event)
        self.preview(step)
        message = self.collapse.update(outcome.diagnostics)
        if message is not None:
            self.reporter.warn("collapse", message)

    def _is_save_due(self) -> bool:
        every = self.config.save_every
        if every and self.trainer.step_count % every == 0:
            return True
        return time.monotonic() - self._saved_at >= 60.0 * self.config.autosave_minutes

    def _validate_if_due(self) -> None:
        """Validate every so many steps, but not at the last: that validation is the final one."""
        step, every = self.trainer.step_count, self.config.validate_every
        if not every or step % every or not step or step >= self.config.steps:
            return
        if self.standing.validated == step:
            return
        self.save()
        self.validate()
        self.standing.validated = step
        self._saved_step = -1
        self.save()
        self.reporter.stage("train", self.config.steps, done=step)
