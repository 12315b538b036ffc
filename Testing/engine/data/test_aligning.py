"""Aligning: the same voxels in any order of axes come back exactly, all others stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dycon_engine.data.aligning import on_grid
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.orientation import Orientation
from dycon_engine.data.volume import Volume
from Testing.engine.data.test_orientation import SIGNED

ORDERS = [
    Orientation(
        tuple(int(axis) for axis in np.abs(signed).argmax(axis=1)), tuple(signed.sum(1) < 0)
    )
    for signed in SIGNED
]


def turned(angle):
    """An axial direction turned about the first axis of the array."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return turn @ np.eye(3)[:, ::-1]


def numbered(grid, channels=()):
    size = (*channels, *grid.size_zyx)
    return Volume(np.arange(np.prod(size), dtype=np.int32).reshape(size), grid)


@pytest.mark.parametrize("order", ORDERS, ids=range(48))
@settings(max_examples=10, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 5)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 5.0)] * 3),
    angle=st.one_of(st.just(np.pi / 4), st.floats(-4.0, 4.0)),
    channels=st.sampled_from([(), (2,)]),
)
def test_every_order_of_axes_comes_back_voxel_for_voxel(order, size, spacing, angle, channels):
    volume = numbered(
        Geometry.from_parts(size, spacing, (7.0, -80.0, 9.0), turned(angle)), channels
    )
    stored = Volume(order.apply(volume.array), order.geometry(volume.geometry))
    back = on_grid(stored, volume.geometry)
    assert np.array_equal(back.array, volume.array)
    assert volume.geometry.corner_distance_voxels(back.geometry) < 0.01


@pytest.mark.parametrize("order", ORDERS, ids=range(48))
def test_a_part_is_padded_in_every_order(order):
    whole = numbered(Geometry.from_parts((5, 6, 7), (2.0, 1.0, 0.5), (3.0, 4.0, 5.0), turned(0.3)))
    corner = whole.geometry.to_world(np.array([1.0, 2.0, 3.0]))
    part = Geometry.from_parts((3, 4, 2), (2.0, 1.0, 0.5), tuple(corner), turned(0.3))
    inside = (slice(1, 4), slice(2, 6), slice(3, 5))
    stored = Volume(order.apply(whole.array[inside]), order.geometry(part))
    padded = on_grid(stored, whole.geometry, cropped=True)
    expected = np.zeros_like(whole.array)
    expected[inside] = whole.array[inside]
    assert np.array_equal(padded.array, expected)
    assert padded.geometry is whole.geometry
    assert on_grid(stored, whole.geometry) is stored


@pytest.mark.parametrize(
    ("size", "spacing", "origin"),
    [
        ((3, 4, 5), (1.0, 1.0, 1.0), (0.5, 0.0, 0.0)),  # between two voxels
        ((3, 4, 5), (1.0, 1.0, 1.1), (0.0, 0.0, 0.0)),
        ((3, 4, 5), (1.0, 1.0, 1.0), (-1.0, 0.0, 0.0)),  # begins outside
        ((3, 4, 5), (1.0, 1.0, 1.0), (3.0, 0.0, 0.0)),  # ends outside
        ((3, 4, 9), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    ],
)
def test_what_lies_elsewhere_stays_as_it_is(size, spacing, origin):
    grid = Geometry.from_parts((5, 6, 7))
    volume = numbered(Geometry.from_parts(size, spacing, origin))
    assert on_grid(volume, grid, cropped=True) is volume


def test_the_same_grid_costs_nothing():
    volume = numbered(Geometry.from_parts((3, 4, 5)))
    near = Geometry.from_parts((3, 4, 5), origin_lps=(0.005, 0.0, 0.0))
    assert on_grid(volume, near) is volume
