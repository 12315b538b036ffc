"""Wider scans to train the shipped left-atrium model with: published crops in made-up surroundings.

    python benchmarks/left_atrium_surroundings.py --data LA2018 --output WIDE

The published scans are cropped around the heart, so a model trained on them alone has never seen
what lies beside it. Every training scan is written once as it is and once inside a wider field: a
mosaic of turned, brightened and darkened pieces of other training scans, without their atrium,
over smooth tissue with noise, dark lungs and air. No voxel of it is a real chest. The painted one
that the model is measured in (`left_atrium_surrogates.chest`) is made otherwise, but has an
outline, lungs, smooth tissue and noise as well: it shows less than a real wide scan would.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk  # noqa: N813 - as its own documentation does
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, zoom

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.left_atrium_measuring import VALIDATION, case_names

Floats = NDArray[np.float32]
WIDTH_MM = (130.0, 280.0)  # of the wider field, along y and x
PIECES = (40, 140)
PIECE_MM = (20.0, 70.0)
EDGE_MM = (1.0, 8.0)  # over which a scan fades into its surroundings
ATRIUM_MARGIN = 4  # voxels around the atrium that no piece shows
SMOOTH_MM = (4.0, 14.0)
NOISE = 2.0  # gray values
DONORS = 5  # scans that one is surrounded by
SUFFIX = "-wide"


class Donor(NamedTuple):
    """A training scan (z, y, x) and where it may be copied from."""

    image: Floats
    free: NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    options = parser.parse_args()
    write(options.data, options.output)


def write(data: Path, output: Path) -> None:
    """Write the folder pair and `train.list`: training scans, plain and wide, then validation."""
    names = case_names(data)
    training = names[:-VALIDATION]
    for part in ("images", "labels"):
        (output / part).mkdir(parents=True)
        for name in names:
            shutil.copy(data / part / f"{name}.nii.gz", output / part)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_write_wide, data, output, training), range(len(training))))
    order = [each for name in training for each in (name, name + SUFFIX)]
    listed = "\n".join((*order, *names[-VALIDATION:])) + "\n"
    (output / "train.list").write_text(listed, encoding="utf-8")


def _write_wide(data: Path, output: Path, names: Sequence[str], index: int) -> None:
    random, name = np.random.default_rng(index), names[index]
    image, label = _read(data, name)
    others = [i for i in random.permutation(len(names)) if i != index][:DONORS]
    wide = surrounded(
        sitk.GetArrayFromImage(image).astype(np.float32),
        sitk.GetArrayFromImage(label),
        [_donor(data, names[i]) for i in others],
        image.GetSpacing()[0],
        random,
    )
    for part, array in zip(("images", "labels"), wide, strict=True):
        made = sitk.GetImageFromArray(array)
        made.SetSpacing(image.GetSpacing())
        sitk.WriteImage(made, str(output / part / f"{name}{SUFFIX}.nii.gz"))


def _read(data: Path, name: str) -> tuple[sitk.Image, sitk.Image]:
    image, label = (
        sitk.ReadImage(str(data / part / f"{name}.nii.gz")) for part in ("images", "labels")
    )
    return image, label


def surrounded(
    image: Floats,
    label: NDArray[np.uint8],
    donors: Sequence[Donor],
    voxel_mm: float,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return `image` and `label` (z, y, x) somewhere inside a wider field; z stays.

    Args:
        image: Gray values from 0 to 255.
        label: Of the same shape.
        donors: Scans that the surroundings are cut from.
        voxel_mm: Edge of a voxel.
        random: Draws everything.
    """
    depth, *own = image.shape
    size = [max(n, round(random.uniform(*WIDTH_MM) / voxel_mm)) for n in own]
    field = _tissue((depth, *size), image, voxel_mm, random)
    for _ in range(random.integers(*PIECES)):
        _paste(field, donors[int(random.integers(len(donors)))], image, voxel_mm, random)
    field *= _body(size, random)
    real, imaginary = NOISE * random.standard_normal((2, *field.shape), dtype=np.float32)
    field = np.hypot(field + real, imaginary)
    place = [int(random.integers(0, n - m + 1)) for n, m in zip(size, own, strict=True)]
    inner = (slice(None), *(slice(p, p + m) for p, m in zip(place, own, strict=True)))
    share = _fade(own, random.uniform(*EDGE_MM) / voxel_mm)
    field[inner] += share * (image - field[inner])
    wide_label = np.zeros(field.shape, dtype=np.uint8)
    wide_label[inner] = label
    return np.clip(np.round(field), 0, 255).astype(np.uint8), wide_label


def _donor(data: Path, name: str) -> Donor:
    image, label = map(sitk.GetArrayFromImage, _read(data, name))
    near = binary_dilation(label > 0, iterations=ATRIUM_MARGIN)
    return Donor(image.astype(np.float32), ~near)


def _tissue(
    shape: tuple[int, ...], image: Floats, voxel_mm: float, random: np.random.Generator
) -> Floats:
    """Return smooth tissue at the gray levels of `image`."""
    step = 4
    coarse = random.standard_normal([-(-n // step) for n in shape], dtype=np.float32)
    smooth = gaussian_filter(coarse, random.uniform(*SMOOTH_MM) / voxel_mm / step)
    smooth = (smooth - smooth.mean()) / max(float(smooth.std()), 1e-6)
    levels = np.percentile(image, random.uniform((5, 55), (45, 99)))
    fine = zoom(smooth, [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1)
    middle, half = levels.mean(), max(float(np.ptp(levels)) / 4.0, 1.0)
    return np.maximum(middle + half * fine, 0.0).astype(np.float32)


def _paste(
    field: Floats, donor: Donor, image: Floats, voxel_mm: float, random: np.random.Generator
) -> None:
    """Copy one piece of `donor` onto a random place of `field`, at about the levels of `image`."""
    wanted = [round(random.uniform(*PIECE_MM) / voxel_mm) for _ in range(2)]
    size = [
        min(w, n, m) for w, n, m in zip(wanted, donor.image.shape[1:], field.shape[1:], strict=True)
    ]
    start = [
        random.integers(0, n - s + 1) for n, s in zip(donor.image.shape[1:], size, strict=True)
    ]
    cut = (slice(None), *(slice(a, a + s) for a, s in zip(start, size, strict=True)))
    flips = tuple(axis for axis in range(3) if random.random() < 0.5)
    piece, free = np.flip(donor.image[cut], flips), np.flip(donor.free[cut], flips)
    depth = min(len(piece), len(field))
    place = [random.integers(0, n - s + 1) for n, s in zip(field.shape[1:], size, strict=True)]
    target = (slice(depth), *(slice(p, p + s) for p, s in zip(place, size, strict=True)))
    bright = image.mean() / max(float(piece.mean()), 1.0) * random.uniform(0.5, 1.6)
    share = _fade(size, random.uniform(*EDGE_MM) / voxel_mm) * free[:depth]
    field[target] += share * (bright * piece[:depth] - field[target])


def _fade(size: Sequence[int], edge: float) -> Floats:
    """Return 1 inside an in-plane rectangle, falling to 0 over `edge` voxels towards its border."""
    away = [np.minimum(np.arange(n) + 1, np.arange(n)[::-1] + 1) for n in size]
    inward = np.minimum(away[0][:, None], away[1][None, :])
    return np.clip(inward / max(edge, 1.0), 0.0, 1.0).astype(np.float32)


def _body(size: Sequence[int], random: np.random.Generator) -> Floats:
    """Return 1 inside a body with dark lungs, 0 in the air around it, softly."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
    reach = random.uniform(0.85, 1.5, size=2)
    body = (y[:, None] / reach[0]) ** 2 + (x[None, :] / reach[1]) ** 2 < 1.0
    kept = np.ones(body.shape, dtype=np.float32)
    for _ in range(random.integers(0, 4)):
        middle, radius = random.uniform(-0.9, 0.9, 2), random.uniform(0.15, 0.5, 2)
        away = ((y[:, None] - middle[0]) / radius[0]) ** 2 + (
            (x[None, :] - middle[1]) / radius[1]
        ) ** 2
        kept[away < 1.0] = random.uniform(0.05, 0.4)
    soft = distance_transform_edt(np.pad(body, 1))[1:-1, 1:-1]
    return gaussian_filter(kept, 1.5) * np.clip(soft / 3.0, 0.0, 1.0).astype(np.float32)


if __name__ == "__main__":
    main()
