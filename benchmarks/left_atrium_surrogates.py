"""Painted surrogates, no patient's: a chest around a scan, a heart CT, a brain MR."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from torch.nn import functional as F

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.volume import Volume

Floats = NDArray[np.float32]
SPACING_MM, SIZE = 0.625, (88, 144, 192)  # of the training scans, the usual ones


def chest(grid: Geometry, scan: Floats, random: np.random.Generator) -> Floats:
    """Return a painted chest (D, H, W) around the middle of `grid`."""
    dark, muscle, bright = (float(value) for value in np.percentile(scan, (5.0, 50.0, 90.0)))
    _, y, x = (
        (np.arange(n, dtype=np.float32) - (n - 1) / 2) * mm
        for n, mm in zip(grid.size_zyx, grid.spacing_mm, strict=True)
    )
    y, x = y[:, None] + 15.0, x[None, :] - 5.0  # the heart lies before and left of the middle

    def inside(center: tuple[float, float], radii: tuple[float, float]) -> Floats:
        unit = np.hypot((y - center[0]) / radii[0], (x - center[1]) / radii[1])
        return np.asarray(np.clip((1.0 - unit) * min(radii) / 3.0 + 0.5, 0.0, 1.0))

    plane = np.full(np.broadcast_shapes(y.shape, x.shape), 0.15 * dark, dtype=np.float32)
    for center, radii, level in (
        ((20.0, 0.0), (115.0, 170.0), 1.2 * bright),  # fat under the skin
        ((20.0, 0.0), (100.0, 152.0), muscle),
        ((15.0, 85.0), (80.0, 55.0), dark),  # lungs
        ((15.0, -85.0), (80.0, 55.0), dark),
        ((0.0, 0.0), (65.0, 60.0), muscle),  # what lies around the heart
        ((85.0, 0.0), (20.0, 20.0), 0.8 * muscle),  # spine
    ):
        plane += inside(center, radii) * (level - plane)
    texture = gaussian_filter(random.standard_normal(grid.size_zyx, dtype=np.float32), 2.0)
    noise = float(np.std(scan - gaussian_filter(scan, 1.0)))
    volume = plane * (1.0 + 0.15 * texture / texture.std())
    grain = random.standard_normal((2, *grid.size_zyx), dtype=np.float32) * np.float32(noise)
    return np.asarray(np.hypot(volume + grain[0], grain[1]), dtype=np.float32)


def ct_like(seed: int) -> Volume:
    """Return a surrogate of a heart CT, (1, D, H, W) in Hounsfield units: no patient's.

    Lungs about -850, fat -100, muscle 50, contrast-filled chambers and vessels 150 to 400, spine
    and ribs 400 to 700, noise of 15 to 30.
    """
    random = np.random.default_rng([11, seed])
    z, y, x = _axes_mm()
    values = np.full(np.broadcast_shapes(z.shape, y.shape, x.shape), 50.0, dtype=np.float32)

    def paint(center: tuple[float, ...], radii: tuple[float, ...], level: float) -> None:
        moved = np.asarray(center) + random.normal(0.0, 3.0, 3)
        share = _ellipsoid((z, y, x), moved, radii)
        values[:] += share * (np.float32(level) - values)

    blood = random.uniform(150.0, 350.0)
    for side in (-1, 1):
        paint((0, 5, 75 * side), (110, 72, 50), -850.0)
    paint((0, -15, 10), (60, 48, 58), -100.0)
    paint((0, -15, 10), (55, 42, 52), 60.0)
    for center, radii in (
        ((10, 15, 5), (22, 18, 26)), ((-10, -15, 30), (30, 22, 24)), ((-5, -25, -12), (30, 22, 22)),
        ((0, 38, 22), (200, 11, 11)), ((20, -20, 0), (80, 13, 13)),
    ):  # fmt: skip
        paint(center, radii, blood * random.uniform(0.8, 1.2))
    paint((0, 50, 0), (200, 18, 18), random.uniform(400.0, 700.0))
    fine = _doubled(values)
    fine += random.normal(0.0, random.uniform(15.0, 30.0), fine.shape)
    return _on_the_grid(fine)


def brain_like(seed: int) -> Volume:
    """Return a surrogate of a T1-weighted brain MR, (1, D, H, W): no patient's.

    Scalp, dark skull, folded gray over white matter, dark ventricles, air, a bias field and Rician
    noise, at the gray levels of a left-atrium scan.
    """
    random = np.random.default_rng([12, seed])
    axes = _axes_mm()
    shape = np.broadcast_shapes(*(axis.shape for axis in axes))
    folds = gaussian_filter(random.standard_normal(shape, dtype=np.float32), 3.0)
    folds /= folds.std()
    values = np.zeros(shape, dtype=np.float32)
    for radii, rough, level in (
        ((74, 62, 78), 0.0, 1.2), ((70, 58, 73), 0.0, 0.1), ((65, 54, 68), 0.0, 0.25),
        ((63, 53, 66), 0.3, 0.65), ((54, 46, 56), 1.6, 1.0), ((14, 22, 8), 0.2, 0.2),
    ):  # fmt: skip
        share = _ellipsoid(axes, np.zeros(3), radii, rough=rough * folds)
        values += share * (np.float32(level) - values)
    field = stretched(zoom(random.normal(0.0, 0.15, (3, 3, 3)), 8, order=3), shape)
    fine = _doubled(values * np.exp(field))
    real, imaginary = random.normal(0.0, 0.05, (2, *fine.shape))
    return _on_the_grid(np.hypot(fine + real, imaginary) * random.uniform(40.0, 110.0))


def _axes_mm() -> tuple[Floats, Floats, Floats]:
    """Return the coordinates (z, y, x) of every second voxel of a training scan's grid."""
    z, y, x = (
        ((np.arange(n // 2, dtype=np.float32) - n / 4) * (2 * SPACING_MM)).reshape(shape)
        for n, shape in zip(SIZE, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True)
    )
    return z, y, x


def _ellipsoid(
    axes: tuple[Floats, Floats, Floats],
    center: NDArray[np.float64],
    radii: tuple[float, ...],
    *,
    rough: Floats | float = 0.0,
) -> Floats:
    """Return the share (D, H, W) of every voxel inside, its edge moved by `rough` voxels."""
    parts = ((a - np.float32(c)) / r for a, c, r in zip(axes, center, radii, strict=True))
    unit = np.sqrt(sum(part**2 for part in parts))
    edge = 2 * SPACING_MM
    return np.asarray(np.clip((1.0 - unit) * min(radii) / edge + rough + 0.5, 0.0, 1.0))


def _doubled(values: Floats) -> Floats:
    return stretched(values, SIZE)


def _on_the_grid(values: NDArray[np.floating]) -> Volume:
    spacing = (SPACING_MM,) * 3
    rounded = np.round(values)[None].astype(np.float32)
    return Volume(rounded, Geometry.from_parts(SIZE, spacing))


def stretched(points: NDArray[np.floating], shape: tuple[int, ...]) -> Floats:
    """Return `points` (d, h, w) linearly between the corners of a volume of `shape`."""
    coarse = torch.from_numpy(points.astype(np.float32))[None, None]
    stretched = F.interpolate(coarse, size=tuple(shape), mode="trilinear", align_corners=True)
    return np.asarray(stretched[0, 0].numpy())
