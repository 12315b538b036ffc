"""How far apart two colors are for eyes that see all colors and for color-blind ones."""

from __future__ import annotations

import numpy as np

SEEN_BY = {  # linear RGB as these eyes see it (Machado et al. 2009, full severity)
    "normal": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def linear(color):
    color = np.asarray(color)
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 0, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one, two):
    """The smallest difference between two colors that any eye sees."""
    seen = ([lab(eye @ linear(color)) for eye in SEEN_BY.values()] for color in (one, two))
    return min(np.linalg.norm(a - b) for a, b in zip(*seen, strict=True))


def contrast(one, two):
    low, high = sorted((TO_XYZ @ linear(color))[1] for color in (one, two))
    return (high + 0.05) / (low + 0.05)
