"""Resampling: equal to its slow twin, bounded, exact where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.resampling import (
    axis_matrices,
    axis_matrix,
    resample,
    resample_labels,
    resampled_geometry,
)
from Testing.reference.naive_resampling import naive_resample

SIZES = st.tuples(*[st.integers(1, 9)] * 3)
SPACINGS = st.tuples(*[st.floats(0.3, 4.0)] * 3)


@settings(max_examples=25, deadline=None)
@given(SIZES, SPACINGS, SPACINGS, st.integers(0, 99))
def test_equals_the_slow_twin(size, old, new, seed):
    source = Geometry.from_parts(size, old)
    target = resampled_geometry(source, new)
    array = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    ratios = [b / a for a, b in zip(source.spacing_mm, target.spacing_mm, strict=True)]
    expected = naive_resample(array.astype(np.float64), target.size_zyx, ratios)
    np.testing.assert_allclose(resample(array[None], source, target)[0], expected, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(SIZES, SPACINGS, SPACINGS)
def test_both_grids_share_their_center_and_nearly_their_extent(size, old, new):
    source = Geometry.from_parts(size, old, origin_lps=(10.0, -20.0, 30.0))
    target = resampled_geometry(source, new)
    middle = [(np.asarray(g.size_zyx) - 1) / 2 for g in (source, target)]
    np.testing.assert_allclose(source.to_world(middle[0]), target.to_world(middle[1]), atol=1e-6)
    for n, a, m, b in zip(size, old, target.size_zyx, target.spacing_mm, strict=True):
        assert m == 1 or abs(n * a - m * b) <= b


def test_same_spacing_returns_the_very_voxels():
    source = Geometry.from_parts((3, 4, 5), (2.0, 1.0, 0.625))
    target = resampled_geometry(source, (2.0, 1.0, 0.625 * 1.00005))
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    assert target.size_zyx == source.size_zyx
    assert np.array_equal(target.affine, source.affine)
    assert resample(array, source, target) is array


def test_the_grid_has_the_nearest_number_of_voxels_and_small_changes_of_spacing_count():
    assert resampled_geometry(Geometry.from_parts((10, 10, 10)), (1.7, 2.2, 1.0)).size_zyx == (
        6,
        5,
        10,
    )
    moved = resampled_geometry(Geometry.from_parts((200, 4, 4)), (0.995, 1.0, 1.0))
    assert moved.size_zyx == (201, 4, 4)
    assert moved.spacing_mm[0] == pytest.approx(0.995)


def test_shrinking_averages_instead_of_skipping():
    stripes = np.tile(np.float32([0.0, 1.0]), 16)[None, None, None]
    source = Geometry.from_parts((1, 1, 32))
    shrunk = resample(stripes, source, resampled_geometry(source, (1.0, 1.0, 4.0)))
    np.testing.assert_allclose(shrunk, 0.5, atol=0.05)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 1.7, 6.0])
@pytest.mark.parametrize("source", [1, 2, 7])
def test_weights_are_an_average(source, ratio):
    matrix = axis_matrix(source, max(1, round(source / ratio)), ratio)
    if matrix is not None:
        np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-6)
        assert matrix.min() >= 0


def test_labels_stay_classes_and_equal_shares_keep_the_structure():
    labels = np.zeros((1, 1, 8), dtype=np.uint8)
    labels[..., 3:5] = 3
    source = Geometry.from_parts((1, 1, 8))
    matrices = axis_matrices(source, resampled_geometry(source, (1.0, 1.0, 2.0)))
    assert resample_labels(labels, matrices, 4).ravel().tolist() == [0, 3, 3, 0]


def test_many_labels_equal_one_hot_argmax():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, (6, 7, 8)).astype(np.uint8)
    source = Geometry.from_parts((6, 7, 8), (1.0, 1.3, 0.7))
    target = resampled_geometry(source, (1.7, 0.9, 1.1))
    one_hot = np.stack([labels == k for k in range(4)]).astype(np.float32)
    shares = resample(one_hot, source, target)
    found = resample_labels(labels, axis_matrices(source, target), 4)
    chosen = np.take_along_axis(shares, found[None].astype(np.int64), 0)[0]
    assert (chosen >= shares.max(axis=0) - 1e-5).all()
