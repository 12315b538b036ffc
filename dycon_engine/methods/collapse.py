"""Notices when the student stops seeing foreground in unlabeled patches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dycon_engine.data.batch import Batch
from dycon_engine.losses.uncertainty import foreground_fraction

MESSAGE = "foreground is collapsing: lower method.entropy_coefficient"


@torch.no_grad()
def foregrounds(batch: Batch, p: Tensor) -> dict[str, Tensor | float]:
    """Return the foreground of the labels and of p (U, K, D, H, W) on the unlabeled patches."""
    return {
        "foreground_labeled": (batch.label > 0).float().mean(),
        "foreground_unlabeled": foreground_fraction(p),
    }


class CollapseWatch:
    """Compares the foreground of predictions on unlabeled patches with that of the labels.

    Labeled patches may be centered on foreground, so the share is small; both fractions are
    averaged over about 20 steps, so a few empty patches do not alarm.
    """

    def __init__(self, *, share: float = 0.05, patience: int = 50, memory: float = 0.95) -> None:
        """Alarm after `patience` steps below `share`; `memory` is the averages' decay."""
        self.share = share
        self.patience = patience
        self.memory = memory
        self._labeled = 0.0
        self._unlabeled = 0.0
        self._low_steps = 0
        self._told = False

    def update(self, diagnostics: Mapping[str, float]) -> str | None:
        """Take the diagnostics of one step; return the warning once per collapse, else None."""
        if "foreground_unlabeled" not in diagnostics:
            return None
        labeled, unlabeled = diagnostics["foreground_labeled"], diagnostics["foreground_unlabeled"]
        self._labeled = self.memory * self._labeled + (1.0 - self.memory) * float(labeled)
        self._unlabeled = self.memory * self._unlabeled + (1.0 - self.memory) * float(unlabeled)
        if self._unlabeled >= self.share * self._labeled:
            self._low_steps, self._told = 0, False
            return None
        self._low_steps += 1
        if self._told or self._low_steps < self.patience:
            return None
        self._told = True
        return (
            f"{MESSAGE} (student marks {100.0 * self._unlabeled:.2f} % of unlabeled voxels, the "
            f"labels {100.0 * self._labeled:.2f} %)"
        )
