"""Every format: voxels, channels, types and place as another library sees them."""

from __future__ import annotations

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from dycon_engine.data.formats.readers import (
    READERS,
    content_hash,
    image_stem,
    is_readable_image,
    read_header,
    read_image,
    read_label,
    with_spacing,
)
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import DamagedFileError, DyconError, InputError

ITK = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
RNG = np.random.default_rng(0)


def itk_image(array: np.ndarray, *, vector: bool = False) -> sitk.Image:
    turn, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing((0.5, 1.25, 3.0))
    image.SetOrigin((-11.5, 20.25, 7.0))
    image.SetDirection(turn.ravel().tolist())
    return image


def same_place(image: sitk.Image, geometry: Geometry) -> bool:
    corners = [(0, 0, 0), (1, 2, 3), tuple(n - 1 for n in geometry.size_zyx)]
    return all(
        np.allclose(
            image.TransformIndexToPhysicalPoint(tuple(int(i) for i in index[::-1])),
            geometry.to_world(np.array(index, float)),
            atol=1e-4,
        )
        for index in corners
    )


@pytest.mark.parametrize("suffix", ITK)
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_image_is_what_simpleitk_wrote(tmp_path, suffix, kind):
    array = RNG.integers(0, 200, (4, 5, 6)).astype(kind)
    image = itk_image(array)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path), useCompression=kind != "i2")
    volume = read_image(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array[None].astype(np.float32))
    assert same_place(image, volume.geometry)
    header = read_header(path)
    assert (header.channels, header.dtype) == (1, np.dtype(kind))
    assert header.geometry.corner_distance_voxels(volume.geometry) == 0


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_channels_come_first(tmp_path, suffix):
    array = RNG.integers(0, 200, (4, 5, 6, 2)).astype(np.int16)
    sitk.WriteImage(itk_image(array, vector=True), str(tmp_path / f"a{suffix}"))
    volume = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, np.moveaxis(array, -1, 0))
    with pytest.raises(InputError, match="has 2 channels"):
        read_label(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
def test_nifti_of_both_versions_and_byte_orders_with_scaling(tmp_path, kind, order):
    array = RNG.integers(0, 99, (6, 5, 4, 3)).astype(order + "i2")
    header = kind.header_class(endianness=order)
    image = kind(array, np.diag([-0.5, -1, 2, 1]), header)
    image.header.set_slope_inter(0.5, -7)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_image(tmp_path / "a.nii.gz")
    want = nib.load(tmp_path / "a.nii.gz").get_fdata()
    np.testing.assert_allclose(volume.array, want.transpose(3, 2, 1, 0))
    assert volume.geometry.spacing_mm == (2.0, 1.0, 0.5)
    np.testing.assert_array_equal(volume.geometry.direction, np.eye(3)[:, ::-1])


def test_a_last_axis_of_one_is_no_channel(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((6, 5, 4, 1), np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").array.shape == (1, 4, 5, 6)
    assert read_label(tmp_path / "a.nii").array.shape == (4, 5, 6)


@pytest.mark.parametrize(
    ("values", "kind"),
    [((0, 4), "u1"), ((-1, 3), "i2"), ((0, 300), "i2"), ((0, 40000), "i4"), ((0.0, 2.0), "u1")],
)
def test_labels_are_small_integers(tmp_path, values, kind):
    array = np.zeros((3, 4, 5), np.float32 if isinstance(values[0], float) else np.int32)
    array[0, 0, :2] = values
    sitk.WriteImage(itk_image(array), str(tmp_path / "a.nrrd"))
    label = read_label(tmp_path / "a.nrrd").array
    assert label.dtype == np.dtype(kind)
    np.testing.assert_array_equal(label, array)


def test_a_label_map_with_fractions_or_nan_is_refused(tmp_path):
    for value in (0.5, 1.02, np.nan):
        array = np.zeros((3, 4, 5), np.float32)
        array[0, 0, 0] = value
        sitk.WriteImage(itk_image(array), str(tmp_path / "a.mha"))
        with pytest.raises(InputError, match="1 of 60 voxels are not whole numbers"):
            read_label(tmp_path / "a.mha")


def test_label_values_within_a_hundredth_of_whole_numbers_are_rounded(tmp_path):
    array = np.zeros((3, 4, 5), np.float32)
    array[0, 0, :2] = 1.008, 1.992
    sitk.WriteImage(itk_image(array), str(tmp_path / "a.mha"))
    assert np.array_equal(read_label(tmp_path / "a.mha").array, np.rint(array))


@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_label_values_that_a_scale_factor_bent_are_rounded(tmp_path, kind):
    values = np.zeros((3, 4, 5))
    values[0, 0, :2] = 1, 2
    image = nib.Nifti1Image(values, np.eye(4))
    image.set_data_dtype(kind)
    nib.save(image, tmp_path / "a.nii.gz")
    stored = nib.load(tmp_path / "a.nii.gz")
    assert float(stored.get_fdata()[0, 0, 0]) != 1.0  # nibabel chose a factor
    assert np.array_equal(read_label(tmp_path / "a.nii.gz").array, values.transpose(2, 1, 0))


def test_a_scale_factor_that_makes_fractions_is_named(tmp_path):
    image = nib.Nifti1Image(np.full((2, 2, 2), 5, np.int16), np.eye(4))
    image.header.set_slope_inter(0.05, 0)
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"8 of 8 voxels .* \(its header scales them by 0\.05\)"):
        read_label(tmp_path / "a.nii")


def test_intensities_near_0_are_not_rounded_to_an_empty_label_map(tmp_path):
    """Diffusion in mm2/s lies there."""
    sitk.WriteImage(itk_image(np.full((3, 4, 5), 0.0008, np.float32)), str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="60 of 60 voxels are not whole numbers; expected a label"):
        read_label(tmp_path / "a.nrrd")


@pytest.mark.parametrize("suffix", ITK)
def test_voxels_that_are_no_numbers_are_counted_and_refused(tmp_path, suffix):
    array = np.zeros((3, 4, 5), np.float32)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    sitk.WriteImage(itk_image(array), str(tmp_path / f"a{suffix}"))
    with pytest.raises(InputError, match=rf"a{suffix}': 3 of 60 voxels are NaN or infinite"):
        read_image(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("kind", ["RGB", "complex64"])
def test_color_and_complex_are_refused(tmp_path, kind):
    if kind == "RGB":
        array = np.zeros((6, 5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    else:
        array = np.zeros((6, 5, 4), kind)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"voxels are (RGB color|complex)"):
        read_image(tmp_path / "a.nii.gz")


def hdf5(path, image, **more):
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=image, compression="gzip")
        for name, array in more.items():
            file.create_dataset(name, data=array, compression="gzip")


def test_hdf5_of_the_ssl4mis_family_is_turned_to_z_y_x(tmp_path):
    image = RNG.normal(size=(6, 5, 4)).astype(np.float32)
    label = (image > 0).astype(np.uint8)
    hdf5(tmp_path / "a.h5", image, label=label)
    volume = read_image(tmp_path / "a.h5")
    np.testing.assert_array_equal(volume.array[0], image.T)
    np.testing.assert_array_equal(read_label(tmp_path / "a.h5").array, label.T)
    assert volume.geometry.spacing_mm == (1.0, 1.0, 1.0)
    assert read_header(tmp_path / "a.h5").geometry.size_zyx == (4, 5, 6)
    wide = with_spacing(volume, (3.0, 2.0, 1.0))
    assert wide.geometry.spacing_mm == (3.0, 2.0, 1.0)
    assert wide.array is volume.array
    with pytest.raises(InputError, match="three numbers above 0"):
        with_spacing(volume, (0.0, 1.0, 1.0))


def test_hdf5_without_a_label_says_what_it_has(tmp_path):
    hdf5(tmp_path / "a.h5", np.zeros((6, 5, 4)))
    with pytest.raises(InputError, match=r"no array 'label' \(found: image\)"):
        read_label(tmp_path / "a.h5")


def test_hdf5_arrays_of_other_files_are_not_followed(tmp_path):
    """Each file is padded, so that it is not refused for holding too few bytes."""
    for name in ("own", "virtual", "external", "soft"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["padding"] = np.ones((8, 8, 8))
            if name == "own":
                file["image"] = np.ones((8, 8, 8))
            elif name == "virtual":
                layout = h5py.VirtualLayout((8, 8, 8), "f8")
                layout[:] = h5py.VirtualSource("own.h5", "image", (8, 8, 8))
                file.create_virtual_dataset("image", layout)
            elif name == "external":
                file["image"] = h5py.ExternalLink("own.h5", "/image")
            else:
                file["image"] = h5py.SoftLink("/padding")
    assert read_image(tmp_path / "own.h5").array.all()
    for name, text in (("virtual", "lies in other files"), ("external", "points elsewhere")):
        with pytest.raises(InputError, match=f"'image' {text}; only own arrays are read"):
            read_image(tmp_path / f"{name}.h5")
    with pytest.raises(InputError, match="points elsewhere"):
        read_header(tmp_path / "soft.h5")


def test_content_hash_is_of_the_scan_not_of_its_file(tmp_path):
    image = itk_image(RNG.integers(0, 200, (4, 5, 6)).astype(np.int16))
    for suffix in ITK:
        sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    assert len({content_hash(tmp_path / f"a{suffix}") for suffix in ITK}) == 1
    sitk.WriteImage(image + 1, str(tmp_path / "b.nii"))
    sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat32), str(tmp_path / "c.nii"))
    assert content_hash(tmp_path / "b.nii") != content_hash(tmp_path / "a.nii")
    assert content_hash(tmp_path / "c.nii") == content_hash(tmp_path / "a.nii")


def test_content_hash_of_an_image_does_not_see_the_label(tmp_path):
    image = RNG.normal(size=(6, 5, 4))
    hdf5(tmp_path / "a.h5", image, label=np.zeros((6, 5, 4), np.uint8))
    hdf5(tmp_path / "b.h5", image, label=np.ones((6, 5, 4), np.uint8))
    one, two = tmp_path / "a.h5", tmp_path / "b.h5"
    assert content_hash(one) == content_hash(two)
    assert content_hash(one, label=True) != content_hash(two, label=True)


def test_names(tmp_path):
    stems = {"a/b.nii.gz": "b", "x.seg.nrrd": "x", "c.NII.GZ": "c", "d.e.mha": "d.e", "f": "f"}
    assert {name: image_stem(tmp_path / name) for name in stems} == stems
    (tmp_path / "a.nii").touch()
    (tmp_path / "a.txt").touch()
    assert is_readable_image(tmp_path / "a.nii")
    assert not is_readable_image(tmp_path / "a.txt")
    assert not is_readable_image(tmp_path / "b.nii")
    assert not is_readable_image(tmp_path)
    assert sorted(READERS) == list(READERS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.nii.gz", "not found"),
        ("a.png", "known: .*nii.gz"),
        ("a.hdr", "one half of a pair"),
        (".", "folder without DICOM"),
    ],
)
def test_what_cannot_be_read_says_why_in_one_line(tmp_path, name, text):
    with pytest.raises(InputError, match=text) as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.la2018
def test_published_hdf5_holds_the_same_scans_as_the_nifti_files(la2018):
    for folder in sorted((la2018 / "h5").iterdir()):
        ours = read_image(la2018 / "images" / f"{folder.name}.nii.gz")
        theirs = read_image(folder / "mri_norm2.h5")
        label = read_label(la2018 / "labels" / f"{folder.name}.nii.gz")
        np.testing.assert_array_equal(label.array, read_label(folder / "mri_norm2.h5").array)
        assert ours.array.shape == theirs.array.shape == (1, *label.array.shape)
        assert np.allclose(ours.geometry.spacing_mm, 0.625)
        gain, offset = np.polyfit(ours.array[0, 40].ravel(), theirs.array[0, 40].ravel(), 1)
        assert np.abs(gain * ours.array + offset - theirs.array).max() < 1e-5


@pytest.mark.la2018
def test_all_real_headers_are_taken(la2018):
    files = sorted((la2018 / "images").glob("*.nii.gz"))
    assert len(files) == 80
    for path in files:
        image, label = read_header(path), read_header(la2018 / "labels" / path.name)
        assert image.geometry.corner_distance_voxels(label.geometry) == 0


@pytest.mark.la2018
def test_a_real_scan_reads_as_in_nibabel(la2018):
    path = sorted((la2018 / "images").glob("*.nii.gz"))[3]
    volume, image = read_image(path), nib.load(path)
    np.testing.assert_array_equal(volume.array[0], np.asarray(image.dataobj).T)
    for index in ((0, 0, 0), (87, 10, 20)):
        ras = nib.affines.apply_affine(image.affine, index[::-1])
        lps = volume.geometry.to_world(np.array(index, float))
        np.testing.assert_allclose(lps, ras * [-1, -1, 1], atol=1e-4)


def nrrd_text(**changes: str) -> bytes:
    fields = {
        "type": "uchar",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "2 3 4",
        "space directions": "(1,0,0) (0,1,0) (0,0,2)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(1,2,3)",
    } | changes
    lines = [f"{key}: {value}" for key, value in fields.items() if value]
    return ("NRRD0004\n" + "\n".join(lines) + "\n\n").encode() + bytes(range(24))


@pytest.mark.parametrize(
    ("space", "origin"),
    [
        ("left-posterior-superior", (1, 2, 3)),
        ("right-anterior-superior", (-1, -2, 3)),
        ("LAS", (1, -2, 3)),
    ],
)
def test_nrrd_spaces_become_lps(tmp_path, space, origin):
    (tmp_path / "a.nrrd").write_bytes(nrrd_text(space=space))
    volume = read_image(tmp_path / "a.nrrd")
    assert volume.geometry.origin_lps == origin
    np.testing.assert_array_equal(volume.array.ravel(), np.arange(24))
    assert volume.array.shape == (1, 4, 3, 2)
    theirs = sitk.ReadImage(str(tmp_path / "a.nrrd")) if space != "LAS" else None
    assert theirs is None or theirs.GetOrigin() == origin


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"space": ""}, "left and right are unknown"),
        ({"space directions": ""}, "left and right are unknown"),
        ({"space": "scanner-xyz"}, "left and right are unknown"),
        ({"encoding": "bzip2"}, "encoding 'bzip2' is not read"),
        ({"type": "block"}, "voxel type 'block'"),
        ({"type": ""}, "no line 'type'"),
        ({"type": "short", "endian": ""}, "byte order"),
        ({"sizes": "2 3 x"}, "unreadable"),
        ({"sizes": "2 3 0"}, "at least one voxel"),
        ({"sizes": "2 -3 -4"}, "at least one voxel"),
        ({"sizes": "9999999 9999999 9999999"}, "needs .* GiB in memory"),
        ({"dimension": "4"}, r"size is \[2, 3, 4\]; expected 3 axes"),
        ({"dimension": "2", "sizes": "2 12"}, "expected 3 axes"),
        ({"dimension": "5", "sizes": "1 1 2 3 4"}, "expected 3 axes"),
        (
            {"dimension": "4", "sizes": "0 2 3 4"}
            | {"space directions": "none (1,0,0) (0,1,0) (0,0,2)"},
            r"size is \[0, 2, 3, 4\]; expected at least one voxel",
        ),
        ({"Encoding": "raw"}, "twice the line 'Encoding: raw'"),
        ({"sizes": "2 3 40"}, "cut short"),
        ({"sizes": "2 3 3"}, "longer than its header"),
        ({"space directions": "(1,0,0) (0,1,0) (0.2,0,2)"}, "sheared"),
        ({"space directions": "(1,0,0) (0,1,0) (0,0,0)"}, "spacing is 1 x 1 x 0"),
        ({"space directions": "(1,0,0) (0,1,0)"}, "do not fit its 3 axes"),
        ({"space origin": "(nan,0,0)"}, "unreadable"),
        ({"space origin": "(3e9,0,0)"}, "not a usable number"),
        ({"space directions": "(1,0,0) (0,2e6,0) (0,0,2)"}, "spacing is 1 x 2e[+]06 x 2 mm"),
        ({"space units": '"um" "um" "um"'}, "not in millimetres"),
        ({"kinds": "RGB-color domain domain"}, "colors"),
        ({"byte skip": "2"}, "skips part"),
    ],
)
def test_nrrd_headers_are_read_strictly(tmp_path, changes, text):
    (tmp_path / "a.nrrd").write_bytes(nrrd_text(**changes))
    with pytest.raises(InputError, match=text):
        read_image(tmp_path / "a.nrrd")


def test_a_list_axis_may_be_said_by_directions_that_are_no_numbers(tmp_path):
    changes = {"dimension": "4", "sizes": "2 1 3 4", "kinds": "", "space units": '"mm" "mm" "mm"'}
    directions = "(nan, nan, NaN) (1,0,0) (0,1,0) (0,0,2)"
    (tmp_path / "a.nrrd").write_bytes(nrrd_text(**changes, **{"space directions": directions}))
    assert read_image(tmp_path / "a.nrrd").array.shape == (2, 4, 3, 1)


def test_every_reader_names_the_file_when_it_is_something_else(tmp_path):
    for suffix in sorted(READERS):
        for content in (b"", b"\0" * 600, b"hello\nworld = 3\n" * 40):
            path = tmp_path / f"a{suffix}"
            path.write_bytes(content)
            with pytest.raises(DamagedFileError) as caught:
                read_image(path)
            assert str(path) in str(caught.value)
            assert isinstance(caught.value, DyconError)
