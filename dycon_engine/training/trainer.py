"""One optimizer step, and everything that must be kept between two of them.

A step is: terms -> sum -> backward -> clip -> finite? -> optimizer -> `Method.after_step`. A step
that is not finite changes nothing. Randomness of a step is a function of (seed, step, rank), so
the state of a run is weights, optimizer and a few counters, and resuming is exact bit for bit.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dycon_engine.config import TrainingConfig
from dycon_engine.data.batch import Batch
from dycon_engine.errors import NonFiniteError, OutOfMemoryError
from dycon_engine.inference.memory import first_line, is_out_of_memory
from dycon_engine.methods.base import Method
from dycon_engine.methods.teacher import Teacher
from dycon_engine.networks.devices import move
from dycon_engine.schedules import Progress
from dycon_engine.settings import Table
from dycon_engine.training.distributed import Process
from dycon_engine.training.optimizer import (
    build_optimizer,
    choose_precision,
    learning_rate,
    load_optimizer,
    set_learning_rate,
)

GRADIENT = "gradient"


class Outcome(NamedTuple):
    """What one step did; `faults` names what was not finite, and then nothing was changed.

    Attributes:
        loss: The sum of `terms`, which was minimised.
        terms: Weighted loss terms by name.
        diagnostics: What the method watches, not minimised, and the soft Dice of the labeled
            patches.
        gradient_norm: Before clipping.
        learning_rate: Of this step.
        faults: Names of the terms that were NaN or infinite, or `gradient`.
        backed_off: Whether that was fp16 overflow, which the smaller loss scale mends.
    """

    loss: float
    terms: dict[str, float]
    diagnostics: dict[str, float]
    gradient_norm: float
    learning_rate: float
    faults: tuple[str, ...] = ()
    backed_off: bool = False


class Trainer:
    """A method, its optimizer and the count of steps done."""

    def __init__(self, method: Method, config: TrainingConfig, process: Process) -> None:
        """Move `method` to the device of `process` and build its optimizer."""
        self.config = config
        self.process = process
        self.precision = choose_precision(config.precision, process.device)
        self.method = method
        move(self.method, process.device)
        self.optimizer = build_optimizer(self.method.parameters(), config, process.device)
        self._parallel = process.wrap(self.method)
        self._parameters = [p for p in self.method.parameters() if p.requires_grad]
        self._buffers = _touched_buffers(self.method)
        self._scaler = torch.amp.GradScaler(
            process.device.type, enabled=self.precision.needs_scaler
        )
        self.step_count = 0
        self.bad_steps = 0

    @property
    def progress(self) -> Progress:
        """How many steps are done, of how many."""
        return Progress(self.step_count, self.config.steps)

    def step(self, batch: Batch) -> Outcome:
        """Do one step on `batch`, or nothing where it is not finite; either way it counts.

        Raises:
            NonFiniteError: `max_bad_steps` in a row were not finite.
        """
        seed_step(self.config.seed, self.step_count, self.process.rank)
        progress = self.progress
        rate = learning_rate(self.config, progress)
        batch = batch.to(self.process.device, non_blocking=True)
        before = [buffer.clone() for buffer in self._buffers]
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._terms(batch, progress)
        norm = self._backward(terms)
        outcome = self._outcome(terms, norm, rate)
        if outcome.faults:
            self._undo(before)
            outcome = outcome._replace(backed_off=self._backed_off(outcome))
        else:
            self._update(rate, progress)
        self.step_count += 1
        self._count_bad(outcome)
        return outcome

    def state(self) -> Table:
        """Return everything that a later `load_state` needs to go on exactly as this one would."""
        return {
            "step": self.step_count,
            "bad_steps": self.bad_steps,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state(self, state: Mapping[str, object]) -> None:
        """Go on from what `state` returned."""
        table = dict(state)
        self.method.load_state_dict(table["method"])  # type: ignore[arg-type]
        load_optimizer(self.optimizer, table["optimizer"], self.process.device)  # type: ignore[arg-type]
        if self._scaler.is_enabled() and table["scaler"]:  # none from another number format
            self._scaler.load_state_dict(table["scaler"])  # type: ignore[arg-type]
        self.step_count = int(table["step"])  # type: ignore[call-overload]
        self.bad_steps = int(table["bad_steps"])  # type: ignore[call-overload]

    def autocast(self) -> torch.autocast:
        """Return the context that a step's forward pass runs in."""
        return torch.autocast(
            self.process.device.type,
            dtype=self.precision.dtype,
            enabled=self.precision.dtype is not None,
        )

    def _terms(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        self._parallel.train()
        with self.autocast():
            terms: dict[str, Tensor] = self._parallel(batch, progress)
        return terms

    def _backward(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Fill the gradients of the sum of `terms`, clip them and return their norm before."""
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.config.clip_norm > 0:
            nn.utils.clip_grads_with_norm_(self._parameters, self.config.clip_norm, norm)
        return norm

    def _outcome(self, terms: Mapping[str, Tensor], norm: Tensor, rate: float) -> Outcome:
        """Fetch all numbers of the step from the device at once and judge them."""
        watched = dict(self.method.diagnostics)
        names = [*terms, *watched]
        values = _fetch([*terms.values(), *watched.values(), norm])
        numbers = dict(zip(names, values, strict=False))
        faults = [name for name in terms if not _is_finite(numbers[name])]
        if not faults and not _is_finite(values[-1]):
            faults = [GRADIENT]
        (bad,) = self.process.any(bool(faults))
        if bad and not faults:
            faults = ["another rank"]
        weighted = {name: numbers[name] for name in terms}
        diagnostics = {name: numbers[name] for name in watched}
        if self.method.dice_scale > 0.0 and "dice" in weighted:
            diagnostics["labeled_dice"] = 1.0 - weighted["dice"] / self.method.dice_scale
        return Outcome(
            loss=sum(weighted.values()),
            terms=weighted,
            diagnostics=diagnostics,
            gradient_norm=values[-1],
            learning_rate=rate,
            faults=tuple(faults),
        )

    def _update(self, rate: float, progress: Progress) -> None:
        set_learning_rate(self.optimizer, rate)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.process.average_(list(self.method.buffers()))
        self.method.after_step(progress)

    def _undo(self, before: Sequence[Tensor]) -> None:
        """Bring back the buffers; the weights, the optimizer and the teacher were not touched."""
        with torch.no_grad():
            for buffer, old in zip(self._buffers, before, strict=True):
                buffer.copy_(old)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.update()

    def _backed_off(self, outcome: Outcome) -> bool:
        overflow = outcome.faults == (GRADIENT,) and self._scaler.is_enabled()
        return overflow and self._scaler.get_scale() >= 1.0

    def _count_bad(self, outcome: Outcome) -> None:
        """Count non-finite steps in a row; one that only backed off is none.

        Raises:
            NonFiniteError: There were too many.
        """
        if not outcome.faults:
            self.bad_steps = 0
        elif not outcome.backed_off:
            self.bad_steps += 1
        if self.bad_steps >= self.config.max_bad_steps:
            raise NonFiniteError(
                f"training: {self.bad_steps} steps in a row were not finite, the last is step "
                f"{self.step_count} ({', '.join(outcome.faults)}); nothing of them was kept; lower "
                "training.learning_rate or set training.precision=fp32 in a new run"
            )


@contextmanager
def refusing_lack_of_memory(step: int, device: torch.device) -> Iterator[None]:
    """Turn a lack of memory in a step, of the device or the machine, into one sentence.

    Raises:
        OutOfMemoryError: There is too little.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"training on {device}: step {step + 1} needs more memory than there is; start a new "
            "run with a smaller training.patch_size, training.unlabeled_batch or "
            f"training.labeled_batch (README, On a GPU); PyTorch: {first_line(error)}"
        ) from error


def _touched_buffers(method: nn.Module) -> list[Tensor]:
    """Return the buffers that a forward pass may change: all but those of a teacher."""
    teachers = [part for part in method.modules() if isinstance(part, Teacher)]
    spared = {id(buffer) for teacher in teachers for buffer in teacher.buffers()}
    return [buffer for buffer in method.buffers() if id(buffer) not in spared]


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch on all devices as a function of the three numbers."""
    digest = hashlib.sha256(struct.pack("<3q", seed, step, rank)).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _fetch(values: Sequence[Tensor | float]) -> list[float]:
    """Return the numbers with one wait for the device at most."""
    tensors = [v.detach().float().reshape(()) for v in values if isinstance(v, Tensor)]
    fetched = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(fetched) if isinstance(v, Tensor) else float(v) for v in values]


def _is_finite(value: float) -> bool:
    return value - value == 0.0
