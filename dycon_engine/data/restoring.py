"""From the network's grid back to the scan's own, slab by slab as slabs are finished."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data import resampling
from dycon_engine.data.geometry import Geometry, Spacing
from dycon_engine.data.orientation import axial_orientation

CHUNK_VOXELS = 2**21  # of one channel of a restored piece; bounds the memory


class Restorer:
    """Resamples slabs of the network's grid onto the scan's grid, which it leaves oriented.

    Slabs come by rising rows of one network axis. A restored row is given as soon as every network
    row under it has come; the few that a later row still needs are kept. `place` shows where the
    rows lie in an array of the scan's own grid.
    """

    def __init__(self, source: Geometry, spacing_mm: Spacing, *, axis: int = 0) -> None:
        """Prepare for a scan on grid `source` and slabs of the network axis `axis` (0 = z)."""
        self.axis = axis
        self._orientation = axial_orientation(source)
        oriented = self._orientation.geometry(source)
        network = resampling.resampled_geometry(oriented, spacing_mm)
        self.network_size = network.size_zyx
        matrices = resampling.axis_matrices(network, oriented)
        self._own = matrices[axis]
        z, y, x = (None if a == axis else matrix for a, matrix in enumerate(matrices))
        self._others: resampling.Matrices = (z, y, x)
        if self._own is not None:
            used = self._own > 0
            self._low = used.argmax(axis=1)
            self._high = used.shape[1] - used[:, ::-1].argmax(axis=1)
        self._given = 0  # restored rows
        self._held: NDArray[np.float32] | None = None
        self._first = 0  # network row that `_held` begins with
        plane = math.prod(n for a, n in enumerate(oriented.size_zyx) if a != axis)
        growth = oriented.size_zyx[axis] / network.size_zyx[axis]
        self.rows_at_once = max(1, int(CHUNK_VOXELS / (plane * max(1.0, growth))))

    def chunks(self, rows: slice) -> Iterator[slice]:
        """Return `rows` in pieces of `rows_at_once`."""
        return pieces(rows, self.rows_at_once)

    def add(
        self, rows: slice, values: NDArray[np.float32]
    ) -> tuple[slice, NDArray[np.float32]] | None:
        """Return the scan's rows that are finished with `values`, None where none is.

        Args:
            rows: Network rows, continuing those added before.
            values: (K, D, H, W) of these rows.

        Returns:
            The rows and their values (K, D, H, W), both in network orientation.
        """
        part = resampling.apply_matrices(values, self._others)
        if self._own is None:
            return rows, part
        if self._held is not None:
            part = np.concatenate((self._held, part), axis=self.axis + 1)
        until = int(np.searchsorted(self._high, rows.stop, side="right"))
        given = slice(self._given, until)
        needed = int(self._low[until]) if until < len(self._low) else rows.stop
        finished = None
        if until > given.start:
            band = slice(int(self._low[given.start]), int(self._high[until - 1]))
            finished = given, self._along(part, given, band)
        self._held = self._cut(part, slice(min(needed, rows.stop), rows.stop)).copy()
        self._first, self._given = min(needed, rows.stop), until
        return finished

    def place(self, array: NDArray[np.generic], rows: slice) -> NDArray[np.generic]:
        """Return the view (..., D, H, W) of a scan's `array` that restored `rows` belong in."""
        oriented = self._orientation.apply(array)
        cut = [slice(None)] * oriented.ndim
        cut[oriented.ndim - 3 + self.axis] = rows
        return oriented[tuple(cut)]

    def _along(self, part: NDArray[np.float32], given: slice, band: slice) -> NDArray[np.float32]:
        if self._own is None:
            return part
        matrix = np.ascontiguousarray(self._own[given, band])
        z, y, x = (matrix if a == self.axis else None for a in range(3))
        return resampling.apply_matrices(self._cut(part, band), (z, y, x))

    def _cut(self, part: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        cut = [slice(None)] * 4
        cut[self.axis + 1] = slice(rows.start - self._first, rows.stop - self._first)
        return part[tuple(cut)]


def pieces(rows: slice, count: int) -> Iterator[slice]:
    """Yield `rows` in pieces of `count`, the last one of what is left."""
    for start in range(rows.start, rows.stop, count):
        yield slice(start, min(start + count, rows.stop))


def restore(
    values: NDArray[np.float32], source: Geometry, spacing_mm: Spacing
) -> NDArray[np.float32]:
    """Return `values` (K, D, H, W) of the network's grid on the scan's own grid."""
    restorer = Restorer(source, spacing_mm)
    result = np.empty((len(values), *source.size_zyx), dtype=np.float32)
    for rows in restorer.chunks(slice(0, restorer.network_size[0])):
        if (finished := restorer.add(rows, values[:, rows])) is not None:
            restorer.place(result, finished[0])[:] = finished[1]
    return result
