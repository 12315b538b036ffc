"""DyCON's uncertainty-aware consistency (UnCL): agreement, worth less where both are unsure."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from dycon_engine.losses.consistency import squared_difference
from dycon_engine.losses.uncertainty import Posterior, entropy


class Uncl(NamedTuple):
    """The two parts of UnCL and what was seen on the way.

    Attributes:
        consistency: Scalar, the first mean of the formula.
        entropy: Scalar, the second mean, without its coefficient lambda_H.
        student_entropy: Scalar, detached mean of H(p_s) in nats.
        teacher_entropy: Scalar, detached mean of H(p_t) in nats.
    """

    consistency: Tensor
    entropy: Tensor
    student_entropy: Tensor
    teacher_entropy: Tensor


def uncl(
    student: Posterior,
    teacher: Posterior,
    *,
    beta: float,
    detach_weights: bool = True,
    where: Tensor | None = None,
) -> Uncl:
    """Return the parts of UnCL; the loss is `consistency + lambda_H * entropy`.

    mean_i [ |p_s - p_t|^2 / (exp(beta H(p_s)) + exp(beta H(p_t))) ] + lambda_H mean_i [ H(p_s) +
    H(p_t) ], H in nats. beta = 0 gives half the mean squared difference exactly.

    Args:
        student: Probabilities (B, K, D, H, W) that gradients train.
        teacher: The same shape, no gradient.
        beta: How strongly uncertainty lowers the weight; >= 0.
        detach_weights: No gradient through the weights: else the student can lower the loss by
            becoming unsure.
        where: (B, D, H, W) bool, the voxels whose entropy counts; None = all. In the others the
            two have to be alike, so that the first mean needs no mask.

    Source: DyCON (CVPR 2025), UnCL. Deviation: the paper ties lambda_H to beta and lets gradients
    pass the weights; at beta = 5 the entropy term then outweighs the consistency by far and empties
    small foregrounds, so the coefficient is the caller's and the weights are detached by default.
    """
    h_student, h_teacher = entropy(student), entropy(teacher)
    weighing = h_student.detach() if detach_weights else h_student
    weight = (beta * weighing).exp() + (beta * h_teacher).exp()
    consistency = (squared_difference(student.p, teacher.p) / weight).mean()
    mean_student, mean_teacher = _mean(h_student, where), _mean(h_teacher, where)
    return Uncl(
        consistency, mean_student + mean_teacher, mean_student.detach(), mean_teacher.detach()
    )


def _mean(values: Tensor, where: Tensor | None) -> Tensor:
    if where is None:
        return values.mean()
    return (values * where).sum() / where.sum().clamp_min(1)
