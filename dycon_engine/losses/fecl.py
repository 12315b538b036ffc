"""DyCON's focal entropy-aware contrastive loss (FeCL) over embedding cells, in linear memory.

    L    = mean_i 1/|P(i)| sum_{k in P(i)} F+_ik (log D(i) - S_ik),   S_ij = cos(z_i, z_j) / tau
    D(i) = sum_{P(i)} exp(S_ik) + sum_{q in N(i)} F-_iq (exp(S_iq) + T_i)
    T_i  = 1/K sum of exp(S^t_il) over the K nearest negatives of i in the teacher's embedding; K
           also where there are fewer: those that are missing add nothing
    F+   = (1 - c)^gamma exp(H_i),   F- = c^gamma,   c = (cos + 1) / 2

The N x N matrices never exist: anchors are taken in chunks, and because the loss is a scalar its
gradient is formed in the same pass, so that only (N, E) is kept for backward. The n valid cells are
sorted by class beforehand: the positives and negatives of a chunk of one class are then blocks of
columns, and no masks are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-30
STEEPEST = 1e-4  # base of a focal weight whose slope has no end at 0
FOLD = 16  # columns compared at once in search of the largest


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
    order, counts = _by_class(label, valid)
    with torch.autocast(embedding.device.type, enabled=False):
        z = F.normalize(_wide(embedding).index_select(0, order), dim=1)
        weight = z.new_ones(len(z)) if anchor_weight is None else _wide(anchor_weight)[order]
        if settings.detach_weights:
            weight = weight.detach()
        partner: Tensor | None = None
        if teacher_embedding is not None and settings.teacher_negatives > 0:
            partner = F.normalize(_wide(teacher_embedding.detach()).index_select(0, order), dim=1)
        loss: Tensor = _Fecl.apply(z, weight, partner, counts, settings)  # type: ignore[no-untyped-call]
    return loss


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _by_class(label: Tensor, valid: Tensor) -> tuple[Tensor, list[int]]:
    """Return the indices (n,) of the valid cells, class after class, and the size of each class.

    On a GPU this waits for the labels.
    """
    chosen = valid.nonzero()[:, 0]
    classes, order = label[chosen].sort(stable=True)
    counts = torch.unique_consecutive(classes, return_counts=True)[1]
    return chosen[order], counts.tolist()


class _Anchors(NamedTuple):
    """A of the cells, all of one class.

    Attributes:
        rows: Which cells.
        own: All cells of their class.
    """

    rows: slice
    own: slice

    @property
    def others(self) -> tuple[slice, slice]:
        """The negatives: before and behind the own class; may be empty."""
        return slice(0, self.own.start), slice(self.own.stop, None)


def _anchors(counts: Sequence[int], chunk: int) -> Iterator[_Anchors]:
    """Yield the cells of classes with two cells or more, at most `chunk` at once."""
    start = 0
    for count in counts:
        own = slice(start, start + count)
        start = own.stop
        if count > 1:
            for first in range(own.start, own.stop, chunk):
                yield _Anchors(slice(first, min(first + chunk, own.stop)), own)


class _Fecl(torch.autograd.Function):
    """Loss and gradient in one chunked pass over the sorted cells."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        weight: Tensor,
        partner: Tensor | None,
        counts: Sequence[int],
        settings: FeclSettings,
    ) -> Tensor:
        loss = z.new_zeros(())
        z_gradient, weight_gradient = torch.zeros_like(z), torch.zeros_like(weight)
        total = sum(count for count in counts if count > 1)
        for anchors in _anchors(counts, settings.chunk):
            rows, own = anchors
            share = 1.0 / (total * (own.stop - own.start - 1))
            factor = weight[rows, None] * share
            similarity = (z[rows] / settings.tau) @ z.T
            hardest = _teacher_term(anchors, partner, settings)
            row_loss, gradient = _chunk(similarity, anchors, hardest, factor, settings)
            loss += torch.dot(row_loss, factor[:, 0])
            weight_gradient[rows] = row_loss * share
            z_gradient[rows] += gradient @ z
            z_gradient.addmm_(gradient.T, z[rows])
        ctx.save_for_backward(z_gradient.div_(settings.tau), weight_gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z_gradient, weight_gradient = ctx.saved_tensors
        return grad * z_gradient, grad * weight_gradient, None, None, None


def _teacher_term(
    anchors: _Anchors, partner: Tensor | None, settings: FeclSettings
) -> Tensor | float:
    """Return T_i (A, 1): 1/K of the sum of the K largest exp(S^t) among the negatives."""
    if partner is None:
        return 0.0
    k, mine = settings.teacher_negatives, partner[anchors.rows]
    near = torch.cat([_largest(mine @ partner[part].T, k) for part in anchors.others], 1)
    return (_largest(near, k) / settings.tau).exp_().sum(1, keepdim=True) / k


def _largest(values: Tensor, k: int) -> Tensor:
    """Return the `k` largest of each row of (A, n), (A, min(k, n)), in any order.

    The k largest lie in the k columns of a folded row whose maxima are largest; finding those is
    several times cheaper than one selection among all n.
    """
    rows, n = values.shape
    columns = n // FOLD
    if columns < k:
        return values.topk(min(k, n), dim=1, sorted=False).values
    folded = values[:, : columns * FOLD].view(rows, FOLD, columns)
    best = folded.amax(1).topk(k, dim=1, sorted=False).indices
    candidates = folded.gather(2, best[:, None].expand(-1, FOLD, -1)).flatten(1)
    rest = values[:, columns * FOLD :]
    return torch.cat((candidates, rest), 1).topk(k, dim=1, sorted=False).values


def _chunk(
    similarity: Tensor,
    anchors: _Anchors,
    hardest: Tensor | float,
    factor: Tensor,
    settings: FeclSettings,
) -> tuple[Tensor, Tensor]:
    """Return the loss of each anchor (A,), and `factor` (A, 1) times its gradient (A, n).

    The gradient is the one with respect to `similarity` (A, n), S. Its exponents stay below
    1 / tau <= 20, so float32 needs no shift.
    """
    own, half = similarity[:, anchors.own], 0.5 * settings.tau
    terms = similarity.exp()
    pull = _power(own, -half, settings.gamma) if settings.focal else torch.ones_like(own)
    for part in (terms[:, anchors.own], pull):  # a cell is not its own positive
        part.diagonal(anchors.rows.start - anchors.own.start).zero_()
    pushes = torch.full_like(factor, 0.0 if settings.focal else len(similarity.T) - len(own.T))
    if settings.focal:
        for columns in anchors.others:
            push = _power(similarity[:, columns], half, settings.gamma)
            pushes += push.sum(1, keepdim=True)
            terms[:, columns].mul_(push)
    total = terms.sum(1, keepdim=True).add_(hardest * pushes).clamp_min_(TINY)
    pulls, log_d = pull.sum(1, keepdim=True), total.log()
    row_loss = pulls * log_d - torch.linalg.vecdot(pull, own)[:, None]
    pulled = pulls / total * factor
    gradient = terms.mul_(pulled)
    gradient[:, anchors.own].addcmul_(pull, factor, value=-1.0)
    slope = half * settings.gamma
    if settings.focal and not settings.detach_weights and slope > 0.0:
        d_pull = _power(own, -half, settings.gamma - 1.0).mul_(log_d - own).mul_(-slope * factor)
        d_pull.diagonal(anchors.rows.start - anchors.own.start).zero_()
        gradient[:, anchors.own].add_(d_pull)
        for columns in anchors.others:
            near = similarity[:, columns]
            d_push = _power(near, half, settings.gamma - 1.0).mul_(slope * pulled)
            gradient[:, columns].addcmul_(d_push, near.exp().add_(hardest))
    return row_loss[:, 0], gradient


def _power(similarity: Tensor, slope: float, power: float) -> Tensor:
    """Return (1/2 + slope S)^power, a focal weight or a factor of its derivative."""
    base = torch.add(similarity.new_full((), 0.5), similarity, alpha=slope)
    if power == 2.0:  # noqa: PLR2004
        return base.square_()
    return base.clamp_min_(0.0 if power >= 0.0 else STEEPEST).pow_(power)
