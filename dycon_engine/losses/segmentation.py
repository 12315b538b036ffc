"""Losses against a reference label map: cross-entropy and soft Dice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(log_p: Tensor, label: Tensor) -> Tensor:
    """Return the mean over voxels of -log p of the reference class, a scalar.

    Args:
        log_p: (B, K, D, H, W) log-probabilities.
        label: (B, D, H, W) int64 class index.
    """
    if _needs_ordered_sum(log_p.device):
        return F.nll_loss(log_p, label, reduction="none").mean()
    return F.nll_loss(log_p, label)


def dice_loss(p: Tensor, label: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Return 1 - soft Dice, averaged over the foreground classes, a scalar in [0, 1].

    The sums run over all voxels of the batch, so that a patch without foreground does not dominate:
    Dice_c = (2 sum p_c y_c + smooth) / (sum p_c + sum y_c + smooth).

    Args:
        p: (B, K, D, H, W) probabilities.
        label: (B, D, H, W) int64 class index.
        smooth: Voxels added to both sides; makes an absent class, rightly not predicted, perfect.
    """
    classes = torch.arange(1, p.shape[1], device=label.device).view(1, -1, 1, 1, 1)
    truth = label.unsqueeze(1) == classes
    foreground = p[:, 1:]
    axes = (0, 2, 3, 4)
    overlap = (foreground * truth).sum(axes)
    size = foreground.sum(axes) + truth.sum(axes)
    return 1.0 - ((2.0 * overlap + smooth) / (size + smooth)).mean()


def _needs_ordered_sum(device: torch.device) -> bool:
    """Return whether the loss must be summed apart: CUDA's own sum of it has no fixed order."""
    return device.type == "cuda" and torch.are_deterministic_algorithms_enabled()
