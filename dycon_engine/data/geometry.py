"""The one geometry type: voxel grids in array order (z, y, x), the world in LPS millimetres.

Column `a` of the affine belongs to array axis `a`, so no index is ever reversed outside the
readers, the writers and the adapters of a viewer's scene. World coordinates are (left, posterior,
superior)+, as in DICOM and SimpleITK; RAS, as in NIfTI, is converted where files or scenes are
touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int, int]
Spacing = tuple[float, float, float]


class Box(NamedTuple):
    """A box along the world's axes, LPS millimetres (x, y, z), both ends included."""

    low_lps: tuple[float, float, float]
    high_lps: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid in the world.

    Attributes:
        size_zyx: Voxels along the array axes (D, H, W).
        affine: 4x4 float64; maps (z, y, x, 1) voxel-center indices to LPS millimetres.
    """

    size_zyx: Size
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> Spacing:
        """Distance between voxel centers along the array axes (z, y, x), millimetres."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    @property
    def direction(self) -> NDArray[np.float64]:
        """3x3; column `a` is the unit LPS vector of array axis `a`."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing_mm))

    @property
    def origin_lps(self) -> tuple[float, float, float]:
        """World position of voxel (0, 0, 0), millimetres."""
        x, y, z = self.affine[:3, 3]
        return (float(x), float(y), float(z))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel, cubic millimetres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_world(self, index_zyx: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return LPS millimetres (..., 3) of fractional voxel indices (..., 3) in z, y, x order."""
        return np.asarray(index_zyx @ self.affine[:3, :3].T + self.affine[:3, 3])

    def corners(self) -> NDArray[np.float64]:
        """Return the LPS millimetres (8, 3) of the outermost voxels' centers."""
        last = np.asarray(self.size_zyx, dtype=np.float64) - 1.0
        indices = np.array(np.meshgrid(*[(0.0, n) for n in last], indexing="ij")).reshape(3, -1).T
        return self.to_world(indices)

    def inside(self, box: Box, *, margin_mm: float = 0.0) -> NDArray[np.bool_]:
        """Return (D, H, W), True where a voxel's center lies in `box` widened by `margin_mm`."""
        axes = self.affine[:3, :3]
        low = np.asarray(box.low_lps) - margin_mm - self.affine[:3, 3]
        high = np.asarray(box.high_lps) + margin_mm - self.affine[:3, 3]
        y, x = np.arange(self.size_zyx[1])[:, None], np.arange(self.size_zyx[2])[None, :]
        planes = [axis[1] * y + axis[2] * x for axis in axes]
        inside = np.ones(self.size_zyx, dtype=bool)
        for z in range(len(inside)):  # by slice: memory stays small
            for plane, step, least, most in zip(planes, axes[:, 0], low, high, strict=True):
                inside[z] &= (plane >= least - step * z) & (plane <= most - step * z)
        return inside

    def corner_distance_voxels(self, other: Geometry) -> float:
        """Return how far the corners lie from their place in `other` at most, in own voxels.

        Infinite where the sizes differ: the grids cannot coincide.
        """
        if self.size_zyx != other.size_zyx:
            return float("inf")
        difference = self.corners() - other.corners()
        return float(np.abs(np.linalg.solve(self.affine[:3, :3], difference.T)).max())

    @staticmethod
    def from_parts(
        size_zyx: Size,
        spacing_mm: Spacing = (1.0, 1.0, 1.0),
        origin_lps: tuple[float, float, float] = (0.0, 0.0, 0.0),
        direction: NDArray[np.float64] | None = None,
    ) -> Geometry:
        """Return the grid with `spacing_mm` (z, y, x); the default direction is axial, z = S."""
        axes = np.eye(3)[:, ::-1] if direction is None else np.asarray(direction, dtype=np.float64)
        affine = np.eye(4)
        affine[:3, :3] = axes * np.asarray(spacing_mm)
        affine[:3, 3] = origin_lps
        return Geometry(size_zyx, affine)
