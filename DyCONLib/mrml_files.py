"""Volume nodes to files for the engine and back, on exactly the grid of their volume.

A file carries the node's own IJK-to-RAS matrix. Its parent transforms stay in the scene: what comes
back is put under the same transform as its volume, so it coincides with it there, too. Nodes that
come from files never enter the scene here, so a failure leaves nothing behind.
"""

from __future__ import annotations

import errno
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import rename, staging_folder, sync_file, write_error

TOLERANCE_VOXEL = 0.01
LARGEST_SHEAR = 1e-3  # cosine between two axes; as the engine's readers
_WRITABLE = (
    vtk.VTK_UNSIGNED_CHAR,
    vtk.VTK_SHORT,
    vtk.VTK_UNSIGNED_SHORT,
    vtk.VTK_INT,
    vtk.VTK_UNSIGNED_INT,
    vtk.VTK_FLOAT,
    vtk.VTK_DOUBLE,
)
Matrix = NDArray[np.float64]


def export_volume(node: Any, path: Path) -> None:
    """Write the voxels of a scalar volume node with its own grid; the node is not touched.

    The voxels keep their type where files can hold it (int8 grows to int16, 64-bit integers become
    int32 or, beyond its range, float64). Nothing else goes into the file: no name, no tag.

    Args:
        node: A vtkMRMLScalarVolumeNode; its parent transforms are not applied.
        path: NAME.nrrd (not compressed), .nii.gz, .nii or .mha; its folder exists.

    Raises:
        InputError: No voxels, several values per voxel, or axes not at right angles.
        DyconError: The file cannot be written.
    """
    image = node.GetImageData()
    if image is None or not all(image.GetDimensions()):
        raise InputError(f"volume '{node.GetName()}': holds no voxels; choose another one")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"volume '{node.GetName()}': has {image.GetNumberOfScalarComponents()} values per "
            "voxel, expected one; choose a scalar volume"
        )
    matrix = ijk_to_ras(node)
    cosine = _shear(matrix)
    if not cosine <= LARGEST_SHEAR:
        raise InputError(
            f"volume '{node.GetName()}': its axes are not at right angles (cosine {cosine:.2g}), "
            "as with a tilted gantry; harden its transform and resample it (Resample Scalar Volume)"
        )
    write_image(_with_writable_type(image), matrix, path)


def write_array(array: NDArray[Any], reference: Any, path: Path) -> None:
    """Write an array (K, J, I) on the grid of the volume node `reference`.

    Raises:
        DyconError: The file cannot be written.
    """
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=1))
    write_image(image, ijk_to_ras(reference), path)


def write_image(image: Any, matrix: Matrix, path: Path) -> None:
    """Write a vtkImageData with the IJK-to-RAS `matrix`, through Slicer's own writer.

    Raises:
        DyconError: The file cannot be written.
    """
    shared = vtk.vtkImageData()
    shared.ShallowCopy(image)
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetAndObserveImageData(shared)
    node.SetIJKToRASMatrix(vtk_matrix(matrix))
    try:
        with staging_folder(path.parent) as aside:
            staged = aside / path.name  # the writer leaves its own parts behind if it fails
            _write_staged(node, staged)
            rename(staged, path)
    except OSError as error:
        raise write_error(path, error) from error


def read_array(path: Path, reference: Any, kind: str = "result") -> NDArray[Any]:
    """Return the voxels of a file in the index order (K, J, I) of the volume node `reference`.

    Slicer's reader may turn axes around, and files round positions; both are undone here, so the
    array can be used with the reference's own matrix.

    Raises:
        DyconError: The file is missing or unreadable, or lies on another grid.
    """
    if not path.is_file():
        raise DyconError(f"{kind}: the file '{path.name}' is not there; segment again")
    node = slicer.vtkMRMLScalarVolumeNode()
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(node) or node.GetImageData() is None:
        raise DyconError(f"{kind}: the file '{path.name}' cannot be read; segment again")
    if node.GetImageData().GetNumberOfScalarComponents() != 1:
        raise DyconError(f"{kind}: the file '{path.name}' has several values per voxel")
    own, size = ijk_to_ras(node), node.GetImageData().GetDimensions()
    order = _reordering(own, size, ijk_to_ras(reference), reference.GetImageData().GetDimensions())
    if order is None:
        raise DyconError(
            f"{kind}: the file '{path.name}' lies on another grid than its volume; segment again"
        )
    axes, flipped = order
    array = voxels_of(node.GetImageData()).transpose(2, 1, 0).transpose(axes)  # (I, J, K)
    return np.asarray(np.flip(array, flipped).transpose(2, 1, 0))


def same_grid(node_a: Any, node_b: Any, tolerance_voxel: float = TOLERANCE_VOXEL) -> bool:
    """Return whether two volumes have the same voxels in the same places, index by index.

    Both the own grids and the places in the world must agree, so volumes under different
    transforms are not the same although their own grids may be.
    """
    size = node_a.GetImageData().GetDimensions() if node_a.GetImageData() else None
    if size is None or not node_b.GetImageData() or size != node_b.GetImageData().GetDimensions():
        return False
    local = ijk_to_ras(node_a)
    if _distance_voxels(local, ijk_to_ras(node_b), size) > tolerance_voxel:
        return False
    if node_a.GetParentTransformNode() is node_b.GetParentTransformNode():
        return True
    corners = (_corners(size) @ local.T)[:, :3]
    apart = _in_world(node_a, corners) - _in_world(node_b, corners)
    spacing = np.linalg.norm(local[:3, :3], axis=0)
    return bool(np.abs(apart).max() <= tolerance_voxel * spacing.min())


def ijk_to_ras(node: Any) -> Matrix:
    """Return the 4x4 matrix from voxel indices (i, j, k) to the node's own RAS, in mm."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, col) for col in range(4)] for row in range(4)])


def vtk_matrix(matrix: Matrix) -> Any:
    """Return `matrix` as vtkMatrix4x4."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy([float(value) for value in matrix.ravel()])
    return result


def voxels_of(image: Any) -> NDArray[Any]:
    """Return a view of the voxels of a vtkImageData, (K, J, I)."""
    return np.asarray(
        vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    )


def _write_staged(node: Any, path: Path) -> None:
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)
    voxels = node.GetImageData().GetNumberOfPoints() * node.GetImageData().GetScalarSize()
    packed = path.name.endswith(".gz")
    written = storage.WriteData(node) and path.is_file()
    if not written or (path.stat().st_size < voxels and not packed):  # NIfTI's writer is silent
        raise OSError(errno.EIO, f"not all of {voxels / 2**20:.1f} MiB were written")
    sync_file(path)


def _with_writable_type(image: Any) -> Any:
    if image.GetScalarType() in _WRITABLE:
        return image
    low, high = image.GetScalarRange()
    small = image.GetScalarSize() == 1
    fits = low >= -(2**31) and high < 2**31
    cast = vtk.vtkImageCast()
    cast.SetOutputScalarType(
        vtk.VTK_SHORT if small else vtk.VTK_INT if fits else vtk.VTK_DOUBLE,
    )
    cast.SetInputData(image)
    cast.Update()
    return cast.GetOutput()


def _shear(matrix: Matrix) -> float:
    """Return the largest cosine between two axes; NaN where an axis has no length."""
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or not lengths.all():
        return math.nan
    unit = matrix[:3, :3] / lengths
    return float(np.abs(unit.T @ unit - np.eye(3)).max())


def _corners(size: tuple[int, int, int]) -> Matrix:
    """Return the 8 corner voxels as rows (i, j, k, 1)."""
    return np.array([(*c, 1.0) for c in itertools.product(*[(0.0, n - 1.0) for n in size])])


def _distance_voxels(own: Matrix, other: Matrix, size: tuple[int, int, int]) -> float:
    """Return how far apart the corners of two grids of one size are, in voxels of `other`."""
    corners = _corners(size)
    return float(np.abs(corners @ np.linalg.solve(other, own).T - corners).max())


def _in_world(node: Any, points: Matrix) -> Matrix:
    moved = np.empty_like(points)
    for index, point in enumerate(points):
        node.TransformPointToWorld(point, moved[index])
    return moved


def _reordering(
    own: Matrix, size: tuple[int, ...], reference: Matrix, wanted: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return how to transpose and then flip (I, J, K) to get the reference's order, if any.

    None where the two grids do not hold the same voxels in the same places.
    """
    between = np.linalg.solve(reference, own)
    axes = tuple(int(axis) for axis in np.abs(between[:3, :3]).argmax(axis=1))
    if sorted(axes) != [0, 1, 2] or tuple(size[axis] for axis in axes) != tuple(wanted):
        return None
    signed = np.zeros((4, 4))
    signed[3, 3] = 1.0
    for row, axis in enumerate(axes):
        signed[row, axis] = math.copysign(1.0, between[row, axis])
        signed[row, 3] = wanted[row] - 1.0 if signed[row, axis] < 0 else 0.0
    apart = np.abs(_corners((size[0], size[1], size[2])) @ (between - signed).T).max()
    if not apart <= TOLERANCE_VOXEL:
        return None
    return axes, tuple(row for row, axis in enumerate(axes) if signed[row, axis] < 0)
