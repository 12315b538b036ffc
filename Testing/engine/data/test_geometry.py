"""The one geometry type: frames, distances, closed forms and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dycon_engine.data.geometry import Box, Geometry

numbers = st.floats(-1e3, 1e3, allow_nan=False)
spacings = st.tuples(*[st.floats(0.05, 8.0)] * 3)
sizes = st.tuples(*[st.integers(1, 40)] * 3)


def turned(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


def test_default_axes_are_axial_z_up_y_back_x_left():
    grid = Geometry.from_parts((2, 3, 4), (5.0, 2.0, 1.0), (10.0, 20.0, 30.0))
    np.testing.assert_array_equal(grid.to_world(np.array([0.0, 0.0, 1.0])), [11, 20, 30])
    np.testing.assert_array_equal(grid.to_world(np.array([0.0, 1.0, 0.0])), [10, 22, 30])
    np.testing.assert_array_equal(grid.to_world(np.array([1.0, 0.0, 0.0])), [10, 20, 35])
    assert grid.spacing_mm == (5.0, 2.0, 1.0)
    assert grid.origin_lps == (10.0, 20.0, 30.0)
    assert grid.voxel_mm3 == pytest.approx(10.0)


@given(sizes, spacings, st.tuples(numbers, numbers, numbers), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_parts_give_the_same_grid_back(size, spacing, origin, seed):
    grid = Geometry.from_parts(size, spacing, origin, turned(seed))
    again = Geometry.from_parts(size, grid.spacing_mm, grid.origin_lps, grid.direction)
    assert grid.corner_distance_voxels(again) < 1e-9
    assert grid.voxel_mm3 == pytest.approx(float(np.prod(spacing)))


def test_corner_distance_is_counted_in_own_voxels():
    grid = Geometry.from_parts((11, 21, 31), (2.0, 1.0, 0.5))
    shifted = Geometry.from_parts((11, 21, 31), (2.0, 1.0, 0.5), (0.25, 0.0, 0.0))
    assert grid.corner_distance_voxels(shifted) == pytest.approx(0.5)
    stretched = Geometry.from_parts((11, 21, 31), (2.0, 1.01, 0.5))
    assert grid.corner_distance_voxels(stretched) == pytest.approx(0.2)
    flipped = Geometry.from_parts((11, 21, 31), (2.0, 1.0, 0.5), direction=-np.eye(3)[:, ::-1])
    assert grid.corner_distance_voxels(flipped) == pytest.approx(60)
    assert grid.corner_distance_voxels(Geometry.from_parts((11, 21, 30))) == np.inf


def test_one_voxel_grids_differ_by_their_origin_only():
    one = Geometry.from_parts((1, 1, 1), (2.0, 2.0, 2.0))
    assert one.corner_distance_voxels(Geometry.from_parts((1, 1, 1), (3.0, 3.0, 3.0))) == 0


def test_the_voxels_of_a_box_are_those_whose_center_lies_in_it():
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    tilt = np.array([[1.0, 0.0, 0.0], [0.0, 0.96, -0.28], [0.0, 0.28, 0.96]])
    grid = Geometry.from_parts((5, 7, 6), (2.5, 0.8, 1.1), (-20.0, 4.0, 7.0), turn @ tilt)
    box = Box((-20.5, 4.5, 8.0), (-17.0, 8.5, 16.0))
    expected = np.zeros(grid.size_zyx, dtype=bool)
    wider = expected.copy()
    for index in np.ndindex(grid.size_zyx):
        point = grid.to_world(np.array(index, dtype=float))
        expected[index] = (point >= box.low_lps).all() and (point <= box.high_lps).all()
        margin = np.maximum(np.subtract(box.low_lps, point), np.subtract(point, box.high_lps))
        wider[index] = (margin <= 1.5).all()
    assert 0 < expected.sum() < wider.sum() < expected.size
    assert np.array_equal(grid.inside(box), expected)
    assert np.array_equal(grid.inside(box, margin_mm=1.5), wider)
