"""Small scans and label maps on disk for tests, written by nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np


def write_scan(path: Path, array, *, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)) -> Path:
    """Write (D, H, W) or (D, H, W, C) as axial NIfTI; spacing (z, y, x), origin LPS."""
    array = np.asarray(array)
    moved = array.transpose(2, 1, 0, *range(3, array.ndim))
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    affine[:3, 3] = (-origin[0], -origin[1], origin[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(moved, affine)
    image.header.set_qform(affine, 1)
    image.header.set_sform(affine, 1)
    nibabel.save(image, path)
    return path


def scan(seed: int, size=(6, 7, 8)):
    """Return random intensities, float32, different for every seed."""
    return np.random.default_rng(seed).normal(100.0, 10.0, size).astype(np.float32)


def mask(size=(6, 7, 8), values=(1,)):
    """Return a label map with one small block per value."""
    array = np.zeros(size, dtype=np.uint8)
    for index, value in enumerate(values):
        array[2:4, 2:4, 2 * index + 1 : 2 * index + 3] = value
    return array


def write_pairs(root: Path, cases: int, labeled: int, **geometry) -> Path:
    """Write `cases` scans pt00, pt01, ... below images/, labels of the first `labeled` of them."""
    for index in range(cases):
        write_scan(root / "images" / f"pt{index:02d}.nii.gz", scan(index), **geometry)
        if index < labeled:
            write_scan(root / "labels" / f"pt{index:02d}.nii.gz", mask(), **geometry)
    return root
