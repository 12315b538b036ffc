"""Results on disk: the exact grid and voxels, read by other libraries; old files safe."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from dycon_engine.data.cases import folded
from dycon_engine.data.formats import itk_files, writers
from dycon_engine.data.formats.readers import read_header, read_image, read_label, read_segments
from dycon_engine.data.formats.writers import WRITERS, check_target, write_label, write_scalar
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import DyconError, InputError, NonFiniteError

SUFFIXES = sorted(WRITERS)
GRID = Geometry.from_parts((3, 4, 5), (2.5, 0.7, 0.9), (-20.25, 31.5, 7.0))


def labels(top: int = 3) -> np.ndarray:
    return (np.arange(60).reshape(3, 4, 5) % (top + 1)).astype(np.int64)


def oblique() -> Geometry:
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    return Geometry.from_parts((3, 4, 5), (2.5, 0.7, 0.9), (-20.25, 31.5, 7.0), turn)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("grid", [GRID, oblique()], ids=["axial", "oblique"])
def test_label_map_comes_back_voxel_for_voxel_on_its_grid(tmp_path, suffix, grid):
    path = tmp_path / f"mask{suffix}"
    write_label(path, labels(), grid, overwrite=False)
    back = read_label(path)
    np.testing.assert_array_equal(back.array.reshape(3, 4, 5), labels())
    assert grid.corner_distance_voxels(back.geometry) < 1e-3
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_library_sees_the_same_voxels_in_the_same_place(tmp_path, suffix):
    grid = oblique()
    path = tmp_path / f"mask{suffix}"
    write_label(path, labels(), grid, overwrite=False)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels())
    for index in ((0, 0, 0), (2, 3, 4), (1, 0, 3)):
        theirs = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(theirs, grid.to_world(np.array(index, float)), atol=1e-3)


@pytest.mark.parametrize(("top", "kind"), [(1, "u1"), (255, "u1"), (300, "u2"), (70000, "u4")])
def test_labels_take_the_smallest_unsigned_type(tmp_path, top, kind):
    array = np.zeros((3, 4, 5), np.int64)
    array[0, 0, 0] = top
    for suffix in (".nii.gz", ".nrrd"):
        path = tmp_path / f"mask{suffix}"
        write_label(path, array, GRID, overwrite=True)
        assert read_header(path).dtype == np.dtype(kind)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_ending_in_upper_case_gives_one_whole_file(tmp_path, suffix):
    path = tmp_path / f"mask{suffix.upper()}"
    write_label(path, labels(), GRID, overwrite=False)
    np.testing.assert_array_equal(read_label(path).array, labels())
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_file_says_what_itk_would_have_written(tmp_path, suffix, channels):
    grid = oblique()
    values = np.random.default_rng(1).normal(size=(channels, 3, 4, 5)).astype(np.float32)
    said = {"Segment0_Name": "ß: a=b, 50 %", "dycon_path": r"C:\new\\temp"}
    write_scalar(tmp_path / f"ours{suffix}", values, grid, overwrite=False, metadata=said)
    theirs = sitk.GetImageFromArray(np.moveaxis(values, 0, -1).squeeze(), isVector=channels > 1)
    theirs.SetSpacing([float(value) for value in grid.spacing_mm[::-1]])
    theirs.SetOrigin([float(value) for value in grid.origin_lps])
    theirs.SetDirection([float(value) for value in grid.direction[:, ::-1].ravel()])
    for key, value in {"dycon_note": writers.NOTE, **said}.items():
        theirs.SetMetaData(key, value)
    sitk.WriteImage(theirs, str(tmp_path / f"theirs{suffix}"), useCompression=True)
    ours, expected = (
        sitk.ReadImage(str(tmp_path / f"{name}{suffix}")) for name in ("ours", "theirs")
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(expected))
    assert ours.GetNumberOfComponentsPerPixel() == channels
    for place in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(ours, place)(), getattr(expected, place)(), atol=1e-12)
    for key in ("dycon_note", *said):
        assert ours.GetMetaData(key) == expected.GetMetaData(key)
    fields = [_fields(tmp_path / f"{name}{suffix}") for name in ("ours", "theirs")]
    assert fields[0] - {"endian"} <= fields[1]
    assert fields[1] - fields[0] <= {"AnatomicalOrientation"}


def _fields(path) -> set[str]:
    """Return the names of the lines of an ITK header, up to where the voxels begin."""
    separator = b":" if path.suffix == ".nrrd" else b" ="
    header = path.read_bytes().partition(b"LOCAL\n")[0].partition(b"\n\n")[0]
    return {line.partition(separator)[0].decode() for line in header.split(b"\n")}


def test_a_large_map_is_written_in_pieces_that_join(tmp_path, monkeypatch):
    monkeypatch.setattr(itk_files, "PIECE_BYTES", 64)
    values = np.random.default_rng(2).normal(size=(3, 3, 4, 5)).astype(np.float32)
    for suffix in (".nrrd", ".mha"):
        path = tmp_path / f"map{suffix}"
        write_scalar(path, values, GRID, overwrite=False)  # compares what it reads back
        np.testing.assert_array_equal(read_image(path).array, values)


def test_a_backslash_in_a_segment_name_comes_back(tmp_path):
    path = tmp_path / "mask.seg.nrrd"
    name = r"left\new atrium"
    write_label(path, labels(1), GRID, overwrite=False, segments=[(1, name, None)])
    assert [segment[1] for segment in read_segments(path)] == [name]


def test_a_segment_name_that_cannot_be_printed_is_stored_as_it_is_read_and_compared(tmp_path):
    path = tmp_path / "mask.seg.nrrd"
    names = ["left\u00a0atrium", "a\u200bb\n", "\u2028"]
    segments = [(value, name, None) for value, name in enumerate(names, start=1)]
    write_label(path, labels(3), GRID, overwrite=False, segments=segments)
    stored = [segment[1] for segment in read_segments(path)]
    assert stored == ["left atrium", "a b", "Segment 3"]
    assert [folded(name) for name in names[:2]] == [folded(name) for name in stored[:2]]


def test_a_segmentation_names_its_segments(tmp_path):
    path = tmp_path / "mask.seg.nrrd"
    array = np.zeros((3, 4, 5), np.uint8)
    array[1, 2:4, 3:5] = 2
    array[0, 0, 0] = 7
    segments = [(2, "left atrium", (200, 30, 30)), (5, "not there", None)]
    write_label(path, array, GRID, overwrite=False, segments=segments)
    found = read_segments(path)
    assert [(value, name) for value, name, _ in found] == [
        (2, "left atrium"), (5, "not there"), (7, "Segment 7"),
    ]  # fmt: skip
    assert found[0][2] == (200, 30, 30)
    keys = read_header(path).metadata
    extents = [keys[f"Segment{n}_Extent"] for n in range(3)]
    assert extents == ["3 4 2 3 1 1", "0 -1 0 -1 0 -1", "0 0 0 0 0 0"]  # x, y, z
    assert [keys[f"Segment{n}_ID"] for n in range(3)] == ["Segment_2", "Segment_5", "Segment_7"]
    write_label(path, array * 0, GRID, overwrite=True)
    assert not read_label(path).array.any()


def test_a_segmentation_of_numbers_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"label maps only; use \.nrrd"):
        write_scalar(tmp_path / "u.seg.nrrd", np.zeros((3, 4, 5)), GRID, overwrite=False)


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != ".seg.nrrd"])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_maps_of_numbers_keep_their_channels(tmp_path, suffix, channels):
    shape = (3, 4, 5) if channels is None else (channels, 3, 4, 5)
    array = np.random.default_rng(0).normal(size=shape)
    path = tmp_path / f"map{suffix}"
    write_scalar(path, array, GRID, overwrite=False)
    back = read_image(path)
    np.testing.assert_array_equal(back.array, array.astype(np.float32).reshape(-1, 3, 4, 5))


def test_a_far_fine_grid_is_stored_exactly_also_in_nifti(tmp_path):
    grid = Geometry.from_parts((3, 4, 5), (0.05, 0.05, 0.05), (9999.98765, -9999.87654, 5.0))
    path = tmp_path / "mask.nii.gz"
    write_label(path, labels(), grid, overwrite=False)
    assert grid.corner_distance_voxels(read_header(path).geometry) < 1e-3
    assert isinstance(nib.load(path), nib.Nifti2Image)


def test_a_little_shear_is_kept_and_its_quaternion_left_out(tmp_path):
    affine = GRID.affine.copy()
    affine[:3, 1] += 0.0006 * affine[:3, 2]
    grid = Geometry((3, 4, 200), affine)
    path = tmp_path / "mask.nii"
    write_label(path, np.zeros((3, 4, 200), np.uint8), grid, overwrite=False)
    assert grid.corner_distance_voxels(read_header(path).geometry) < 1e-3


def test_metadata_and_the_note_are_in_the_file(tmp_path):
    keys = {"dycon_model": "LA 1.0", "dycon_run": "7f"}
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        write_label(tmp_path / f"m{suffix}", labels(), GRID, overwrite=False, metadata=keys)
    for suffix in (".nrrd", ".mha"):
        found = read_header(tmp_path / f"m{suffix}").metadata
        assert found["dycon_model"] == "LA 1.0"
        assert found["dycon_note"] == "DyCON research use only"
    image = nib.load(tmp_path / "m.nii.gz")
    assert json.loads(image.header.extensions[0].get_content()) == keys
    assert bytes(image.header["descrip"]).startswith(b"DyCON research use only")


def test_metadata_that_would_break_a_header_is_refused(tmp_path):
    for keys in ({"a b": "x"}, {"a": "x\ny"}, {"a:=": "x"}):
        with pytest.raises(InputError, match="cannot be stored"):
            write_label(tmp_path / "m.nrrd", labels(), GRID, overwrite=False, metadata=keys)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(b"theirs")
    with pytest.raises(InputError, match="exists already"):
        write_label(path, labels(), GRID, overwrite=False)
    assert path.read_bytes() == b"theirs"
    write_label(path, labels(), GRID, overwrite=True)
    assert read_label(path).array.max() == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fault", ["voxel", "shift", "short", "raise"])
def test_a_bad_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, suffix, fault):
    path = tmp_path / f"mask{suffix}"
    write_label(path, labels(), GRID, overwrite=False)
    before = path.read_bytes()
    good, read = WRITERS[suffix]

    def bad(staged, array, geometry, metadata):
        if fault == "voxel":
            array = array.copy()
            array[0, 0, 0, 0] ^= 1
        if fault == "shift":
            affine = geometry.affine.copy()
            affine[0, 3] += 0.05
            geometry = Geometry(geometry.size_zyx, affine)
        good(staged, array, geometry, metadata)
        if fault == "short":
            staged.write_bytes(staged.read_bytes()[:-1])
        if fault == "raise":
            raise OSError(28, "No space left on device")

    monkeypatch.setitem(writers.WRITERS, suffix, (bad, read))
    with pytest.raises(DyconError) as caught:
        write_label(path, labels(2), GRID, overwrite=True)
    assert str(path) in str(caught.value)
    assert ".dycon-" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_what_is_no_label_map_or_not_finite_is_refused(tmp_path):
    path = tmp_path / "m.nii.gz"
    with pytest.raises(InputError, match="from -1 to 3"):
        write_label(path, labels() - np.eye(5, dtype=int)[None, :4, :], GRID, overwrite=False)
    with pytest.raises(InputError, match="expected whole numbers"):
        write_label(path, labels().astype(float), GRID, overwrite=False)
    with pytest.raises(InputError, match=r"expected \(3, 4, 5\)"):
        write_scalar(path, np.zeros((3, 4, 6)), GRID, overwrite=False)
    with pytest.raises(NonFiniteError, match="1 values are NaN"):
        write_scalar(
            path, np.where(np.arange(60) == 7, np.nan, 0).reshape(3, 4, 5), GRID, overwrite=False
        )
    assert not list(tmp_path.iterdir())


def test_targets_are_checked_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"known: .*\.nii\.gz"):
        check_target(tmp_path / "m.png", overwrite=False)
    with pytest.raises(InputError, match="folder does not exist"):
        check_target(tmp_path / "no" / "m.nii.gz", overwrite=True)
    check_target(tmp_path / "m.nii.gz", overwrite=False)
