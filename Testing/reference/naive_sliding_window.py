"""The sliding window, spelled out: one window at a time, a weight map, a division at the end."""

from __future__ import annotations

import numpy as np
import torch

from dycon_engine.inference.blending import AIR_LOGIT
from dycon_engine.inference.windows import SIGMA, axis_starts


def naive_slide(network, image, *, patch_size, classes, overlap, air=None):
    """Return the mean logits (K, D, H, W) in float64; no axis may be shorter than the patch."""
    size = image.shape[1:]
    curves = []
    for patch in patch_size:
        place = np.arange(patch) - (patch - 1) / 2
        curves.append(np.exp(-0.5 * (place / (SIGMA * patch)) ** 2))
    weight = curves[0][:, None, None] * curves[1][None, :, None] * curves[2][None, None, :]
    total = np.zeros((classes, *size))
    count = np.zeros(size)
    for z in axis_starts(size[0], patch_size[0], overlap):
        for y in axis_starts(size[1], patch_size[1], overlap):
            for x in axis_starts(size[2], patch_size[2], overlap):
                where = tuple(slice(s, s + p) for s, p in zip((z, y, x), patch_size, strict=True))
                if air is not None and air[where].all():
                    logits = np.zeros((classes, *patch_size))
                    logits[0] = AIR_LOGIT
                else:
                    with torch.no_grad():
                        logits = network(image[(slice(None), *where)][None])[0].double().numpy()
                total[(slice(None), *where)] += logits * weight
                count[where] += weight
    return total / count
