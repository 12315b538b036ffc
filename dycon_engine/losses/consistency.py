"""Agreement of two predictions of the same voxels.

|p_s - p_t|^2 is averaged over the classes, as Mean Teacher's and UA-MT's released codes do; for two
classes this is half the squared distance of the probability vectors. (DyCON's code sums in UnCL.)
"""

from __future__ import annotations

from torch import Tensor


def squared_difference(p_student: Tensor, p_teacher: Tensor) -> Tensor:
    """Return |p_s - p_t|^2, mean over classes: (B, K, D, H, W) twice -> (B, D, H, W)."""
    return (p_student - p_teacher).square().mean(1)


def mean_squared(p_student: Tensor, p_teacher: Tensor) -> Tensor:
    """Return the mean over voxels and classes of (p_s - p_t)^2, a scalar (Mean Teacher)."""
    return (p_student - p_teacher).square().mean()


def masked_mean_squared(p_student: Tensor, p_teacher: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of (p_s - p_t)^2 over the voxels in `mask`, a scalar; 0 where it is empty.

    Args:
        p_student: (B, K, D, H, W) probabilities.
        p_teacher: The same shape.
        mask: (B, D, H, W) bool; the voxels that count (UA-MT: where the teacher is sure).
    """
    chosen = mask.to(p_student.dtype)
    return (squared_difference(p_student, p_teacher) * chosen).sum() / chosen.sum().clamp_min(1.0)
