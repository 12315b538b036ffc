"""What one training step sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One training batch. Unlabeled patches carry no label, so no method can look at one.

    Attributes:
        image: (B, C, D, H, W) float32 labeled patches.
        label: (B, D, H, W) int64 class index of `image`.
        unlabeled: (U, C, D, H, W) float32; U = 0 for supervised training.
    """

    image: Tensor
    label: Tensor
    unlabeled: Tensor

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """Return the batch on `device`."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the batch with every tensor changed."""
        fields = dataclasses.fields(self)
        return dataclasses.replace(self, **{f.name: change(getattr(self, f.name)) for f in fields})


@dataclass(frozen=True)
class AuditBatch(Batch):
    """A batch that shows what no method may see: for the audit of the published label leak alone.

    Only `data.hidden` makes the labels and only a method that says `sees_hidden_labels` gets one.

    Attributes:
        hidden: (U, D, H, W) int64 class index of `unlabeled`.
    """

    hidden: Tensor
