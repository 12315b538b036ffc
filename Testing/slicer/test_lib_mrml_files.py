"""What the engine reads is what stands in the scene, voxel by voxel; the scene stays as it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dycon_engine.data.formats.readers import read_image
from dycon_engine.errors import DyconError, InputError

pytestmark = pytest.mark.usefixtures("slicer_scene")
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha")


@pytest.fixture
def files(slicer_scene):
    from DyCONLib import mrml_files

    return mrml_files


@pytest.fixture
def make(slicer_scene):
    from Testing.slicer import scene_volumes

    return scene_volumes


def names():
    return (
        *("plain", "axial LPS", "anisotropic", "left-handed", "left-handed oblique", "sagittal"),
        *("coronal left-handed", "oblique", "oblique permuted"),
    )


def places(array, ijk_to_ras):
    """World position of every value, which occurs once."""
    k, j, i = np.indices(array.shape).reshape(3, -1)
    ras = (ijk_to_ras @ np.stack([i, j, k, np.ones_like(i)]))[:3].T
    return ras[np.argsort(array.ravel())]


def test_the_grids_are_those_that_are_tested(make):
    assert tuple(make.GRIDS) == names()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", names())
def test_the_engine_finds_every_voxel_where_slicer_shows_it(files, make, tmp_path, name, suffix):
    node = make.volume(make.GRIDS[name])
    node.SetAndObserveTransformNodeID(make.transform(make.rotation(30, "z")).GetID())
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3.4711")
    before, nodes = make.fingerprint(node), make.all_nodes()
    path = tmp_path / f"scan{suffix}"
    files.export_volume(node, path)
    assert make.fingerprint(node) == before
    assert make.all_nodes() == nodes
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    scan = read_image(path)
    affine = TO_RAS @ scan.geometry.affine[:, [2, 1, 0, 3]]
    apart = places(scan.array[0], affine) - places(make.values(), make.GRIDS[name])
    assert np.abs(apart).max() < 0.01 * 0.4
    content = path.read_bytes()
    for secret in (b"Jane", b"4711", b"Registration"):
        assert secret not in content


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", names())
def test_a_result_comes_back_in_the_order_of_its_volume(files, make, tmp_path, name, suffix):
    node = make.volume(make.GRIDS[name])
    files.export_volume(node, tmp_path / f"scan{suffix}")
    make.engine_copy(
        tmp_path / f"scan{suffix}", tmp_path / f"map{suffix}", np.float32, lambda array: array
    )
    assert np.array_equal(files.read_array(tmp_path / f"map{suffix}", node), make.values())


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("uint8", "uint8"),
        ("int8", "int16"),
        ("int16", "int16"),
        ("uint16", "uint16"),
        ("int32", "int32"),
        ("int64", "int32"),
        ("uint64", "int32"),
        ("float32", "float32"),
        ("float64", "float64"),
    ],
)
def test_voxels_of_every_type_arrive(files, make, tmp_path, dtype, stored):
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    node = make.volume()
    array = make.values(dtype=np.dtype(dtype)) % 100
    image = vtk.vtkImageData()
    image.SetDimensions(10, 8, 6)
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=1))
    node.SetAndObserveImageData(image)
    files.export_volume(node, tmp_path / "scan.nrrd")
    assert f"type: {nrrd_type(stored)}\n".encode() in (tmp_path / "scan.nrrd").read_bytes()
    back = read_image(tmp_path / "scan.nrrd")
    assert np.array_equal(np.sort(back.array[0], axis=None), np.sort(array, axis=None))


def nrrd_type(name):
    shorts = {"uint8": "unsigned char", "int16": "short", "uint16": "unsigned short"}
    return shorts.get(name) or {"int32": "int", "float32": "float", "float64": "double"}[name]


def test_beyond_32_bits_a_64_bit_integer_becomes_double(files, make, tmp_path):
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    node = make.volume()
    image = vtk.vtkImageData()
    image.SetDimensions(10, 8, 6)
    array = make.values(dtype=np.int64) + 2**40
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=1))
    node.SetAndObserveImageData(image)
    files.export_volume(node, tmp_path / "scan.nrrd")
    assert b"type: double\n" in (tmp_path / "scan.nrrd").read_bytes()


def test_what_is_no_scan_is_refused(files, make, tmp_path):
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(InputError, match="'empty': holds no voxels"):
        files.export_volume(empty, tmp_path / "a.nrrd")
    color = slicer.util.addVolumeFromArray(
        np.zeros((6, 8, 10, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode"
    )
    with pytest.raises(InputError, match="3 values per voxel"):
        files.export_volume(color, tmp_path / "a.nrrd")
    tilted = make.GRIDS["plain"].copy()
    tilted[1, 2] = 0.2
    with pytest.raises(InputError, match="not at right angles"):
        files.export_volume(make.volume(tilted), tmp_path / "a.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_sentence(files, make, tmp_path):
    from Testing.slicer.host import scene

    (tmp_path / "file").write_text("")
    with pytest.raises(DyconError, match="cannot be written"):
        files.export_volume(make.volume(), tmp_path / "file" / "a.nrrd")
    scene.errors().clear()


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".mha"])
def test_a_full_disk_is_one_sentence_and_leaves_no_part(files, make, tmp_path, suffix):
    import resource

    from Testing.slicer.host import scene

    node = make.volume()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DyconError, match=r"writing failed .*; check the disk"):
            files.export_volume(node, tmp_path / f"scan{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    scene.errors().clear()
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_is_none_is_refused(files, make, tmp_path):
    from Testing.slicer.host import scene

    node = make.volume()
    nodes = make.all_nodes()
    with pytest.raises(DyconError, match=r"'map\.nrrd' is not there"):
        files.read_array(tmp_path / "map.nrrd", node)
    (tmp_path / "map.nrrd").write_bytes(b"NRRD0004\nno header at all")
    with pytest.raises(DyconError, match="cannot be read"):
        files.read_array(tmp_path / "map.nrrd", node)
    scene.errors().clear()
    moved = make.GRIDS["axial LPS"].copy()
    moved[0, 3] += 0.02 * 0.7
    files.export_volume(make.volume(moved), tmp_path / "moved.nrrd")
    files.export_volume(make.volume(array=make.values((6, 8, 9))), tmp_path / "small.nrrd")
    files.export_volume(make.volume(make.GRIDS["oblique"]), tmp_path / "turned.nrrd")
    for name in ("moved", "small", "turned"):
        with pytest.raises(DyconError, match="another grid"):
            files.read_array(tmp_path / f"{name}.nrrd", node)
    assert make.all_nodes()[: len(nodes)] == nodes


@pytest.mark.parametrize("name", names())
def test_same_grid_is_within_a_hundredth_of_a_voxel(files, make, name):
    matrix = make.GRIDS[name]
    node = make.volume(matrix)
    for axis, share in itertools.product(range(3), (0.005, 0.015)):
        moved = matrix.copy()
        moved[:3, 3] += share * matrix[:3, axis]
        assert files.same_grid(node, make.volume(moved)) == (share < 0.01), (axis, share)
    larger = matrix.copy()
    larger[:3, :3] *= 1.01
    assert not files.same_grid(node, make.volume(larger))
    flipped = matrix.copy()
    flipped[:3, 3] += flipped[:3, 0] * 9
    flipped[:3, 0] *= -1
    assert not files.same_grid(node, make.volume(flipped))
    assert not files.same_grid(node, make.volume(matrix, make.values((6, 8, 9))))


def test_same_grid_knows_transforms(files, make):
    node, other = make.volume(), make.volume()
    moving = make.transform(make.rotation(3, "z"))
    node.SetAndObserveTransformNodeID(moving.GetID())
    assert not files.same_grid(node, other)
    other.SetAndObserveTransformNodeID(make.transform(make.rotation(3, "z")).GetID())
    assert files.same_grid(node, other)
    other.SetAndObserveTransformNodeID(make.warp().GetID())
    assert not files.same_grid(node, other)
    node.SetAndObserveTransformNodeID(other.GetTransformNodeID())
    assert files.same_grid(node, other)


def test_under_different_transforms_the_same_place_is_a_hundredth_of_the_smallest_side(files, make):
    node, other = make.volume(make.GRIDS["anisotropic"]), make.volume(make.GRIDS["anisotropic"])
    smallest_mm, moved = 0.4, np.eye(4)
    for share in (0.008, 0.012):
        moved[2, 3] = share * smallest_mm
        other.SetAndObserveTransformNodeID(make.transform(moved).GetID())
        assert files.same_grid(node, other) == (share < 0.01), share
