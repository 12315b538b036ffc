"""Notices when the student stops seeing foreground in unlabeled patches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dycon_engine.data.batch import Batch
from dycon_engine.losses.uncertainty import foreground_fraction

MESSAGE = "foreground is collapsing"
ENTROPY = "method.entropy_coefficient"
WEIGHTS = "the weights of the unlabeled terms (method.*_weight), the largest first"


@torch.no_grad()
def foregrounds(batch: Batch, p: Tensor, where: Tensor | None = None) -> dict[str, Tensor | float]:
    """Return the foreground of the labels and of p (U, K, D, H, W) on the unlabeled patches.

    `where` (U, D, H, W) bool leaves out what labeled patches were mixed in; None = all.
    """
    return {
        "foreground_labeled": (batch.label > 0).float().mean(),
        "foreground_unlabeled": foreground_fraction(p, where),
    }


def cure(config: object) -> str:
    """Return which settings of a method to lower where its foreground collapses."""
    coefficient = getattr(config, "entropy_coefficient", 0.0)  # None: it follows beta
    return ENTROPY if coefficient is None or coefficient > 0.0 else WEIGHTS


class CollapseWatch:
    """Compares the foreground of predictions on unlabeled patches with that of the labels.

    Alarms where it is next to nothing, or has fallen to a part of what it was. Labeled patches may
    be centered on foreground, so the share is small; both fractions are averaged over about 20
    steps, so a few empty patches do not alarm.
    """

    def __init__(
        self,
        cure: str = WEIGHTS,
        *,
        share: float = 0.05,
        fallen: float = 0.33,
        settling: int = 200,
        patience: int = 50,
        memory: float = 0.95,
    ) -> None:
        """Start to watch.

        Args:
            cure: What to lower.
            share: Of the labels' foreground; less is a collapse.
            fallen: Of the most that it was against the labels; less is a collapse. Over 20 runs on
                the left atrium healthy ones never fell below .64.
            settling: Steps before that most is looked for; a new network marks anything.
            patience: So many steps in a row must be below before it is told.
            memory: Decay of the averages.
        """
        self.cure = cure
        self.share = share
        self.fallen = fallen
        self.settling = settling
        self.patience = patience
        self.memory = memory
        self._labeled = 0.0
        self._unlabeled = 0.0
        self._most = 0.0
        self._steps = 0
        self._low_steps = 0
        self._told = False

    def update(self, diagnostics: Mapping[str, float]) -> str | None:
        """Take the diagnostics of one step; return the warning once per collapse, else None."""
        if "foreground_unlabeled" not in diagnostics:
            return None
        labeled, unlabeled = diagnostics["foreground_labeled"], diagnostics["foreground_unlabeled"]
        self._labeled = self.memory * self._labeled + (1.0 - self.memory) * float(labeled)
        self._unlabeled = self.memory * self._unlabeled + (1.0 - self.memory) * float(unlabeled)
        self._steps += 1
        if self._steps > self.settling and self._labeled > 0.0:
            self._most = max(self._most, self._unlabeled / self._labeled)
        least = max(self.share, self.fallen * self._most)
        if self._unlabeled >= least * self._labeled:
            self._low_steps, self._told = 0, False
            return None
        self._low_steps += 1
        if self._told or self._low_steps < self.patience:
            return None
        self._told = True
        return (
            f"{MESSAGE}: lower {self.cure} (student marks {100.0 * self._unlabeled:.2f} % of "
            f"unlabeled voxels, the labels {100.0 * self._labeled:.2f} %)"
        )
