"""B12: the masks of unlabeled cases are never looked at: replaced or deleted, the same weights."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data.formats.writers import write_label
from dycon_engine.data.geometry import Geometry
from Testing.engine.training import small_run

UNLABELED = small_run.NAMES[2:]
SETTINGS = ("training.steps=60", "training.threads=1")
DYCON = ("method.name=dycon", "network.filters=[4, 8, 8]")


def replace_masks(data):
    random = np.random.default_rng(7)
    geometry = Geometry.from_parts((small_run.EDGE,) * 3, (2.0, 2.0, 2.0))
    for name in UNLABELED:
        noise = random.integers(0, 2, (small_run.EDGE,) * 3).astype(np.uint8)
        write_label(data / "labels" / f"{name}.nii.gz", noise, geometry, overwrite=True)


def delete_masks(data):
    for name in UNLABELED:
        (data / "labels" / f"{name}.nii.gz").unlink()


def trained(data, run_dir, *more):
    assert small_run.run(data, run_dir, *SETTINGS, *more) == 0
    return small_run.weights_sha(run_dir), small_run.losses(run_dir)


def test_masks_of_unlabeled_cases_change_no_bit_of_the_weights(tmp_path):
    data = small_run.write_scans(tmp_path / "data")
    first = trained(data, tmp_path / "run0", *DYCON)
    assert len(first[1]) == 60
    replace_masks(data)
    assert trained(data, tmp_path / "run1", *DYCON) == first
    delete_masks(data)
    assert trained(data, tmp_path / "run2", *DYCON) == first


def test_a_labeled_mask_does_change_them(tmp_path):
    """Negative control: the comparison sees a label that is looked at."""
    data = small_run.write_scans(tmp_path / "data")
    before = trained(data, tmp_path / "run0", "training.steps=4")
    geometry = Geometry.from_parts((small_run.EDGE,) * 3, (2.0, 2.0, 2.0))
    box = np.zeros((small_run.EDGE,) * 3, dtype=np.uint8)
    box[2:9, 2:9, 2:9] = 1
    path = data / "labels" / f"{small_run.NAMES[0]}.nii.gz"
    write_label(path, box, geometry, overwrite=True)
    assert trained(data, tmp_path / "run1", "training.steps=4") != before


@pytest.mark.parametrize("name", UNLABELED)
def test_a_broken_mask_of_an_unlabeled_case_does_not_matter(tmp_path, name):
    data = small_run.write_scans(tmp_path / "data")
    (data / "labels" / f"{name}.nii.gz").write_bytes(b"not a mask")
    assert small_run.run(data, tmp_path / "run", "training.steps=1") == 0
