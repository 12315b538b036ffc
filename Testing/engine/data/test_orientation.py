"""Orientation: every signed permutation comes to axial LPS and exactly back."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.orientation import axial_orientation

SIGNED = [
    np.eye(3)[:, list(axes)] * np.asarray(signs)
    for axes in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]


@pytest.mark.parametrize("direction", SIGNED, ids=range(48))
def test_voxels_keep_their_place_in_the_world(direction):
    source = Geometry.from_parts((3, 4, 5), (1.0, 2.0, 0.5), (7.0, 8.0, 9.0), direction)
    orientation = axial_orientation(source)
    oriented = orientation.geometry(source)
    np.testing.assert_allclose(oriented.direction, np.eye(3)[:, ::-1], atol=1e-12)
    index = np.stack(np.meshgrid(*map(np.arange, source.size_zyx), indexing="ij"), -1)
    world = np.moveaxis(source.to_world(index.astype(float)), -1, 0)
    moved = np.moveaxis(orientation.apply(world), 0, -1)
    there = np.stack(np.meshgrid(*map(np.arange, oriented.size_zyx), indexing="ij"), -1)
    np.testing.assert_allclose(oriented.to_world(there.astype(float)), moved, atol=1e-9)
    assert np.array_equal(orientation.undo(orientation.apply(world)), world)


def test_oblique_goes_to_the_closest_axes():
    angle = np.deg2rad(40.0)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    source = Geometry.from_parts((3, 4, 5), direction=turn @ np.eye(3)[:, ::-1])
    assert axial_orientation(source).axes == (0, 1, 2)
    assert axial_orientation(source).flips == (False, False, False)
