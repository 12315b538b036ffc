"""The EMA teacher: a frozen copy that follows the student.

Decisions: the teacher starts as an exact copy; it is always in evaluation mode, so batch norm uses
the buffers it inherited (averaged like the weights) and never its own batch; no gradient is kept.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dycon_engine.errors import InputError
from dycon_engine.networks.base import Network
from dycon_engine.schedules import Progress, ema_decay

CLOSE = 0.99


class Logits(nn.Module):
    """A `Network` seen as image (B, C, D, H, W) -> logits (B, K, D, H, W)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of `image`."""
        return self.network(image).logits


class Teacher(nn.Module):
    """A copy of `student` that only `follow` changes."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(student).requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002 - the mode never changes
        """Stay in evaluation mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, image: Tensor, *, dropout: bool = False) -> Any:
        """Return what the module returns, without a graph; `dropout` draws at random (UA-MT)."""
        if dropout:
            for part in self.module.modules():
                part.training = not isinstance(part, _BatchNorm)
        try:
            return self.module(image)
        finally:
            if dropout:
                self.module.eval()

    @torch.no_grad()
    def embed(self, image: Tensor) -> Tensor:
        """Return what the module's `embed` returns, without a graph."""
        embedding: Tensor = self.module.embed(image)  # type: ignore[operator]
        return embedding

    @torch.no_grad()
    def follow(self, student: nn.Module, decay: float) -> None:
        """Set every weight and buffer to decay * own + (1 - decay) * student; counters are copied.

        Args:
            student: The module this one is a copy of.
            decay: In [0, 1].
        """
        own_tensors = [*self.module.parameters(), *self.module.buffers()]
        pairs = list(zip(own_tensors, [*student.parameters(), *student.buffers()], strict=True))
        moving = [(own, new) for own, new in pairs if own.is_floating_point()]
        torch._foreach_lerp_([own for own, _ in moving], [new for _, new in moving], 1.0 - decay)
        for own, new in pairs:
            if not own.is_floating_point():
                own.copy_(new)


class Pair(nn.Module):
    """Student and teacher, and which of the two predicts."""

    def __init__(self, student: nn.Module, *, maximum_decay: float, predict_with: str) -> None:
        super().__init__()
        self.student = student
        self.teacher = Teacher(student)
        self.maximum_decay = maximum_decay
        self.predict_with = predict_with

    def after_step(self, progress: Progress, *, close: bool = False) -> None:
        """Move the teacher; `progress.step` counts the optimizer steps done before this one.

        `close` keeps it at most a hundred steps behind the student, whatever the decay.
        """
        maximum = min(self.maximum_decay, CLOSE) if close else self.maximum_decay
        self.teacher.follow(self.student, ema_decay(progress.step, maximum))

    def predictor(self) -> Logits:
        """Return the view that is validated and shipped."""
        return Logits(_network(self._predicting()))

    def partner(self) -> Logits:
        """Return the student's view."""
        return Logits(_network(self.student))

    def _predicting(self) -> nn.Module:
        return self.teacher.module if self.predict_with == "teacher" else self.student


def _network(module: nn.Module) -> Network:
    if isinstance(module, Network):
        return module
    return next(part for part in module.children() if isinstance(part, Network))


def require_unlabeled(unlabeled: Tensor, method: str) -> None:
    """Refuse a batch without unlabeled patches.

    Raises:
        InputError: `unlabeled` (U, C, D, H, W) has U = 0.
    """
    if not len(unlabeled):
        raise InputError(
            f"method '{method}': found no unlabeled patches, expected at least 1; set "
            "training.unlabeled_batch above 0 and add unlabeled cases, or use method 'supervised'"
        )
