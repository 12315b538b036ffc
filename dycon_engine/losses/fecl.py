"""DyCON's focal entropy-aware contrastive loss (FeCL) over embedding cells, in linear memory.

    L    = mean_i 1/|P(i)| sum_{k in P(i)} F+_ik (log D(i) - S_ik),   S_ij = cos(z_i, z_j) / tau
    D(i) = sum_{P(i)} exp(S_ik) + sum_{q in N(i)} F-_iq (exp(S_iq) + T_i)
    T_i  = 1/K sum of exp(S^t_il) over the K nearest negatives of i in the teacher's embedding
    F+   = (1 - c)^gamma exp(H_i),   F- = c^gamma,   c = (cos + 1) / 2

The N x N matrices never exist: anchors are taken in chunks, and because the loss is a scalar its
gradient is formed in the same pass, so that only (N, E) is kept for backward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-30


@dataclass(frozen=True, kw_only=True)
class FeclSettings:
    """The numbers and switches of FeCL.

    Attributes:
        tau: Temperature of the similarities, >= 0.05 (float32 exponents then stay in range).
        gamma: Focal exponent, >= 0.
        focal: F+ and F- as above; False sets (1 - c)^gamma and c^gamma to 1.
        teacher_negatives: K; 0 leaves T_i out.
        detach_weights: No gradient through F+ and F-.
        chunk: Anchors held at once; memory grows with chunk * N.
    """

    tau: float = 0.6
    gamma: float = 2.0
    focal: bool = True
    teacher_negatives: int = 5
    detach_weights: bool = True
    chunk: int = 256


def fecl(
    embedding: Tensor,
    label: Tensor,
    valid: Tensor,
    *,
    teacher_embedding: Tensor | None = None,
    anchor_weight: Tensor | None = None,
    settings: FeclSettings | None = None,
) -> Tensor:
    """Return FeCL, a scalar; 0 with a zero gradient where no valid anchor has a positive.

    Args:
        embedding: (N, E) student embeddings, normalised here.
        label: (N,) int64 class of each cell.
        valid: (N,) bool; other cells are neither anchors, positives nor negatives.
        teacher_embedding: (N, E) of the same cells, no gradient; needed for teacher negatives.
        anchor_weight: (N,) exp(H_i); None = 1, the entropy weighting switched off.
        settings: Numbers and switches; None = the defaults.

    Source: DyCON (CVPR 2025), FeCL. Deviations: self excluded, anchors without a positive left out
    of the mean, F- really acts on the negatives, S^t is taken between teacher embeddings.
    """
    settings = settings or FeclSettings()
    with torch.autocast(embedding.device.type, enabled=False):
        z = F.normalize(_wide(embedding), dim=1)
        weight = z.new_ones(len(z)) if anchor_weight is None else _wide(anchor_weight)
        if settings.detach_weights:
            weight = weight.detach()
        partner: Tensor | None = None
        if teacher_embedding is not None and settings.teacher_negatives > 0:
            partner = F.normalize(_wide(teacher_embedding.detach()), dim=1)
        loss: Tensor = _Fecl.apply(z, weight, label, valid, partner, settings)  # type: ignore[no-untyped-call]
    return loss


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


class _Fecl(torch.autograd.Function):
    """Loss and gradient in one chunked pass."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - autograd passes positional tensors
        ctx: Any,
        z: Tensor,
        weight: Tensor,
        label: Tensor,
        valid: Tensor,
        partner: Tensor | None,
        settings: FeclSettings,
    ) -> Tensor:
        loss, anchors = z.new_zeros(()), z.new_zeros(())
        z_gradient, weight_gradient = torch.zeros_like(z), torch.zeros_like(weight)
        for start in range(0, len(z), settings.chunk):
            rows = slice(start, min(start + settings.chunk, len(z)))
            pairs = _pairs(rows, label, valid, z.dtype)
            hardest = _teacher_term(rows, pairs, partner, settings)
            row_loss, gradient = _chunk(z[rows] @ z.T, weight[rows], pairs, hardest, settings)
            loss += row_loss.sum()
            anchors += pairs.kept.sum()
            weight_gradient[rows] = row_loss / weight[rows]
            z_gradient[rows] += gradient @ z
            z_gradient.addmm_(gradient.T, z[rows])
        scale = 1.0 / anchors.clamp_min(1.0)
        ctx.save_for_backward(z_gradient.mul_(scale), weight_gradient.mul_(scale))
        return loss * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z_gradient, weight_gradient = ctx.saved_tensors
        return grad * z_gradient, grad * weight_gradient, None, None, None, None


class _Pairs(NamedTuple):
    positive: Tensor  # (A, N) bool
    negative: Tensor  # (A, N) bool
    share: Tensor  # (A, 1), 1 / |P(i)|, 0 for anchors left out
    kept: Tensor  # (A,) bool


def _pairs(rows: slice, label: Tensor, valid: Tensor, dtype: torch.dtype) -> _Pairs:
    both = valid[rows, None] & valid[None, :]
    same = label[rows, None] == label[None, :]
    negative = both & ~same
    positive = both & same
    positive[:, rows].fill_diagonal_(False)
    count = positive.sum(1, keepdim=True).to(dtype)
    share = torch.where(count > 0, 1.0 / count.clamp_min(1), 0.0)
    return _Pairs(positive, negative, share, count[:, 0] > 0)


def _teacher_term(
    rows: slice, pairs: _Pairs, partner: Tensor | None, settings: FeclSettings
) -> Tensor | None:
    """Return log T_i (A, 1): the log of the mean of the K largest exp(S^t) among the negatives."""
    if partner is None:
        return None
    similarity = (partner[rows] @ partner.T).div_(settings.tau)
    similarity.masked_fill_(~pairs.negative, -torch.inf)
    k = settings.teacher_negatives
    nearest = similarity.topk(min(k, similarity.shape[1]), dim=1).values
    return nearest.logsumexp(1, keepdim=True) - math.log(k)


def _chunk(
    cosine: Tensor, weight: Tensor, pairs: _Pairs, hardest: Tensor | None, settings: FeclSettings
) -> tuple[Tensor, Tensor]:
    """Return the loss of each anchor (A,) and its gradient with respect to the cosines (A, N)."""
    tau, gamma = settings.tau, settings.gamma
    positive, negative = pairs.positive.to(cosine.dtype), pairs.negative.to(cosine.dtype)
    shift = 1.0 / tau  # the largest similarity there is
    s = cosine / tau
    e = (s - shift).exp_()
    base = positive * (pairs.share * weight[:, None])
    pull, push = base, negative
    if settings.focal:
        closeness = ((cosine + 1.0) / 2.0).clamp_(0.0, 1.0)
        pull = base * (1.0 - closeness).pow_(gamma)
        push = negative * closeness.pow(gamma)
    extra = torch.zeros_like(pairs.share) if hardest is None else (hardest - shift).exp()
    terms = positive.add_(push).mul_(e)
    total = terms.sum(1, keepdim=True) + extra * push.sum(1, keepdim=True)
    total.clamp_min_(TINY)
    log_d = total.log() + shift
    mean_pull = pull.sum(1, keepdim=True)
    row_loss = mean_pull * log_d - (pull * s).sum(1, keepdim=True)
    gradient = terms.mul_(mean_pull / total).sub_(pull).div_(tau)
    if settings.focal and not settings.detach_weights:
        d_pull = -0.5 * gamma * (1.0 - closeness).pow_(gamma - 1.0) * base
        d_push = 0.5 * gamma * closeness.pow_(gamma - 1.0) * negative
        gradient += d_pull * (log_d - s) + d_push * (e + extra) * (mean_pull / total)
    return row_loss[:, 0], gradient
