"""The student's view of an unlabeled patch: turned, zoomed, mixed with a labeled one.

What the teacher said of the patch is moved alike, and gives way to the label where it is known.
"""

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
UNKNOWN = -1
BOX = 2.0 / 3.0  # side of the box of `mixed`, as a share of the patch's


class View(NamedTuple):
    """Unlabeled patches as the student sees them.

    Attributes:
        image: (U, C, D, H, W).
        theta: Where its voxels lie in the patches, (U, 3, 4) as of `F.affine_grid`: x before y
            before z, from -1 to 1 per axis. None where they lie at their own places.
        known: (U, D, H, W) int64, class index where a labeled patch was mixed in, `UNKNOWN`
            elsewhere. None where nothing was.
        inside: (U, D, H, W) bool, which voxels lie in the patches; None = all.
    """

    image: Tensor
    theta: Tensor | None = None
    known: Tensor | None = None
    inside: Tensor | None = None

    @property
    def unknown(self) -> Tensor | None:
        """(U, D, H, W) bool, where no label is known; None = nowhere is one."""
        return None if self.known is None else self.known == UNKNOWN

    @property
    def answered(self) -> Tensor | None:
        """(U, D, H, W) bool, where teacher or label have an answer; None = everywhere.

        Elsewhere nothing may be learned: what `follow` has there is the student's own answer.
        """
        if self.inside is None or self.known is None:
            return self.inside
        return self.inside | (self.known != UNKNOWN)

    def move_along(self, patches: Tensor) -> Tensor:
        """Return what lies at the view's places in `patches` (U, F, d, h, w), else the nearest.

        The grid may be coarser than that of the image.
        """
        return patches if self.theta is None else _sampled(patches, self.theta, "border")

    def follow(self, teacher: Posterior, student: Posterior) -> Posterior:
        """Return what the `teacher` says of the patches at the view's places.

        Outside the patches it says nothing: there the answer of the `student` to this view stands
        without a gradient, which costs a squared difference nothing; other losses have to leave
        out what is not `answered`. Where the label is known, it is the answer.
        """
        if self.theta is None and self.known is None:
            return teacher
        p = teacher.p
        if self.inside is not None:
            p = torch.where(self.inside.unsqueeze(1), self.move_along(p), student.p.detach())
        if self.known is not None:
            label = F.one_hot(self.known.clamp_min(0), p.shape[1]).movedim(-1, 1).to(p.dtype)
            p = torch.where(self.known.unsqueeze(1) == UNKNOWN, p, label)
        return Posterior(p.clamp_min(TINY).log(), p)

    def unlabeled_only(self, p: Tensor) -> Tensor:
        """Return probabilities (U, K, D, H, W) that are even where they are not the teacher's.

        Where the label is known, what a patch's embedding says is of another patch than the
        teacher's; outside the patches the teacher says nothing.
        """
        for own in (self.unknown, self.inside):
            if own is not None:
                p = torch.where(own.unsqueeze(1), p, 1.0 / p.shape[1])
        return p


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
    with torch.autocast(device.type, enabled=False):
        matrix = _rotation(angles) * zoom.exp() * size / size[:, None]  # in shares of each axis
    theta = torch.cat((matrix.flip(1, 2), matrix.new_zeros(count, 3, 1)), 2)
    inside = _sampled(torch.ones_like(patches[:, :1]), theta, "zeros")[:, 0] > INSIDE
    return View(_sampled(patches, theta, "border"), theta, inside=inside)


def mixed(view: View, labeled: Tensor, label: Tensor, chance: float) -> View:
    """Return the view with some of its patches mixed with labeled ones.

    A box of 2/3 of each side at a random place comes from one of the two and all around it from
    the other, which from which by a coin: what is learned of few labels then has to hold beside
    anatomy that nobody labeled, and the reverse.

    Args:
        view: Of U patches (U, C, D, H, W).
        labeled: (B, C, D, H, W), B >= 1; patch i gets the one of index i mod B.
        label: (B, D, H, W) int64 class index.
        chance: That a patch is mixed, each for itself; 0 draws nothing.

    Source: copy-paste in both directions as in BCP (Bai et al., CVPR 2023), there between two
    images of each kind with a box of the same size. Deviation: the student's labeled patches stay
    plain, so that the supervised terms are those of every method; the mixtures take the place of
    unlabeled patches.
    """
    if chance <= 0.0:
        return view
    count, device = len(view.image), view.image.device
    box = torch.ones((count, 1, 1, 1), dtype=torch.bool, device=device)
    for axis, size in enumerate(view.image.shape[2:]):
        side = max(1, round(size * BOX))
        first = torch.randint(size - side + 1, (count, 1), device=device)
        place = torch.arange(size, device=device)
        within = (place >= first) & (place < first + side)
        box = box & within.reshape(count, *(size if a == axis else 1 for a in range(3)))
    around = torch.randint(2, (count,), device=device) == 1
    chosen = torch.rand(count, device=device) < chance
    pasted = (box ^ around[:, None, None, None]) & chosen[:, None, None, None]
    partner = torch.arange(count, device=device) % len(labeled)
    image = torch.where(pasted.unsqueeze(1), labeled[partner], view.image)
    return view._replace(image=image, known=torch.where(pasted, label[partner], UNKNOWN))


def _sampled(patches: Tensor, theta: Tensor, outside: str) -> Tensor:
    """Return float32, also under autocast: positions of 8 bits would be off by a voxel."""
    with torch.autocast(patches.device.type, enabled=False):
        grid = F.affine_grid(theta.float(), list(patches.shape), align_corners=False)
        sampled: Tensor = F.grid_sample(
            patches.float(), grid, padding_mode=outside, align_corners=False
        )
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
