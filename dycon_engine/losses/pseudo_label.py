"""Learning from the teacher's soft labels on unlabeled patches, less where it is unsure."""

from __future__ import annotations

import torch
from torch import Tensor

from dycon_engine.losses.uncertainty import TINY, Posterior, entropy


def pseudo_label_loss(
    student: Posterior,
    teacher: Posterior,
    *,
    beta: float,
    where: Tensor | None = None,
    smooth: float = 1.0,
) -> Tensor:
    """Return soft cross-entropy plus soft Dice of `student` against `teacher`, a scalar.

    sum_i w_i CE(p_t,i, p_s,i) / sum_i w_i + 1 - mean_c [ (2 sum_i w_i p_s p_t + smooth) /
    (sum_i w_i (p_s^2 + p_t^2) + smooth) ] over the foreground classes, w_i = exp(-beta H(p_t,i)).

    The squares in the denominator make the student's best answer the teacher's probabilities
    themselves; with plain sums it would be the likeliest class.

    Args:
        student: Probabilities (U, K, D, H, W) that gradients train.
        teacher: The same shape, no gradient.
        beta: How strongly the teacher's uncertainty lowers the weight of a voxel; >= 0.
        where: (U, D, H, W) bool, the voxels that count; None = all. 0 where none does.
        smooth: Voxels added to both sides of the Dice.

    Source: not part of DyCON. Self-training (Lee, ICML workshop 2013) with UnCL's weights.
    """
    target = teacher.p.detach()
    weight = (-beta * entropy(teacher)).exp().detach()
    if where is not None:
        weight = weight * where
    total = weight.sum().clamp_min(TINY)
    cross_entropy = -(weight * (target * student.log_p).sum(1)).sum() / total
    axes = (0, 2, 3, 4)
    weight = weight.unsqueeze(1)
    found, wanted = student.p[:, 1:], target[:, 1:]
    overlap = (weight * found * wanted).sum(axes)
    size = (weight * (found.square() + wanted.square())).sum(axes)
    dice = 1.0 - ((2.0 * overlap + smooth) / (size + smooth)).mean()
    return torch.add(cross_entropy, dice)
