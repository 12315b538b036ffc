"""Phantom scans: chest-like MR volumes with a heart, made of formulas, so no download is needed.

A case is a pure function of (seed, number). Anatomy lives in world millimetres (LPS, heart at 0):
chambers, vessels, lungs, spine and chest wall as smooth solids, varied in place, size, tilt and by
a low-frequency deformation. The scanner then samples it on an oblique, anisotropic grid of varying
field of view, with partial volume, tissue texture, a bias field, contrast that differs between
scans and Rician noise. Two chambers are labeled; the right heart and the vessels look the same and
are not, so that intensity alone does not find them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial.transform import Rotation

from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.data.geometry import Geometry, Size
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError

Floats = NDArray[np.float32]
Solid = Callable[[Floats], Floats]  # world (..., 3) LPS mm -> signed distance (...) mm, inside < 0

LABELS = ("background", "left atrium", "left ventricle")
SIZE: Size = (44, 56, 56)
SMALLEST = 16


class Phantom(NamedTuple):
    """One generated case: image (1, D, H, W) float32 and label map (D, H, W) uint8, one grid."""

    image: Volume
    label: Volume


@dataclass(frozen=True)
class Tissue:
    """A solid and what it looks like.

    Attributes:
        solid: Its shape in the world.
        intensity: Mean signal, 1 = blood of an average scan.
        label: Class index of its voxels.
        texture: Standard deviation of the smooth texture inside, as a share of `intensity`.
    """

    solid: Solid
    intensity: float
    label: int = 0
    texture: float = 0.06


def make_phantoms(
    folder: Path,
    *,
    count: int,
    labeled: int,
    seed: int = 0,
    size: Size = SIZE,
    first: int = 1,
) -> tuple[str, ...]:
    """Write phantoms as `folder`/images and `folder`/labels NIfTI pairs and return their names.

    Args:
        folder: Made if absent; files already there are not touched.
        count: Number of scans.
        labeled: The first so many scans also get a label file.
        seed: Together with a scan's number decides everything about it.
        size: About the voxels (z, y, x) of a scan; the field of view varies by a few percent.
        first: Number of the first scan, so that sets of one seed need not overlap.

    Raises:
        InputError: A file exists, more labels than scans, or a size below 16 voxels.
    """
    if not 0 <= labeled <= count or min(size) < SMALLEST:
        raise InputError(
            f"phantoms: {labeled} labeled of {count} scans of {size} voxels; expected at most as "
            f"many labels as scans and at least {SMALLEST} voxels a side"
        )
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = tuple(f"phantom{number:03d}" for number in range(first, first + count))
    for index, name in enumerate(names):
        phantom = make_phantom(seed, first + index, size=size)
        image = phantom.image
        path = folder / "images" / f"{name}.nii.gz"
        write_scalar(path, image.array[0], image.geometry, overwrite=False)
        if index < labeled:
            path = folder / "labels" / f"{name}.nii.gz"
            write_label(path, phantom.label.array, phantom.label.geometry, overwrite=False)
    return names


def make_phantom(seed: int, number: int, *, size: Size = SIZE) -> Phantom:
    """Return phantom `number` of `seed`."""
    random = np.random.default_rng([seed, number])
    geometry = _scan_grid(random, size)
    grid = np.stack(np.meshgrid(*map(np.arange, geometry.size_zyx), indexing="ij"), axis=-1)
    world = geometry.to_world(grid.astype(np.float64)).astype(np.float32)
    tissues = _anatomy(random)
    warped = _deform(random, world)
    signal, labels = _compose(random, tissues, warped, edge_mm=min(geometry.spacing_mm))
    return Phantom(
        Volume(_scan(random, signal, geometry)[None], geometry), Volume(labels, geometry)
    )


def _scan_grid(random: np.random.Generator, size: Size) -> Geometry:
    """An oblique, anisotropic grid around the heart: 3.4 mm slices of 2.8 mm voxels at SIZE."""
    sides = tuple(max(SMALLEST, round(n * random.uniform(0.92, 1.08))) for n in size)
    spacing = np.array([150.0, 157.0, 157.0]) / np.array(size) * random.uniform(0.95, 1.05, 3)
    tilt = Rotation.from_euler("zyx", random.normal(0.0, [10.0, 7.0, 7.0]), degrees=True)
    direction = tilt.as_matrix() @ np.eye(3)[:, ::-1]
    center = np.array([2.0, 6.0, 0.0]) + random.normal(0.0, 6.0, 3)
    middle = (np.array(sides) - 1) / 2
    origin = center - direction @ (spacing * middle)
    z, y, x = (float(s) for s in spacing)
    return Geometry.from_parts(
        (sides[0], sides[1], sides[2]),
        (z, y, x),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        direction,
    )


def _anatomy(random: np.random.Generator) -> tuple[Tissue, ...]:
    """The tissues of one patient, later ones over earlier ones."""
    contrast = random.uniform(0.45, 0.75)  # muscle against blood
    blood = random.normal(1.0, 0.05, 6)
    size = random.uniform(0.88, 1.12)

    def place(*center: float) -> NDArray[np.float64]:
        return size * np.array(center) + random.normal(0.0, 2.5, 3)

    def solid(center: tuple[float, ...], radii: tuple[float, ...]) -> Solid:
        varied = size * np.array(radii) * random.uniform(0.85, 1.15, 3)
        turn = Rotation.from_euler("zyx", random.normal(0.0, 12.0, 3), degrees=True)
        return _ellipsoid(place(*center), varied, turn)

    def tube(start: tuple[float, ...], end: tuple[float, ...], radius: float) -> Solid:
        return _capsule(place(*start), place(*end), radius * size * random.uniform(0.85, 1.2))

    atrium = [solid((3, 27, 14), (25, 15, 19))]
    for side, height in ((-1, 22), (-1, 4), (1, 24), (1, 8)):  # pulmonary veins
        atrium.append(tube((3 + 12 * side, 29, height - 2), (3 + 31 * side, 35, height), 5.0))
    ventricle = solid((25, -7, -17), (19, 18, 30))
    return (
        Tissue(solid((0, 5, 0), (150, 108, 400)), 0.45 * contrast / 0.6, texture=0.1),
        Tissue(solid((92, 8, 10), (44, 78, 110)), 0.10, texture=0.4),  # lungs
        Tissue(solid((-84, 8, 10), (46, 80, 110)), 0.10, texture=0.4),
        Tissue(tube((0, 80, -120), (0, 80, 120), 19), 0.62, texture=0.15),  # spine
        Tissue(solid((4, -6, -2), (62, 46, 58)), random.uniform(0.6, 1.1), texture=0.12),  # fat
        Tissue(solid((8, 0, -6), (54, 40, 46)), contrast),  # muscle around the chambers
        Tissue(solid((25, -7, -17), (30, 29, 41)), contrast),
        Tissue(tube((6, 50, -90), (10, 47, 90), 6), 0.5),  # esophagus
        Tissue(tube((24, 50, -90), (24, 50, 90), 10), blood[0]),  # descending aorta
        Tissue(solid((-31, 4, -2), (18, 20, 25)), blood[1]),  # right atrium
        Tissue(solid((-6, -27, -15), (28, 14, 25)), blood[2]),  # right ventricle
        Tissue(tube((-4, 2, 14), (-8, -8, 80), 12), blood[3]),  # ascending aorta
        Tissue(tube((12, -14, 22), (22, 8, 46), 10), blood[4]),  # pulmonary trunk
        Tissue(_union(*atrium), blood[5] * random.uniform(0.9, 1.05), label=1),
        Tissue(ventricle, blood[5] * random.uniform(0.95, 1.1), label=2),
    )


def _deform(random: np.random.Generator, world: Floats) -> Floats:
    """Move every point by up to about 8 mm, smoothly over 80 to 200 mm."""
    moved = world.copy()
    for _ in range(5):
        wave = random.normal(0.0, 1.0, 3)
        wave *= 2 * np.pi / (random.uniform(80.0, 200.0) * np.linalg.norm(wave))
        push = random.normal(0.0, 1.6, 3)
        phase = world @ wave.astype(np.float32) + np.float32(random.uniform(0, 2 * np.pi))
        moved += np.sin(phase)[..., None] * push.astype(np.float32)
    return moved


def _compose(
    random: np.random.Generator, tissues: tuple[Tissue, ...], points: Floats, *, edge_mm: float
) -> tuple[Floats, NDArray[np.uint8]]:
    """Blend the tissues with soft edges one voxel wide (partial volume); label by the center."""
    shape = points.shape[:-1]
    smooth = gaussian_filter(random.standard_normal(shape, dtype=np.float32), 1.2)
    smooth /= smooth.std()
    signal = np.full(shape, 0.02, dtype=np.float32)
    labels = np.zeros(shape, dtype=np.uint8)
    for tissue in tissues:
        distance = tissue.solid(points)
        share = np.clip(0.5 - distance / edge_mm, 0.0, 1.0)
        inside = tissue.intensity * (1.0 + tissue.texture * smooth)
        signal += share * (inside - signal)
        labels[distance < 0.0] = tissue.label
    return signal, labels


def _scan(random: np.random.Generator, signal: Floats, geometry: Geometry) -> Floats:
    """What the scanner makes of the signal: blur, bias field, Rician noise, arbitrary units."""
    blurred = gaussian_filter(signal, random.uniform(0.3, 0.7))
    coarse = random.normal(0.0, 0.16, (3, 3, 3))
    bias = np.exp(zoom(coarse, np.array(geometry.size_zyx) / 3, order=3))
    level = random.uniform(0.05, 0.11)
    real, imaginary = (random.normal(0.0, level, signal.shape) for _ in range(2))
    magnitude = np.hypot(blurred * bias + real, imaginary)
    scanned = magnitude * random.uniform(150.0, 600.0)
    return np.ascontiguousarray(scanned.round(), dtype=np.float32)


def _ellipsoid(center: NDArray[np.float64], radii: NDArray[np.float64], turn: Rotation) -> Solid:
    matrix = turn.as_matrix().astype(np.float32)
    middle, size = center.astype(np.float32), radii.astype(np.float32)

    def distance(points: Floats) -> Floats:
        local = (points - middle) @ matrix / size
        unit = np.linalg.norm(local, axis=-1)
        slope = np.linalg.norm(local / size, axis=-1)
        return np.asarray(unit * (unit - 1.0) / np.maximum(slope, 1e-6))  # first-order distance

    return distance


def _capsule(start: NDArray[np.float64], end: NDArray[np.float64], radius: float) -> Solid:
    first, axis = start.astype(np.float32), (end - start).astype(np.float32)

    def distance(points: Floats) -> Floats:
        along = np.clip((points - first) @ axis / (axis @ axis), 0.0, 1.0)
        away = np.linalg.norm(points - first - along[..., None] * axis, axis=-1)
        return np.asarray(away - np.float32(radius))

    return distance


def _union(*solids: Solid, blend_mm: float = 5.0) -> Solid:
    """The solids melted into one, with rounded joints."""

    def distance(points: Floats) -> Floats:
        total = solids[0](points)
        for solid in solids[1:]:
            other = solid(points)
            near = np.maximum(blend_mm - np.abs(total - other), 0.0) / blend_mm
            total = np.minimum(total, other) - near * near * blend_mm / 4.0
        return total

    return distance
