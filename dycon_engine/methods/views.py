"""The student's view of a patch: turned and zoomed; what the teacher said is moved alike."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dycon_engine.losses.uncertainty import TINY, Posterior

TURN_DEG = (20.0, 10.0, 10.0)  # largest rotation about the z, y and x axis at strength 1
ZOOM = 1.25  # largest zoom factor at strength 1, and the inverse of the smallest
INSIDE = 1.0 - 1e-3  # share of a voxel's neighbors that lie in the patch, less rounding


class View(NamedTuple):
    """Unlabeled patches as the student sees them.

    Attributes:
        image: (U, C, D, H, W).
        theta: Where its voxels lie in the patches, (U, 3, 4) as of `F.affine_grid`: x before y
            before z, from -1 to 1 per axis. None where they lie at their own places.
    """

    image: Tensor
    theta: Tensor | None = None

    def move_along(self, patches: Tensor) -> Tensor:
        """Return what lies at the view's places in `patches` (U, F, d, h, w), else the nearest.

        The grid may be coarser than that of the image.
        """
        return patches if self.theta is None else _sampled(patches, self.theta, "border")

    def follow(self, teacher: Posterior, student: Posterior) -> Posterior:
        """Return what the `teacher` says of the patches at the view's places.

        Outside the patches it says nothing: there the answer of the `student` to this view stands
        without a gradient, from which nothing is learned.
        """
        if self.theta is None:
            return teacher
        inside = _sampled(torch.ones_like(teacher.p[:, :1]), self.theta, "zeros") > INSIDE
        p = torch.where(inside, self.move_along(teacher.p), student.p.detach())
        return Posterior(p.clamp_min(TINY).log(), p)


def turned(patches: Tensor, strength: float) -> View:
    """Return patches (U, C, D, H, W) each rotated and zoomed at random about its center.

    Args:
        patches: Their voxels are taken as cubes.
        strength: 1 turns by `TURN_DEG` and zooms by `ZOOM` at most, 0 leaves all as it is.
    """
    if strength <= 0.0:
        return View(patches)
    count, device = len(patches), patches.device
    limit = torch.tensor(TURN_DEG, device=device).deg2rad() * strength
    angles = (torch.rand(count, 3, device=device) * 2.0 - 1.0) * limit
    zoom = (torch.rand(count, 1, 1, device=device) * 2.0 - 1.0) * strength * math.log(ZOOM)
    size = torch.tensor(patches.shape[2:], device=device, dtype=torch.float32)
    matrix = _rotation(angles) * zoom.exp() * size / size[:, None]  # in shares of each axis
    theta = torch.cat((matrix.flip(1, 2), matrix.new_zeros(count, 3, 1)), 2)
    return View(_sampled(patches, theta, "border"), theta)


def _sampled(patches: Tensor, theta: Tensor, outside: str) -> Tensor:
    grid = F.affine_grid(theta.to(patches.dtype), list(patches.shape), align_corners=False)
    sampled: Tensor = F.grid_sample(patches, grid, padding_mode=outside, align_corners=False)
    return sampled


def _rotation(angles: Tensor) -> Tensor:
    """Return (U, 3, 3) in (z, y, x) order, of angles (U, 3) in radians about z, y and x."""
    result = torch.eye(3, device=angles.device).expand(len(angles), 3, 3)
    for axis in range(3):
        first, second = (other for other in range(3) if other != axis)
        turn = torch.eye(3, device=angles.device).repeat(len(angles), 1, 1)
        cosine, sine = angles[:, axis].cos(), angles[:, axis].sin()
        turn[:, first, first] = turn[:, second, second] = cosine
        turn[:, first, second], turn[:, second, first] = -sine, sine
        result = result @ turn
    return result
