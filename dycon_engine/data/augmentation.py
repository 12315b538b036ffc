"""Random patches of a case: where, how turned and scaled, how bright; by preset.

`strong` turns, scales, mirrors and deforms while it cuts the patch out (one interpolation), then
changes intensities. `paper` is the protocol of the semi-supervised papers: a random crop, a right
angle about the body axis and a flip in the axial plane. `none` is the crop alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.config import AugmentationConfig
from dycon_engine.data.geometry import Size, Spacing
from dycon_engine.data.intensity import change_intensity
from dycon_engine.data.patches import crop, random_start, start_around
from dycon_engine.data.warping import Warp, warped

THIN = 3.0  # an axis this many times shorter than the longest is not turned into the others
PLAY = 0.25  # of the patch: how far it can move even in a case of its own size
AXES = "zyx"
ELASTIC_POINTS = 5
ELASTIC_SHARE = 0.04  # standard deviation of the deformation, share of the patch


class Source(NamedTuple):
    """What patches of one case are cut from.

    Attributes:
        image: (C, D, H, W).
        label: (D, H, W) class index, or None.
        points: Voxels (N, 3) of each class present, see `foreground_points`.
        fill: (C,) what lies outside the image.
    """

    image: NDArray[Any]
    label: NDArray[np.uint8] | None
    points: tuple[NDArray[np.int32], ...]
    fill: NDArray[np.float32]

    @property
    def size_zyx(self) -> Size:
        """Size of the case in voxels."""
        _, depth, height, width = self.image.shape
        return (depth, height, width)


class Patch(NamedTuple):
    """`image` (C, *patch) float32; `label` (*patch) int64, None for an unlabeled case."""

    image: Tensor
    label: Tensor | None


class Augmentation(NamedTuple):
    """How patches are drawn: their size, the share on foreground, what happens to them."""

    config: AugmentationConfig
    patch_size: Size
    foreground: float
    spacing_mm: Spacing = (1.0, 1.0, 1.0)


def draw_patch(rng: np.random.Generator, source: Source, how: Augmentation) -> Patch:
    """Return a random patch of `source`: a function of the state of `rng` alone."""
    if how.config.preset == "paper":
        return _paper(rng, source, how)
    start = _start(rng, source, how, how.patch_size)
    if how.config.preset == "none":
        return _plain(source, start, how.patch_size)
    flipped = [rng.random() < 0.5 and axis in how.config.flip_axes for axis in AXES]  # noqa: PLR2004 - a coin
    warp = _warp(rng, source, how, start, flipped)
    if warp is None:
        patch = _flipped(_plain(source, start, how.patch_size), flipped)
    else:
        patch = Patch(
            *warped(source.image, source.label, warp, size_zyx=how.patch_size, fill=source.fill)
        )
    return patch._replace(image=change_intensity(rng, patch.image, how.config))


def _start(
    rng: np.random.Generator, source: Source, how: Augmentation, patch_size: Size
) -> NDArray[np.int64]:
    play = PLAY if how.config.preset == "strong" else 0.0
    start = random_start(rng, source.size_zyx, patch_size, play=play)
    if rng.random() < how.foreground and source.points:
        points = source.points[int(rng.integers(len(source.points)))]
        voxel = points[int(rng.integers(len(points)))]
        return start_around(voxel, source.size_zyx, patch_size, play=play)
    return start


def _plain(source: Source, start: NDArray[np.int64], patch_size: Size) -> Patch:
    image = torch.from_numpy(crop(source.image, start, patch_size, fill=source.fill))
    if source.label is None:
        return Patch(image, None)
    label = crop(source.label[None], start, patch_size, fill=np.zeros(1, np.int64))[0]
    return Patch(image, torch.from_numpy(label))


def _flipped(patch: Patch, flipped: list[bool]) -> Patch:
    axes = [axis - 3 for axis, flip in enumerate(flipped) if flip]
    if not axes:
        return patch
    label = None if patch.label is None else patch.label.flip(axes)
    return Patch(patch.image.flip(axes), label)


def _paper(rng: np.random.Generator, source: Source, how: Augmentation) -> Patch:
    quarters, axis = int(rng.integers(4)), int(rng.integers(-2, 0))
    depth, height, width = how.patch_size
    size = (depth, width, height) if quarters % 2 else how.patch_size
    start = _start(rng, source, how, size)
    image, label = _plain(source, start, size)
    image = image.rot90(quarters, (-2, -1)).flip(axis).contiguous()
    if label is not None:
        label = label.rot90(quarters, (-2, -1)).flip(axis).contiguous()
    return Patch(image, label)


def _warp(
    rng: np.random.Generator,
    source: Source,
    how: Augmentation,
    start: NDArray[np.int64],
    flipped: list[bool],
) -> Warp | None:
    """Return the deformation that falls on this patch, None for a plain crop."""
    config = how.config
    spatial, elastic = rng.random(2) < (config.spatial, config.elastic)
    angles_deg = rng.uniform(-1.0, 1.0, 3) * config.rotation_deg
    zoom = float(np.exp(rng.uniform(*np.log(config.scale))))
    if not spatial:
        angles_deg, zoom = np.zeros(3), 1.0
    thin = _thin_axes(source.size_zyx, how)
    angles_deg = np.where([_mixes(axis, thin) for axis in range(3)], 0.0, angles_deg)
    if not (angles_deg.any() or zoom != 1.0 or elastic):
        return None
    spacing = np.asarray(how.spacing_mm)
    turn = rotation(np.deg2rad(angles_deg)) * spacing / spacing[:, None]
    factors = np.where(thin, 1.0, 1.0 / zoom) * np.where(flipped, -1.0, 1.0)
    center = start + (np.asarray(how.patch_size) - 1.0) / 2.0
    displacement = None
    if elastic:
        field = rng.standard_normal((3, *(ELASTIC_POINTS,) * 3), dtype=np.float32)
        strength = np.where(thin, 0.0, ELASTIC_SHARE * np.asarray(how.patch_size))
        displacement = field * strength.astype(np.float32)[:, None, None, None]
    return Warp(center, turn * factors, displacement)


def _thin_axes(size_zyx: Size, how: Augmentation) -> NDArray[np.bool_]:
    """Return the axes along which case or patch is too thin (in mm) to be turned or scaled."""
    extent = np.minimum(size_zyx, how.patch_size) * np.asarray(how.spacing_mm)
    return np.asarray(extent * THIN < extent.max())


def _mixes(axis: int, thin: NDArray[np.bool_]) -> bool:
    """Return whether a rotation about `axis` would turn a thin axis into another."""
    return bool(np.delete(thin, axis).any())


def rotation(angles_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 3x3 rotation, in (z, y, x) order, by the angles about the z, y and x axis."""
    result = np.eye(3)
    for axis, angle in enumerate(angles_rad):
        first, second = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        result = result @ turn
    return result
