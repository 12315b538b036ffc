"""Two networks that teach each other: pseudo labels, and which voxels of them count."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dycon_engine.losses.segmentation import dice_loss
from dycon_engine.losses.uncertainty import Posterior, entropy


def cross_pseudo_loss(student: Posterior, other: Posterior, *, kl_weighting: bool = True) -> Tensor:
    """Return mean[ exp(-D) CE(student, argmax other) ] + mean D, a scalar.

    D = KL(p_other || p_student) per voxel, so a pseudo label counts less where the two differ. No
    gradient reaches `other`; it passes the weight, which the second mean keeps from growing small.

    Args:
        student: Probabilities (B, K, D, H, W) that gradients train.
        other: The same shape, of the other network.
        kl_weighting: Off: mean CE(student, argmax other), plain cross pseudo supervision.

    Source: Lu et al. 2025, after Zheng & Yang (IJCV 2021); Chen et al. (CVPR 2021) without weights.
    """
    surprise = F.nll_loss(student.log_p, other.p.argmax(1), reduction="none")
    if not kl_weighting:
        return surprise.mean()
    p, log_p = other.p.detach(), other.log_p.detach()
    divergence = (p * (log_p - student.log_p)).sum(1)
    return ((-divergence).exp() * surprise).mean() + divergence.mean()


def disagreement(one: Posterior, other: Posterior, confidence: float) -> Tensor:
    """Return where both are surer than `confidence`, of different classes: (B, D, H, W) bool."""
    (p, label), (q, other_label) = one.p.max(1), other.p.max(1)
    return (label != other_label) & (p > confidence) & (q > confidence)


def masked_cross_entropy(belief: Posterior, label: Tensor, mask: Tensor) -> Tensor:
    """Return the mean cross-entropy over the voxels in `mask`, a scalar; 0 where it is empty.

    Args:
        belief: Probabilities (B, K, D, H, W).
        label: (B, D, H, W) int64.
        mask: The same shape, bool.
    """
    surprise = F.nll_loss(belief.log_p, label, reduction="none")
    return (surprise * mask).sum() / mask.sum().clamp_min(1)


def masked_supervision(belief: Posterior, label: Tensor, mask: Tensor) -> Tensor:
    """Return cross-entropy plus Dice of the voxels in `mask` alone; arguments as above."""
    dice = dice_loss(belief.p * mask.unsqueeze(1), label * mask)
    return masked_cross_entropy(belief, label, mask) + dice


def masked_squared_error(belief: Posterior, label: Tensor, mask: Tensor) -> Tensor:
    """Return half the mean of sum_c (p_c - y_c)^2 over the voxels in `mask`; arguments as above.

    For two classes the squared error of the foreground's probability.
    """
    truth = F.one_hot(label, belief.p.shape[1]).movedim(-1, 1)
    squared = 0.5 * (belief.p - truth).square().sum(1)
    return (squared * mask).sum() / mask.sum().clamp_min(1)


@torch.no_grad()
def low_entropy(one: Posterior, other: Posterior, share: float) -> Tensor:
    """Return the voxels that at least one network is sure of, (B, D, H, W) bool.

    Dropped are those whose entropy lies above the quantile `share` of the batch in both.
    """
    unsure = [_above_quantile(entropy(belief), share) for belief in (one, other)]
    return ~(unsure[0] & unsure[1])


def _above_quantile(values: Tensor, share: float) -> Tensor:
    flat = values.flatten()
    rank = min(max(round(share * len(flat)), 1), len(flat))
    return values > flat.kthvalue(rank).values
