"""Scans that lie askew come to a straight grid and back to their own, in their place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from dycon_engine.data import straightening
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.straightening import (
    StraightRestorer,
    sample,
    straight_geometry,
    straighten,
    turn_deg,
)


def turned(degrees: float, axis=(1.0, 1.0, 0.5), *, size=(18, 22, 26), spacing=(2.0, 1.0, 1.3)):
    """A grid turned about `axis` (x, y, z)."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    axes = np.eye(3)[:, ::-1]
    return Geometry.from_parts(size, spacing, (40.0, -25.0, 12.0), rotation @ axes)


@pytest.mark.parametrize("degrees", [0.0, 3.0, 17.0, 30.0, 45.0])
def test_the_turn_is_the_angle_to_the_nearest_axis(degrees):
    assert turn_deg(turned(degrees, (0, 0, 1))) == pytest.approx(degrees, abs=1e-5)
    permuted = turned(degrees, (0, 0, 1))
    affine = permuted.affine[:, [2, 0, 1, 3]] * np.array([1, -1, 1, 1])
    assert turn_deg(Geometry((26, 18, 22), affine)) == pytest.approx(degrees, abs=1e-5)


def test_the_straight_grid_covers_every_corner_and_no_more_than_needed():
    source = turned(30.0)
    grid = straight_geometry(source, (1.5, 1.1, 0.9))
    assert turn_deg(grid) == 0.0
    assert grid.spacing_mm == pytest.approx((1.5, 1.1, 0.9))
    last = np.asarray(source.size_zyx) - 0.5
    corners = np.array(np.meshgrid(*[(-0.5, n) for n in last], indexing="ij")).reshape(3, -1).T
    index = np.linalg.solve(grid.affine[:3, :3], (source.to_world(corners) - grid.origin_lps).T)
    low, high = index.min(axis=1), index.max(axis=1)
    assert (low >= -0.5 - 1e-6).all()
    assert (high <= np.asarray(grid.size_zyx) - 0.5 + 1e-6).all()
    assert (low < 0.51).all()
    center = [g.to_world((np.asarray(g.size_zyx) - 1) / 2) for g in (source, grid)]
    assert np.allclose(*center)


@pytest.mark.parametrize("size", [(9, 10, 11), (1, 10, 11), (9, 10, 1)])
def test_sampling_is_trilinear_and_fills_outside(size):
    source, target = turned(25.0, size=size), turned(-10.0, size=(7, 8, 12), spacing=(3, 3, 3))
    values = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    found = sample(torch.from_numpy(values), source, target, slice(2, 6), fill=-7.0).numpy()
    grid = np.stack(np.meshgrid(range(2, 6), range(8), range(12), indexing="ij"), -1)
    world = target.to_world(grid.astype(float)).reshape(-1, 3)
    index = np.linalg.solve(source.affine[:3, :3], (world - source.origin_lps).T)
    within = ((index >= -0.5) & (index <= np.asarray(size)[:, None] - 0.5)).all(axis=0)
    for channel, plain in zip(found, values, strict=True):
        expected = map_coordinates(plain, index, order=1, mode="nearest")
        expected = np.where(within, expected, -7.0).reshape(4, 8, 12)
        assert np.allclose(channel, expected, atol=1e-3)
    assert 0 < within.sum() < within.size or 1 in size


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.2, 1.6, 0.8)])
def test_a_shape_comes_back_to_its_place(axis, spacing, monkeypatch):
    monkeypatch.setattr(straightening, "CHUNK_VOXELS", 3000)
    source = turned(30.0)
    index = np.stack(np.meshgrid(*map(range, source.size_zyx), indexing="ij"), -1)
    offset = (index - np.array([8.0, 12.0, 11.0])) * source.spacing_mm
    shape = (1 / (1 + np.exp(2.0 * (np.linalg.norm(offset, axis=-1) - 8.0)))).astype(np.float32)
    grid = straight_geometry(source, spacing)
    straight = straighten(shape[None], source, grid)
    restorer = StraightRestorer(source, grid, axis=axis)
    for start in range(0, grid.size_zyx[axis], 7):
        rows = slice(start, min(start + 7, grid.size_zyx[axis]))
        restorer.add(rows, np.take(straight, range(rows.start, rows.stop), axis=axis + 1))
    result = np.full((1, *source.size_zyx), np.nan, dtype=np.float32)
    for rows, values in restorer.finish():
        result[:, rows] = values.numpy()
    inside, found = shape > 0.5, result[0] > 0.5
    assert 2 * (inside & found).sum() / (inside.sum() + found.sum()) > 0.96
    center = [np.argwhere(mask).mean(0) for mask in (inside, found)]
    assert np.allclose(*center, atol=0.1)


def test_a_finer_scan_is_averaged_not_skipped():
    source = turned(30.0, size=(40, 40, 40), spacing=(0.5, 0.5, 0.5))
    noise = np.random.default_rng(0).normal(size=(1, 40, 40, 40)).astype(np.float32)
    straight = straighten(noise, source, straight_geometry(source, (2.0, 2.0, 2.0)), fill=np.nan)
    assert np.nanstd(straight) < 0.3
