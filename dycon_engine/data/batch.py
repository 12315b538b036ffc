"""What one training step sees."""

from __future__ import annotations

from dataclasses import dataclass

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

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Batch:
        """Return the batch on `device`."""
        return Batch(
            self.image.to(device, non_blocking=non_blocking),
            self.label.to(device, non_blocking=non_blocking),
            self.unlabeled.to(device, non_blocking=non_blocking),
        )
