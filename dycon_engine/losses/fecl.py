"""DyCON's focal entropy-aware contrastive loss (FeCL) over embedding cells, in linear memory.

    L    = mean_i 1/|P(i)| sum_{k in P(i)} F+_ik (log D(i) - S_ik),   S_ij = cos(z_i, z_j) / tau
    D(i) = sum_{P(i)} exp(S_ik) + sum_{q in N(i)} F-_iq (exp(S_iq) + T_i)
    T_i  = 1/K sum of exp(S^t_il) over the K nearest negatives of i in the teacher's embedding
    F+   = (1 - c)^gamma exp(H_i),   F- = c^gamma,   c = (cos + 1) / 2

The N x N matrices never exist: anchors are taken in chunks, and because the loss is a scalar its
gradient is formed in the same pass, so that only (N, E) is kept for backward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-30
FOLD = 16  # columns compared at once in search of the largest
LIFT = 4.0  # raises the cosines of negatives above all others


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
        chosen = valid.to(z.dtype)
        code = torch.where(valid, label.to(z.dtype), torch.nan)  # NaN equals nothing
        for start in range(0, len(z), settings.chunk):
            rows = slice(start, min(start + settings.chunk, len(z)))
            pairs = _pairs(rows, code, chosen)
            hardest = _teacher_term(rows, pairs, partner, settings)
            row_loss, gradient = _chunk(z[rows] @ z.T, pairs, hardest, settings)
            factor = pairs.share * weight[rows, None]
            loss += (row_loss * factor[:, 0]).sum()
            anchors += pairs.kept.sum()
            weight_gradient[rows] = row_loss * pairs.share[:, 0]
            z_gradient[rows] += (gradient @ z).mul_(factor)
            z_gradient.addmm_(gradient.T, z[rows] * factor)
        scale = 1.0 / anchors.clamp_min(1.0)
        ctx.save_for_backward(z_gradient.mul_(scale), weight_gradient.mul_(scale))
        return loss * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z_gradient, weight_gradient = ctx.saved_tensors
        return grad * z_gradient, grad * weight_gradient, None, None, None, None


class _Pairs(NamedTuple):
    positive: Tensor  # (A, N), 1 for the other valid cells of the anchor's class, else 0
    negative: Tensor  # (A, N), 1 for the valid cells of other classes, else 0
    share: Tensor  # (A, 1), 1 / |P(i)|, 0 for anchors left out
    kept: Tensor  # (A,) bool


def _pairs(rows: slice, code: Tensor, chosen: Tensor) -> _Pairs:
    """Return who is whose positive and negative.

    Args:
        rows: The anchors.
        code: (N,) class of each cell, NaN where it is not valid.
        chosen: (N,) 1 where it is valid, else 0.
    """
    negative = torch.outer(chosen[rows], chosen)
    positive = torch.empty_like(negative)
    torch.eq(code[rows, None], code, out=positive)
    negative.sub_(positive)
    positive[:, rows].fill_diagonal_(0.0)
    count = positive.sum(1, keepdim=True)
    share = torch.where(count > 0, 1.0 / count.clamp_min(1.0), 0.0)
    return _Pairs(positive, negative, share, count[:, 0] > 0)


def _teacher_term(
    rows: slice, pairs: _Pairs, partner: Tensor | None, settings: FeclSettings
) -> Tensor:
    """Return T_i (A, 1): the mean of the K largest exp(S^t) among the negatives."""
    if partner is None:
        return torch.zeros_like(pairs.share)
    lifted = (partner[rows] @ partner.T).add_(pairs.negative, alpha=LIFT)
    k = settings.teacher_negatives
    nearest = _largest(lifted, min(k, lifted.shape[1])) - LIFT
    exponentials = torch.where(nearest < -LIFT / 2, 0.0, (nearest / settings.tau).exp())
    return exponentials.sum(1, keepdim=True) / k


def _largest(values: Tensor, k: int) -> Tensor:
    """Return the `k` largest of each row of (A, N), (A, k), in any order.

    The k largest lie in the k columns of a folded row whose maxima are largest; finding those is
    several times cheaper than one selection among all N.
    """
    rows, n = values.shape
    columns = n // FOLD
    if columns < k:
        return values.topk(k, dim=1, sorted=False).values
    folded = values[:, : columns * FOLD].view(rows, FOLD, columns)
    best = folded.amax(1).topk(k, dim=1, sorted=False).indices
    candidates = folded.gather(2, best[:, None].expand(-1, FOLD, -1)).flatten(1)
    rest = values[:, columns * FOLD :]
    return torch.cat((candidates, rest), 1).topk(k, dim=1, sorted=False).values


def _chunk(
    cosine: Tensor, pairs: _Pairs, hardest: Tensor, settings: FeclSettings
) -> tuple[Tensor, Tensor]:
    """Return the loss of each anchor (A,) and its gradient with respect to the cosines (A, N).

    Both lack the anchor's factor weight / |P(i)|. Exponents stay below 1 / tau <= 20, so float32
    needs no shift.
    """
    tau, gamma = settings.tau, settings.gamma
    cosine.clamp_(-1.0, 1.0)
    e = (cosine / tau).exp_()
    half = cosine.new_tensor(0.5)  # c = (cos + 1) / 2
    pull, push = pairs.positive, pairs.negative
    if settings.focal:
        pull = torch.sub(half, cosine, alpha=0.5).pow_(gamma).mul_(pull)
        push = torch.add(half, cosine, alpha=0.5).pow_(gamma).mul_(push)
    terms = torch.add(pairs.positive, push).mul_(e)
    total = terms.sum(1, keepdim=True) + hardest * push.sum(1, keepdim=True)
    total.clamp_min_(TINY)
    log_d = total.log()
    pulls = pull.sum(1, keepdim=True)
    row_loss = pulls * log_d - torch.linalg.vecdot(pull, cosine)[:, None] / tau
    gradient = terms.mul_(pulls / total).sub_(pull).div_(tau)
    if settings.focal and not settings.detach_weights:
        d_pull = torch.sub(half, cosine, alpha=0.5).pow_(gamma - 1.0).mul_(pairs.positive)
        d_push = torch.add(half, cosine, alpha=0.5).pow_(gamma - 1.0).mul_(pairs.negative)
        gradient -= d_pull.mul_(0.5 * gamma).mul_(log_d - cosine / tau)
        gradient += d_push.mul_(0.5 * gamma * pulls / total).mul_(e.add_(hardest))
    return row_loss[:, 0], gradient
