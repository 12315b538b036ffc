"""Bringing a grid closest to axial LPS or to another by permuting and flipping axes, and back."""

from __future__ import annotations

from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.geometry import Geometry


class Orientation(NamedTuple):
    """Network axis `a` is input axis `axes[a]`, reversed where `flips[a]`."""

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return (..., D, H, W) in network order, a view."""
        lead = array.ndim - 3
        moved = array.transpose(*range(lead), *(lead + axis for axis in self.axes))
        return self._reversed(moved)

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return (..., D, H, W) in input order, a view."""
        lead = array.ndim - 3
        flipped = self._reversed(array)
        order = [self.axes.index(axis) for axis in range(3)]
        return flipped.transpose(*range(lead), *(lead + axis for axis in order))

    def _reversed(self, array: NDArray[Any]) -> NDArray[Any]:
        z, y, x = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        return array[..., z, y, x]

    def geometry(self, source: Geometry) -> Geometry:
        """Return the grid of `apply`'s result."""
        size = tuple(source.size_zyx[axis] for axis in self.axes)
        affine = source.affine.copy()
        for target, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            column = source.affine[:3, axis]
            affine[:3, target] = -column if flip else column
            if flip:
                affine[:3, 3] += column * (source.size_zyx[axis] - 1)
        return Geometry((size[0], size[1], size[2]), affine)


def axial_orientation(geometry: Geometry) -> Orientation:
    """Return the permutation and flips that bring `geometry` closest to axial LPS."""
    return _closest(geometry.direction[::-1])  # rows S, P, L; columns input axes


def orientation_between(source: Geometry, target: Geometry) -> Orientation:
    """Return the permutation and flips that bring `source` closest to the axes of `target`."""
    return _closest(np.asarray(target.direction.T @ source.direction))


def _closest(towards: NDArray[np.float64]) -> Orientation:
    """Return the orientation for cosines (3, 3) between wanted (rows) and own axes (columns)."""

    def closeness(axes: tuple[int, ...]) -> float:
        return float(sum(abs(towards[row, axis]) for row, axis in enumerate(axes)))

    best = max(permutations(range(3)), key=closeness)
    flips = [bool(towards[row, axis] < 0) for row, axis in enumerate(best)]
    return Orientation((best[0], best[1], best[2]), (flips[0], flips[1], flips[2]))
