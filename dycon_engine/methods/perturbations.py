"""Random intensity changes of patches, on their device and without waiting for it.

Intensities are those of preprocessed images (z-scores or a window scaled alike): noise and offsets
are in these units. Everything draws from torch's global generator, so a resumed run repeats it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def add_noise(image: Tensor, sd: float) -> Tensor:
    """Return `image` (B, C, D, H, W) plus Gaussian noise of `sd`, clipped at two sd.

    Source: the released codes add clamp(N(0, .1), +-.2) to the teacher's input.
    """
    if sd <= 0.0:
        return image
    noise = torch.randn_like(image).mul_(sd).clamp_(-2.0 * sd, 2.0 * sd)
    return noise.add_(image)


def strong_intensity(image: Tensor, strength: float) -> Tensor:
    """Return `image` (B, C, D, H, W) with gamma, smoothing, bias field, gain, offset and noise.

    Each patch and channel draws its own changes; `strength` 0 returns the image itself, 1 is what
    a change of scanner or sequence does.
    """
    if strength <= 0.0:
        return image
    changed = _gamma(image, strength)
    changed = torch.where(_chosen(image, 0.3), _smooth(changed), changed)
    field = torch.where(_chosen(image, 0.5), _bias_field(image, 0.25 * strength), 1.0)
    gain = 1.0 + _uniform(image, -0.3, 0.3) * strength
    changed = changed * field * gain + _uniform(image, -0.3, 0.3) * strength
    level = torch.where(_chosen(image, 0.5), _uniform(image, 0.0, 0.25), 0.0) * strength
    return changed + torch.randn_like(image) * level


def _uniform(image: Tensor, low: float, high: float) -> Tensor:
    shape = (*image.shape[:2], 1, 1, 1)
    return torch.rand(shape, device=image.device, dtype=image.dtype) * (high - low) + low


def _chosen(image: Tensor, probability: float) -> Tensor:
    return _uniform(image, 0.0, 1.0) < probability


def _gamma(image: Tensor, strength: float) -> Tensor:
    low = image.amin((2, 3, 4), keepdim=True)
    span = image.amax((2, 3, 4), keepdim=True) - low + 1e-6
    exponent = (_uniform(image, -0.4, 0.4) * strength).exp()
    bent = ((image - low) / span).pow(exponent) * span + low
    return torch.where(_chosen(image, 0.5), bent, image)


def _smooth(image: Tensor) -> Tensor:
    """Convolve each axis with (a, 1 - 2a, a), the border repeated."""
    a = _uniform(image, 0.1, 0.3)
    for axis in (2, 3, 4):
        size = image.shape[axis]
        before = torch.cat((image.narrow(axis, 0, 1), image.narrow(axis, 0, size - 1)), axis)
        after = torch.cat((image.narrow(axis, 1, size - 1), image.narrow(axis, size - 1, 1)), axis)
        image = image * (1.0 - 2.0 * a) + (before + after) * a
    return image


def _bias_field(image: Tensor, sd: float) -> Tensor:
    """Return a smooth positive field (B, C, D, H, W): exp of interpolated 3x3x3 noise."""
    shape = (*image.shape[:2], 3, 3, 3)
    coarse = torch.randn(shape, device=image.device, dtype=image.dtype) * sd
    size = image.shape[2:]
    return F.interpolate(coarse, size=size, mode="trilinear", align_corners=True).exp()
