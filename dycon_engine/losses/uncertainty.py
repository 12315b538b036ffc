"""What a network believes of each voxel: log-probabilities once, and how unsure they are."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-12


class Posterior(NamedTuple):
    """Class probabilities, computed once per forward pass and shared by every loss.

    Attributes:
        log_p: (B, K, D, H, W) float32 (float64 for float64 logits), log-softmax of the logits.
        p: The same shape, its exponential.
    """

    log_p: Tensor
    p: Tensor


def posterior(logits: Tensor) -> Posterior:
    """Return the probabilities of `logits` (B, K, D, H, W), float32 also under autocast."""
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    log_p = F.log_softmax(logits, dim=1, dtype=wide)
    return Posterior(log_p, log_p.exp())


def entropy(belief: Posterior) -> Tensor:
    """Return H = -sum_c p_c log p_c in nats, (B, D, H, W), in [0, ln K]."""
    return -(belief.p * belief.log_p).sum(1)


def foreground_fraction(p: Tensor, where: Tensor | None = None) -> Tensor:
    """Return the share of voxels whose likeliest class is not background.

    Args:
        p: (B, K, D, H, W).
        where: (B, D, H, W) bool, the voxels that count; None = all. 0 where none counts.
    """
    found = (p[:, 1:].amax(1) > p[:, 0]).float()
    if where is None:
        return found.mean()
    return (found * where).sum() / where.sum().clamp_min(1)


def gambling_entropy(p: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the entropy H_gs of the gambling softmax in nats, (N,), in [0, ln K].

    q_c is proportional to softmax(log p / temperature)_c + (1 - max p): a gambler who hedges every
    class by the doubt left in the best one. 0 where p is certain.

    Args:
        p: (N, K) probabilities.
        temperature: Above 1 flattens, below 1 sharpens p first.

    Source: DyCON, FeCL's entropy weight. The paper names the function; this form is our reading.
    """
    sharpened = torch.softmax(p.clamp_min(TINY).log() / temperature, dim=1)
    hedged = sharpened + (1.0 - p.amax(1, keepdim=True)).clamp_min(0.0)
    q = hedged / hedged.sum(1, keepdim=True)
    return -(q * q.clamp_min(TINY).log()).sum(1)
