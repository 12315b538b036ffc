"""Random changes of brightness and sharpness: (C, D, H, W) float32 patches, no geometry.

Everything is elementwise or drawn by NumPy, so that the same draw gives the same bits whatever
the number of threads. Strengths are in units of the patch's own standard deviation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dycon_engine.config import AugmentationConfig

GAIN = 0.3
OFFSET = 0.3
LOG_GAMMA = 0.4
NOISE = 0.25
FIELD = 0.25
BLUR_VOXELS = (0.5, 1.0)
COARSEST = 2.0
TINY = 1e-6


def change_intensity(rng: np.random.Generator, image: Tensor, config: AugmentationConfig) -> Tensor:
    """Return `image` (C, D, H, W) with the changes of `config` that fall on it."""
    happens = rng.random(5)
    if happens[0] < config.blur:
        image = _blurred(image, float(rng.uniform(*BLUR_VOXELS)))
    if happens[1] < config.low_resolution:
        image = _coarsened(image, float(rng.uniform(1.0, COARSEST)))
    if happens[2] < config.intensity:
        image = torch.stack([_rescaled(rng, channel) for channel in image])
    if happens[3] < config.bias_field:
        image = image * _bias_field(rng, image.shape[1:])
    if happens[4] < config.noise:
        noise = rng.standard_normal(tuple(image.shape), dtype=np.float32)
        image = torch.add(
            image, torch.from_numpy(noise), alpha=float(rng.uniform(0.0, NOISE)) * _deviation(image)
        )
    return image


def _deviation(image: Tensor) -> float:
    return float(np.std(image.numpy()))


def _rescaled(rng: np.random.Generator, channel: Tensor) -> Tensor:
    """Return gamma over the patch's own range, then gain and offset."""
    gain, offset, log_gamma = rng.uniform((-GAIN, -OFFSET, -LOG_GAMMA), (GAIN, OFFSET, LOG_GAMMA))
    low, high = float(channel.min()), float(channel.max())
    extent = high - low + TINY
    shift = low * (1.0 + gain) + offset * _deviation(channel)
    # exp(log) with one rounding more is several times faster than pow on CPU; log 0 gives 0.
    shape = ((channel - low) / extent).log_().mul_(float(np.exp(log_gamma))).exp_()
    return shape.mul_(extent * (1.0 + gain)).add_(shift)


def _bias_field(rng: np.random.Generator, size: torch.Size) -> Tensor:
    """Return a field around 1, (D, H, W), linear between 3x3x3 random points."""
    field = rng.standard_normal((3, 3, 3), dtype=np.float32) * np.float32(FIELD)
    for axis, n in enumerate(size):
        place = np.linspace(0.0, 2.0, n, dtype=np.float32).reshape(
            [n if a == axis else 1 for a in range(3)]
        )
        parts = np.split(field, 3, axis=axis)
        field = sum(part * np.maximum(1.0 - np.abs(place - k), 0.0) for k, part in enumerate(parts))
    return torch.from_numpy(field + np.float32(1.0))


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Return a Gaussian of `sigma` voxels, five taps along each axis of more than two voxels."""
    taps = np.exp(-0.5 * (np.arange(3) / sigma) ** 2)
    middle, near, far = (float(tap) for tap in taps / (taps[0] + 2.0 * taps[1:].sum()))
    for axis in (1, 2, 3):
        size = image.shape[axis]
        index = torch.arange(-2, size + 2).clamp_(0, size - 1)
        padded = image.index_select(axis, index)
        parts = [padded.narrow(axis, shift, size) for shift in range(5)]
        image = (parts[1] + parts[3]) * near + (parts[0] + parts[4]) * far + parts[2] * middle
    return image


def _coarsened(image: Tensor, factor: float) -> Tensor:
    """Return what is left of `image` after sampling it `factor` times coarser."""
    size = tuple(max(round(n / factor), 1) for n in image.shape[1:])
    coarse = F.interpolate(image[None], size=size, mode="nearest-exact")
    return _resized(coarse, image.shape[1:])


def _resized(image: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(image, size=tuple(size), mode="trilinear", align_corners=False)[0]
