"""B9: a result lies where its input lies; a position that is not certain is refused."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from unittest.mock import patch

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dycon_engine.data.formats.readers import read_header, read_image, read_label
from dycon_engine.data.formats.writers import write_label
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import InputError

TOLERANCE_VOXELS = 0.01
FORMATS = (".nii.gz", ".nrrd", ".mha")
AXIAL = np.diag([-0.5, -0.75, 2.0, 1.0])
SIZE = (10, 8, 6)


def rotation(angles):
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


grids = st.builds(
    lambda order, signs, angles, spacing, origin, size: Geometry.from_parts(
        size, spacing, origin, rotation(angles) @ (np.eye(3)[:, list(order)] * signs)
    ),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
    st.tuples(*[st.one_of(st.just(0.0), st.floats(-3.2, 3.2))] * 3),
    st.tuples(*[st.floats(0.05, 8.0)] * 3),
    st.tuples(*[st.floats(-1e4, 1e4)] * 3),
    st.tuples(*[st.integers(1, 7)] * 3),
)


HALF_TURN = Geometry.from_parts(  # a quaternion in float32 cannot hold it at this anisotropy
    (1, 1, 4), (1.0, 0.0546875, 7.0), direction=np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
)


@given(grids)
@example(HALF_TURN)
@settings(max_examples=300, deadline=None)
def test_result_grid_is_input_grid(grid):
    array = np.arange(np.prod(grid.size_zyx)).reshape(grid.size_zyx) % 251
    with tempfile.TemporaryDirectory() as folder, patch("os.fsync"):  # 1800 files: no waiting
        for suffix in FORMATS:
            path = Path(folder) / f"a{suffix}"
            write_label(path, array, grid, overwrite=False)
            first = read_label(path)
            np.testing.assert_array_equal(first.array, array)
            assert grid.corner_distance_voxels(first.geometry) < TOLERANCE_VOXELS
            if suffix == ".nii.gz":  # the others keep float64
                write_label(path, first.array, first.geometry, overwrite=True)
                second = read_header(path).geometry
                assert first.geometry.corner_distance_voxels(second) < TOLERANCE_VOXELS / 10


def nifti(tmp_path, *, sform=AXIAL, qform=AXIAL, codes=(1, 1), pixdim=None):
    path = tmp_path / "a.nii"
    image = nib.Nifti1Image(np.zeros(SIZE, np.uint8), None)
    image.header.set_qform(qform, code=codes[1])
    image.header.set_sform(sform, code=codes[0])
    image.header.set_zooms(np.linalg.norm((sform if codes[0] else qform)[:3, :3], axis=0))
    nib.save(image, path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, codes[1], codes[0])
    if pixdim is not None:
        struct.pack_into("<3f", content, 80, *pixdim)
    path.write_bytes(content)
    return path


def sheared(amount):
    matrix = AXIAL.copy()
    matrix[:3, 1] += amount * 0.75 * matrix[:3, 0] / 0.5
    return matrix


@pytest.mark.parametrize("amount", [0.0, 1e-6, 1e-5, 1e-4, 5e-4, 2e-3, 1e-2, 0.1, 0.5])
def test_shear(tmp_path, amount):
    path = nifti(tmp_path, sform=sheared(amount), codes=(1, 0))
    if amount <= 1e-3:
        want = sheared(amount)[:, [2, 1, 0, 3]] * [[-1], [-1], [1], [1]]
        np.testing.assert_allclose(read_image(path).geometry.affine, want, atol=1e-6)
        return
    with pytest.raises(InputError, match="axes are sheared"):
        read_image(path)


@pytest.mark.parametrize("amount", [1e-6, 5e-4, 2e-3, 0.5])
def test_shear_in_nrrd(tmp_path, amount):
    path = tmp_path / "a.nrrd"
    image = sitk.Image(6, 8, 10, sitk.sitkUInt8)
    image.SetDirection([1, amount, 0, 0, 1, 0, 0, 0, 1])
    sitk.WriteImage(image, str(path))
    if amount <= 1e-3:
        assert read_image(path).geometry.affine[0, 1] == pytest.approx(amount)
        return
    with pytest.raises(InputError, match="axes are sheared"):
        read_image(path)


def moved(*, shift=0.0, turn=0.0, flip=False):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((0.0, 0.0, turn))
    result = matrix @ AXIAL
    result[0, 3] += shift
    return result @ np.diag([-1.0, 1, 1, 1]) if flip else result


@pytest.mark.parametrize(
    "qform",
    [
        moved(shift=0.5),
        moved(shift=50.0),
        moved(turn=0.1),
        moved(turn=np.pi),
        moved(flip=True),
    ],
    ids=["1 voxel", "far", "turned", "half turn", "mirrored"],
)
def test_sform_and_qform_that_disagree(tmp_path, qform):
    with pytest.raises(InputError, match=r"sform and qform place it .* voxels apart"):
        read_image(nifti(tmp_path, qform=qform))


@pytest.mark.parametrize(
    ("codes", "x"), [((1, 0), 0.0), ((0, 1), 3.0), ((4, 0), 0.0), ((2, 2), 0.0)]
)
def test_the_form_with_a_code_counts(tmp_path, codes, x):
    qform = moved(shift=0.0 if codes[0] else 3.0)
    path = nifti(tmp_path, qform=qform, codes=codes)
    assert read_image(path).geometry.origin_lps[0] == pytest.approx(-x)


def test_neither_form(tmp_path):
    with pytest.raises(InputError, match="left and right are unknown"):
        read_image(nifti(tmp_path, codes=(0, 0)))


@pytest.mark.parametrize("signs", np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, 8).T.tolist())
def test_eight_orientations_of_the_axes(tmp_path, signs):
    matrix = np.diag([0.5 * signs[0], 0.75 * signs[1], 2.0 * signs[2], 1.0])
    path = nifti(tmp_path, sform=matrix, qform=matrix)
    geometry = read_image(path).geometry
    want = np.array([[0, 0, -0.5 * signs[0]], [0, -0.75 * signs[1], 0], [2.0 * signs[2], 0, 0]])
    np.testing.assert_allclose(geometry.affine[:3, :3], want, atol=1e-6)
    theirs = sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((9, 7, 5))
    np.testing.assert_allclose(theirs, geometry.to_world(np.array([5.0, 7.0, 9.0])), atol=1e-4)


@pytest.mark.parametrize(
    ("pixdim", "text"),
    [
        ((0.0, 0.75, 2.0), "0 x 0.75 x 2 mm; expected more than 0"),
        ((0.5, 0.75, np.nan), "x nan mm; expected more than 0"),
        ((0.5, np.inf, 2.0), "inf x 2 mm; expected more than 0"),
        ((1.0, 1.0, 1.0), "by its sform but 1 x 1 x 1 mm"),
        ((0.51, 0.75, 2.0), "by its sform but 0.51 x 0.75 x 2 mm"),
    ],
)
def test_spacing_that_cannot_be(tmp_path, pixdim, text):
    for codes in ((1, 0), (1, 1)):
        with pytest.raises(InputError, match=text):
            read_image(nifti(tmp_path, codes=codes, pixdim=pixdim))


def test_spacing_that_was_rounded_is_that_of_the_sform(tmp_path):
    path = nifti(tmp_path, codes=(1, 0), pixdim=(0.504, 0.75, 2.0))
    assert read_header(path).geometry.spacing_mm == pytest.approx((2.0, 0.75, 0.5))


@pytest.mark.parametrize("where", ["sform", "qform"])
def test_numbers_that_are_none(tmp_path, where):
    path = nifti(tmp_path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 280 if where == "sform" else 256, np.nan)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"not a usable number|not a rotation"):
        read_image(path)


def test_lengths_in_another_unit(tmp_path):
    path = nifti(tmp_path)
    content = bytearray(path.read_bytes())
    content[123] = 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="not in millimetres"):
        read_image(path)


@pytest.mark.parametrize(
    ("matrix", "same"),
    [
        (AXIAL, True),
        (moved(shift=0.004), True),
        (moved(shift=0.25), False),
        (moved(flip=True), False),
        (AXIAL @ np.diag([1.01, 1, 1, 1]), False),
        (AXIAL[:, [1, 0, 2, 3]], False),
    ],
    ids=["equal", "0.008 voxel", "half a voxel", "flipped", "spacing x1.01", "axes swapped"],
)
def test_label_against_image(tmp_path, matrix, same):
    image = read_header(nifti(tmp_path)).geometry
    label = read_header(nifti(tmp_path, sform=matrix, codes=(1, 0))).geometry
    assert (image.corner_distance_voxels(label) < TOLERANCE_VOXELS) == same
