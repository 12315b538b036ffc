"""A scan or a label map in memory: voxels and the grid they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dycon_engine.data.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid.

    Attributes:
        array: Image (C, D, H, W) floating point or integer as stored; label map (D, H, W) integer.
        geometry: The grid of the last three axes.
    """

    array: NDArray[Any]
    geometry: Geometry
