"""Slabs give the same as the whole volume, whatever the axis, orientation and spacing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.orientation import axial_orientation
from dycon_engine.data.resampling import apply_matrices, axis_matrices, resampled_geometry
from dycon_engine.data.restoring import Restorer, restore

SIZE = (9, 14, 11)


def turned(axes=(0, 1, 2), flips=(1, 1, 1), spacing_mm=(2.0, 1.0, 1.5)) -> Geometry:
    affine = Geometry.from_parts(SIZE, spacing_mm, (3.0, -8.0, 5.0)).affine.copy()
    affine[:3, :3] = (affine[:3, :3] * np.asarray(flips))[:, axes]
    return Geometry(tuple(SIZE[axis] for axis in axes), affine)


def whole(values, source, spacing_mm):
    """Every axis at once by its full matrix."""
    orientation = axial_orientation(source)
    oriented = orientation.geometry(source)
    network = resampled_geometry(oriented, spacing_mm)
    return orientation.undo(apply_matrices(values, axis_matrices(network, oriented)))


def network_values(source, spacing_mm):
    size = Restorer(source, spacing_mm).network_size
    return np.random.default_rng(0).random((2, *size), dtype=np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.5), (0.9, 2.3, 0.6), (3.1, 0.7, 4.0)])
@pytest.mark.parametrize("cuts", [(1,), (3, 1, 2), (50,)])
def test_slabs_equal_the_whole(axis, spacing, cuts):
    source = turned((1, 2, 0), (1, -1, -1))
    values = network_values(source, spacing)
    restorer = Restorer(source, spacing, axis=axis)
    result = np.full((2, *source.size_zyx), np.nan, dtype=np.float32)
    start, count, end = 0, 0, values.shape[axis + 1]
    while start < end:
        rows = slice(start, min(start + cuts[count % len(cuts)], end))
        part = np.take(values, range(rows.start, rows.stop), axis=axis + 1)
        finished = restorer.add(rows, part)
        if finished is not None:
            restorer.place(result, finished[0])[:] = finished[1]
        start, count = rows.stop, count + 1
    assert np.allclose(result, whole(values, source, spacing), atol=1e-6)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_restoring_ends_on_the_scans_own_grid(axes, flips):
    source, spacing = turned(axes, flips), (1.1, 1.7, 0.8)
    values = network_values(source, spacing)
    assert np.allclose(restore(values, source, spacing), whole(values, source, spacing), atol=1e-6)


def test_a_row_is_given_as_soon_as_all_under_it_have_come():
    source = turned(spacing_mm=(1.0, 1.0, 1.0))
    values = network_values(source, (2.0, 1.0, 1.0))
    restorer = Restorer(source, (2.0, 1.0, 1.0))
    rows = []
    for start in range(values.shape[1]):
        finished = restorer.add(slice(start, start + 1), values[:, start : start + 1])
        rows.append(0 if finished is None else finished[0].stop)
    assert rows == sorted(rows)
    assert rows[1] > 0
    assert rows[-1] == SIZE[0]


def test_pieces_cover_the_rows_and_stay_small():
    restorer = Restorer(Geometry.from_parts((40, 600, 600), (1.0, 0.5, 0.5)), (1.0, 1.0, 1.0))
    pieces = list(restorer.chunks(slice(3, 21)))
    assert (pieces[0].start, pieces[-1].stop) == (3, 21)
    assert all(one.stop == two.start for one, two in itertools.pairwise(pieces))
    assert all((piece.stop - piece.start) * 600 * 600 <= 2**21 for piece in pieces)
