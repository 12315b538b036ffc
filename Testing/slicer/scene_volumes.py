"""Volumes on every kind of grid, and what of a node must not change, for tests on a real scene."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import slicer
import vtk

SIZE_KJI = (6, 8, 10)


def rotation(degrees, axis):
    """4x4 rotation about the axis x, y or z."""
    transform = vtk.vtkTransform()
    transform.RotateWXYZ(degrees, *[float(axis == name) for name in "xyz"])
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


def grid(spacing=(0.7, 1.5, 3.0), turn=None, order=(0, 1, 2), signs=(1, 1, 1)):
    """An IJK-to-RAS matrix."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, list(order)] * signs * np.asarray(spacing)
    matrix[:3, 3] = (12.5, -70.25, 41.0)
    return matrix if turn is None else turn @ matrix


OBLIQUE = rotation(20, "x") @ rotation(-35, "z") @ rotation(11, "y")
GRIDS = {
    "plain": grid((1.0, 1.0, 1.0)),
    "axial LPS": grid(signs=(-1, -1, 1)),
    "anisotropic": grid((0.4, 0.4, 8.0), signs=(-1, -1, 1)),
    "left-handed": grid(signs=(1, 1, -1)),
    "left-handed oblique": grid(turn=OBLIQUE, signs=(-1, 1, 1)),
    "sagittal": grid(order=(1, 2, 0), signs=(-1, -1, 1)),
    "coronal left-handed": grid(order=(0, 2, 1), signs=(-1, -1, -1)),
    "oblique": grid(turn=OBLIQUE),
    "oblique permuted": grid(turn=OBLIQUE, order=(2, 0, 1), signs=(1, -1, 1)),
}


def values(size=SIZE_KJI, dtype=np.float32):
    """Every voxel another value."""
    return np.arange(np.prod(size)).reshape(size).astype(dtype)


def volume(matrix=None, array=None, name="Doe^Jane"):
    """A scalar volume node in the scene."""
    array = values() if array is None else array
    node = slicer.util.addVolumeFromArray(array, GRIDS["axial LPS"] if matrix is None else matrix)
    node.SetName(name)
    return node


def transform(matrix, name="Registration"):
    """A linear transform node in the scene."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def warp():
    """A transform node that bends, in the scene."""
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point[0] + 0.05 * point[1] ** 2, point[1], point[2])
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
    node.SetAndObserveTransformToParent(spline)
    return node


def fingerprint(node):
    """Everything of a volume that a run must leave as it is."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    storage = node.GetStorageNode()
    return (
        hashlib.sha256(slicer.util.arrayFromVolume(node).tobytes()).hexdigest(),
        slicer.util.arrayFromVolume(node).dtype,
        slicer.util.arrayFromVTKMatrix(matrix).tobytes(),
        node.GetName(),
        node.GetTransformNodeID(),
        tree.GetItemParent(tree.GetItemByDataNode(node)),
        storage and storage.GetFileName(),
        tuple(node.GetAttributeNames()),
    )


def all_nodes():
    """The ids of all nodes of the scene, in order."""
    scene = slicer.mrmlScene
    return [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]


def engine_copy(path: Path, target: Path, dtype=np.uint8, change=lambda array: array % 4):
    """Write what the engine would: another array on exactly the grid of the scan at `path`."""
    from dycon_engine.data.formats.readers import read_image
    from dycon_engine.data.formats.writers import write_label, write_scalar

    scan = read_image(path)
    write = write_label if np.issubdtype(dtype, np.integer) else write_scalar
    write(target, change(scan.array[0]).astype(dtype), scan.geometry, overwrite=True)
