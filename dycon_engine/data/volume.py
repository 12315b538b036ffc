"""A scan or a label map in memory: voxels and the grid they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.geometry import Geometry

Part = tuple[slice, slice, slice]  # of an array (D, H, W)


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid.

    Attributes:
        array: Image (C, D, H, W) floating point or integer as stored; label map (D, H, W) integer.
        geometry: The grid of the last three axes.
    """

    array: NDArray[Any]
    geometry: Geometry


def bounding_box(mask: NDArray[np.bool_]) -> Part | None:
    """Return the smallest box that holds every True voxel of `mask` (D, H, W); None if empty."""
    box: list[slice] = []
    for axis in range(3):
        part = mask[box[0]] if axis else mask
        others = tuple(a for a in range(3) if a != axis)
        inside = np.flatnonzero(part.any(axis=others))
        if not inside.size:
            return None
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return (box[0], box[1], box[2])
