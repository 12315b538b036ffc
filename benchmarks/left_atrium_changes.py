"""What can be changed about a left-atrium scan with its label: grid, surroundings, intensities.

Every change is a pure function of the scan and a seed. Intensities keep the lattice of the source
(0 and up, whole numbers). None of this is a second acquisition: a resampled scan knows less about
partial volume and motion than a scanner does, and a painted chest is no patient's.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom
from scipy.spatial.transform import Rotation

from benchmarks.left_atrium_surrogates import brain_like, chest, ct_like, stretched
from dycon_engine.data.geometry import Box, Geometry, Spacing
from dycon_engine.data.resampling import (
    axis_matrices,
    resample,
    resample_labels,
    resampled_geometry,
)
from dycon_engine.data.straightening import straighten
from dycon_engine.data.volume import Volume

Floats = NDArray[np.float32]
EDGE_MM = 8.0  # over which a scan fades into painted surroundings


class Scan(NamedTuple):
    """Image (1, D, H, W) float32 and class indices (D, H, W) on one grid.

    `region` is the region of interest that a person would draw, None where the whole scan counts.
    """

    image: Volume
    label: Volume
    region: Box | None = None


Apply = Callable[[Scan, np.random.Generator], Scan]


class Change(NamedTuple):
    """One change; `group` and `name` as tables say them, `outside` where it must raise a flag."""

    group: str
    name: str
    apply: Apply
    outside: bool = False

    def __call__(self, scan: Scan, case: str) -> Scan:
        """Return `scan` changed, the same for the same `case`."""
        seed = zlib.crc32(f"{self.group}/{self.name}/{case}".encode())
        return self.apply(scan, np.random.default_rng(seed))


def _of_values(change: Callable[[Floats, Scan, np.random.Generator], Floats]) -> Apply:
    """Return the change of intensities (D, H, W) alone, rounded to whole numbers from 0 up."""

    def apply(scan: Scan, random: np.random.Generator) -> Scan:
        values = change(scan.image.array[0], scan, random)
        values = np.maximum(np.round(values), 0.0).astype(np.float32)
        return Scan(Volume(values[None], scan.image.geometry), scan.label)

    return apply


def _respaced(spacing_mm: tuple[float | None, float | None, float | None]) -> Apply:
    """Return the resampling to a voxel size (z, y, x), None = as it is; averages what it skips."""

    def apply(scan: Scan, _random: np.random.Generator) -> Scan:
        source = scan.image.geometry
        own = source.spacing_mm
        z, y, x = (new or old for new, old in zip(spacing_mm, own, strict=True))
        target = resampled_geometry(source, (z, y, x))
        values = np.round(resample(scan.image.array, source, target))
        labels = resample_labels(scan.label.array, axis_matrices(source, target), 2)
        return Scan(Volume(values, target), Volume(labels, target))

    return apply


def _turned(angles_deg: tuple[float, float, float], spacing_mm: Spacing, *, full: bool) -> Apply:
    """Return the resampling onto an oblique grid around the scan, as another program would do it.

    Args:
        angles_deg: About z, y and x.
        spacing_mm: Of the new grid (z, y, x).
        full: Whether the new grid holds the whole scan, with corners of 0, or, as a scanner's box,
            has the scan's own size, which cuts corners of the anatomy off.
    """

    def apply(scan: Scan, _random: np.random.Generator) -> Scan:
        source = scan.image.geometry
        turn = Rotation.from_euler("zyx", angles_deg, degrees=True).as_matrix()
        target = _turned_grid(source, turn, spacing_mm, full=full)
        values = np.round(straighten(scan.image.array, source, target))
        share = straighten(scan.label.array[None].astype(np.float32), source, target)[0]
        return Scan(Volume(values, target), Volume((share >= 0.5).astype(np.uint8), target))

    return apply


def _turned_grid(
    source: Geometry, turn: NDArray[np.float64], spacing_mm: Spacing, *, full: bool
) -> Geometry:
    axes = turn @ source.direction
    extent = np.asarray(source.spacing_mm) * source.size_zyx
    if full:
        corners = source.corners() - source.corners().mean(axis=0)
        extent = 2.0 * np.abs(corners @ axes).max(axis=0) + source.spacing_mm
    size = np.ceil(extent / spacing_mm).astype(int)
    middle = source.corners().mean(axis=0)
    origin = middle - axes @ ((size - 1) / 2.0 * np.asarray(spacing_mm))
    return Geometry.from_parts(
        (int(size[0]), int(size[1]), int(size[2])),
        spacing_mm,
        (float(origin[0]), float(origin[1]), float(origin[2])),
        axes,
    )


def _in_a_chest(width_mm: float, *, region: bool = False) -> Apply:
    """Return the scan inside a painted slice of a chest, `width_mm` wide and deep.

    With `region` a person has drawn the published crop as region of interest.

    Chest wall, fat, lungs and spine are smooth shapes at the scan's own gray levels with its
    own noise; air around. The scan fades into it over `EDGE_MM`. The depth (z) stays.
    """

    def apply(scan: Scan, random: np.random.Generator) -> Scan:
        source = scan.image.geometry
        margins = [
            max(0, round((width_mm / mm - n) / 2))
            for n, mm in zip(source.size_zyx, source.spacing_mm, strict=True)
        ]
        margins[0] = 0
        z, y, x = (n + 2 * m for n, m in zip(source.size_zyx, margins, strict=True))
        affine = source.affine.copy()
        affine[:3, 3] -= source.affine[:3, :3] @ np.asarray(margins)
        target = Geometry((z, y, x), affine)
        inner = tuple(slice(m, m + n) for m, n in zip(margins, source.size_zyx, strict=True))
        values = chest(target, scan.image.array[0], random)
        near = np.zeros(target.size_zyx[1:], dtype=bool)
        near[inner[1:]] = True
        inward = distance_transform_edt(np.pad(near, 1), sampling=source.spacing_mm[1:])
        share = np.clip(inward[1:-1, 1:-1][inner[1:]] / EDGE_MM, 0.0, 1.0).astype(np.float32)
        values[inner] += share * (scan.image.array[0] - values[inner])
        labels = np.zeros(target.size_zyx, dtype=np.uint8)
        labels[inner] = scan.label.array
        values = np.maximum(np.round(values), 0.0)
        corners = source.corners()
        low, high = (tuple(map(float, end)) for end in (corners.min(axis=0), corners.max(axis=0)))
        box = Box(low, high) if region else None
        return Scan(Volume(values[None], target), Volume(labels, target), box)

    return apply


def _blood(scan: Scan) -> float:
    """Return the median intensity in the left atrium."""
    return float(np.median(scan.image.array[0][scan.label.array == 1]))


def _noisy(share: float) -> Apply:
    """Return Rician noise, its deviation a share of the atrium's median intensity."""

    def change(values: Floats, scan: Scan, random: np.random.Generator) -> Floats:
        real, imaginary = random.normal(0.0, share * _blood(scan), (2, *values.shape))
        return np.asarray(np.hypot(values + real, imaginary))

    return _of_values(change)


def _shaded(ratio: float) -> Apply:
    """Return a smooth multiplicative field, brightest over darkest place `ratio`, mean about 1."""

    def change(values: Floats, _scan: Scan, random: np.random.Generator) -> Floats:
        points = zoom(random.normal(size=(3, 3, 3)), 8, order=3)
        field = stretched(points, values.shape)
        field = (field - field.min()) / np.ptp(field) - 0.5
        return np.asarray(values * np.exp(np.log(ratio) * field))

    return _of_values(change)


def _curved(gamma: float) -> Apply:
    def change(values: Floats, _scan: Scan, _random: np.random.Generator) -> Floats:
        high = float(values.max())
        return np.asarray(high * (values / high) ** gamma)

    return _of_values(change)


def _scaled(factor: float, offset: float = 0.0) -> Apply:
    return _of_values(lambda values, _scan, _random: values * factor + offset)


def _blurred(sigma_mm: float) -> Apply:
    def change(values: Floats, scan: Scan, _random: np.random.Generator) -> Floats:
        sigma = [sigma_mm / mm for mm in scan.image.geometry.spacing_mm]
        return np.asarray(gaussian_filter(values, sigma))

    return _of_values(change)


def _inverted(values: Floats, _scan: Scan, _random: np.random.Generator) -> Floats:
    return np.asarray(values.max() - values)


def _ghosted(values: Floats, _scan: Scan, _random: np.random.Generator) -> Floats:
    """Return the scan with two ghosts of half its strength, shifted along y."""
    shift = values.shape[1] // 4
    ghosts = np.roll(values, shift, axis=1) + np.roll(values, -shift, axis=1)
    return np.asarray(values + 0.5 * ghosts)


def _flipped(axis: int) -> Apply:
    """Return the anatomy mirrored along an axis of the array while the grid stays."""

    def apply(scan: Scan, _random: np.random.Generator) -> Scan:
        image = np.ascontiguousarray(np.flip(scan.image.array, axis + 1))
        label = np.ascontiguousarray(np.flip(scan.label.array, axis))
        return Scan(Volume(image, scan.image.geometry), Volume(label, scan.label.geometry))

    return apply


def _misread(factor: float) -> Apply:
    """Return the same voxels with a wrong voxel size in the header."""

    def apply(scan: Scan, _random: np.random.Generator) -> Scan:
        affine = scan.image.geometry.affine.copy()
        affine[:3, :3] *= factor
        grid = Geometry(scan.image.geometry.size_zyx, affine)
        return Scan(Volume(scan.image.array, grid), Volume(scan.label.array, grid))

    return apply


def _axes_swapped(scan: Scan, _random: np.random.Generator) -> Scan:
    """Return the anatomy as a header with two axes exchanged shows it: sagittal taken for axial."""
    source = scan.image.geometry
    z, y, x = source.size_zyx
    grid = Geometry.from_parts((x, z, y), source.spacing_mm, source.origin_lps)
    image = np.ascontiguousarray(np.moveaxis(scan.image.array, 3, 1))
    label = np.ascontiguousarray(np.moveaxis(scan.label.array, 2, 0))
    return Scan(Volume(image, grid), Volume(label, grid))


def _cropped(share: float) -> Apply:
    """Return the left or right part of the scan, `share` of its width."""

    def apply(scan: Scan, random: np.random.Generator) -> Scan:
        grid = scan.image.geometry
        z, y, x = grid.size_zyx
        kept = round(share * x)
        start = 0 if random.random() < 0.5 else x - kept
        affine = grid.affine.copy()
        affine[:3, 3] += affine[:3, 2] * start
        small = Geometry((z, y, kept), affine)
        part = (..., slice(start, start + kept))
        image, label = (np.ascontiguousarray(v.array[part]) for v in (scan.image, scan.label))
        return Scan(Volume(image, small), Volume(label, small))

    return apply


def _surrogate(make: Callable[[int], Volume]) -> Apply:
    """Return the replacement of a scan by one of another kind, in which no atrium is labeled."""

    def apply(_scan: Scan, random: np.random.Generator) -> Scan:
        image = make(int(random.integers(2**31)))
        size = image.geometry.size_zyx
        return Scan(image, Volume(np.zeros(size, dtype=np.uint8), image.geometry))

    return apply


CLEAN = Change("clean", "as published", lambda scan, _random: scan)
OBLIQUE = Change(
    "oblique", "20, 12, 8 deg, 2.5 x 0.9 x 0.9 mm", _turned((20, 12, 8), (2.5, 0.9, 0.9), full=True)
)
ROBUSTNESS: tuple[Change, ...] = (
    CLEAN,
    OBLIQUE,
    Change(
        "oblique",
        "10, 6, 4 deg, 1.5 x 0.8 x 0.8 mm",
        _turned((10, 6, 4), (1.5, 0.8, 0.8), full=True),
    ),
    Change("oblique", "30, 0, 0 deg, 0.6 mm", _turned((30, 0, 0), (0.625,) * 3, full=True)),
    *(Change("field of view", f"{mm} mm, painted chest", _in_a_chest(mm)) for mm in (160, 240)),
    *(
        Change("field of view", f"{mm} mm, region drawn", _in_a_chest(mm, region=True))
        for mm in (240, 360)
    ),
    *(Change("in-plane", f"{mm} mm", _respaced((None, mm, mm))) for mm in (0.6, 0.8, 1.0, 1.25)),
    *(
        Change("slices", f"{mm} mm", _respaced((mm, None, None)))
        for mm in (1.0, 2.0, 3.0, 4.0, 5.0)
    ),
    Change("slices", "1.25 mm in-plane, 5 mm", _respaced((5.0, 1.25, 1.25))),
    *(
        Change("inhomogeneity", f"brightest : darkest {r}", _shaded(r))
        for r in (1.5, 2.0, 3.0, 5.0)
    ),
    *(Change("noise", f"{s:.0%} of blood", _noisy(s)) for s in (0.05, 0.1, 0.2, 0.4)),
    *(Change("gamma", f"{g}", _curved(g)) for g in (0.5, 0.7, 1.5, 2.5)),
    Change("scale", "intensities x 10", _scaled(10.0)),
    Change("scale", "intensities + 100", _scaled(1.0, 100.0)),
    Change("blur", "sigma 1 mm", _blurred(1.0)),
    Change("blur", "sigma 2 mm", _blurred(2.0)),
    Change("artifact", "ghosts", _of_values(_ghosted)),
    Change("artifact", "upside down", _flipped(0)),
)
OUTSIDE: tuple[Change, ...] = (
    Change("outside", "CT-like surrogate", _surrogate(ct_like), outside=True),
    Change("outside", "brain-MR-like surrogate", _surrogate(brain_like), outside=True),
    Change("outside", "contrast inverted", _of_values(_inverted), outside=True),
    Change("outside", "voxel size read as twice", _misread(2.0), outside=True),
    Change("outside", "axes exchanged", _axes_swapped, outside=True),
    Change("outside", "noise 100% of blood", _noisy(1.0), outside=True),
    Change("outside", "blur, sigma 5 mm", _blurred(5.0), outside=True),
    Change("outside", "half of the scan", _cropped(0.5), outside=True),
    Change("outside", "gamma 4", _curved(4.0), outside=True),
    Change("outside", "turned by 45 deg", _turned((45, 0, 0), (1.0,) * 3, full=True), outside=True),
)
