"""What programs fill in is told from what scanners measure."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data import blank
from dycon_engine.data.blank import blank_voxels


def noise(size=(14, 16, 18)) -> np.ndarray:
    return np.random.default_rng(0).normal(100.0, 20.0, size).astype(np.float32)


@pytest.mark.parametrize(("fill", "found"), [(0.0, True), (-1000.0, True), (90.0, False)])
def test_a_filled_corner_of_zero_or_the_lowest_value_is_blank(fill, found):
    scan, corner = noise(), np.zeros((14, 16, 18), dtype=bool)
    corner[:8, :9, 5:] = True
    scan[corner] = fill
    seen = blank_voxels(scan, 1.5)
    assert np.array_equal(seen, corner) if found else seen is None


def test_an_oblique_border_is_blank_but_for_slivers():
    z, y, x = np.indices((30, 30, 30))
    outside = x + y + z < 30
    scan = np.where(outside, 0.0, noise((30, 30, 30)))
    seen = blank_voxels(scan, 1.0)
    assert not seen[~outside].any()
    assert seen.sum() > 0.95 * outside.sum()


def test_small_blocks_blocks_inside_and_scattered_voxels_are_not_blank():
    scan = noise()
    scan[np.random.default_rng(1).random(scan.shape) < 0.3] = 0.0  # dark noise
    assert blank_voxels(scan, 1.0) is None
    inside = noise((30, 30, 30))
    inside[5:25, 5:25, 5:25] = 0.0
    assert blank_voxels(inside, 1.0) is None
    small = noise()
    small[:5, :5, :5] = 0.0
    assert blank_voxels(small, 1.0) is None
    assert blank_voxels(small, 20.0) is not None


def test_a_large_scan_is_counted_in_parts(monkeypatch):
    """A count of all voxels at once needs eight bytes for each."""
    scan = noise((30, 30, 30))
    scan[:12] = 0.0
    whole = blank_voxels(scan, 1.0)
    monkeypatch.setattr(blank, "PART", 1000)
    assert np.array_equal(blank_voxels(scan, 1.0), whole)
    assert whole.sum() == 12 * 30 * 30


def test_a_voxel_is_blank_where_every_channel_is():
    both = np.stack([noise(), noise()])
    both[0, :, :, :9] = both[1, :, :, :7] = 0.0
    found = blank.blank_everywhere(both, 1.5)
    assert np.array_equal(found, (both == 0.0).all(axis=0))
    both[1] = noise()
    assert blank.blank_everywhere(both, 1.5) is None
    assert np.array_equal(blank.unpacked(blank.packed(found), found.shape), found)


def test_a_volume_of_one_value_has_no_blank_voxels():
    assert blank_voxels(np.zeros((20, 20, 20)), 1.0) is None
