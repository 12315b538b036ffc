"""The one geometry type: voxel grids in array order (z, y, x), the world in LPS millimetres.

Column `a` of the affine belongs to array axis `a`, so no index is ever reversed outside the
readers, the writers and `DyCONLib/mrml.py`. World coordinates are (left, posterior, superior)+,
as in DICOM and SimpleITK; NIfTI's and Slicer's RAS is converted where files or nodes are touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int, int]
Spacing = tuple[float, float, float]


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

    def corner_distance_voxels(self, other: Geometry) -> float:
        """Return how far the corners lie from their place in `other` at most, in own voxels.

        Infinite where the sizes differ: the grids cannot coincide.
        """
        if self.size_zyx != other.size_zyx:
            return float("inf")
        last = np.asarray(self.size_zyx, dtype=np.float64) - 1.0
        corners = np.array(np.meshgrid(*[(0.0, n) for n in last], indexing="ij")).reshape(3, -1).T
        difference = self.to_world(corners) - other.to_world(corners)
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
