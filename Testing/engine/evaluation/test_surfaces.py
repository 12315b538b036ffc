"""Surface voxels and the two ways to search them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from dycon_engine.evaluation import surfaces


def random_mask(seed, smooth=1.0):
    noise = np.random.default_rng(seed).standard_normal((12, 10, 14))
    return gaussian_filter(noise, smooth) > 0


@pytest.mark.parametrize("seed", range(3))
def test_surface_is_mask_without_its_erosion_in_array_order(seed):
    mask = random_mask(seed)
    expected = np.argwhere(mask ^ binary_erosion(mask))
    assert np.array_equal(surfaces.surface_positions(mask), expected)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.5, 0.9)])
def test_tree_and_transform_give_the_same_distances(spacing, monkeypatch):
    one, two = (surfaces.surface_positions(random_mask(seed)) for seed in (1, 2))
    results = []
    for ratio in (0, 10**9):
        monkeypatch.setattr(surfaces, "TREE_RATIO", ratio)
        results.append(surfaces.surface_distances(one, two, spacings_mm=(spacing,))[0])
    for by_tree, by_transform in zip(*results, strict=True):
        np.testing.assert_allclose(by_tree, by_transform, rtol=1e-14)


def test_each_spacing_has_its_own_nearest_voxel():
    one = np.array([[0, 0, 0]], dtype=np.int32)
    two = np.array([[2, 0, 0], [0, 0, 3]], dtype=np.int32)
    in_mm, in_voxels = surfaces.surface_distances(
        one, two, spacings_mm=((5.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    )
    assert in_mm.to_reference.tolist() == [3.0]
    assert in_mm.to_prediction.tolist() == [10.0, 3.0]
    assert in_voxels.to_reference.tolist() == [2.0]
