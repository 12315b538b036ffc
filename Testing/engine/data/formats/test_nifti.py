"""NIfTI header fields that cannot be, one at a time; see B6 for whole fuzzed headers."""

from __future__ import annotations

import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from dycon_engine.data.formats.readers import read_header, read_image
from dycon_engine.errors import DamagedFileError, InputError

BEYOND = 32767  # the largest size that a field of NIfTI-1 holds


def changed(tmp_path, *fields):
    """Return a good file of 6 x 5 x 4 bytes with (offset, format, values) packed over it."""
    path = tmp_path / "a.nii"
    image = nib.Nifti1Image(np.arange(120, dtype=np.uint8).reshape(6, 5, 4), np.eye(4))
    nib.save(image, path)
    content = bytearray(path.read_bytes())
    for offset, kind, *values in fields:
        struct.pack_into(kind, content, offset, *values)
    path.write_bytes(content)
    return path


def test_the_file_to_be_changed_is_good(tmp_path):
    assert read_image(changed(tmp_path)).array.shape == (1, 4, 5, 6)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ((40, "<h", 0), "has 0 axes"),
        ((40, "<h", 8), "has 8 axes"),
        ((40, "<h", -3), "has -3 axes"),
        ((42, "<3h", 6, -5, 4), r"size is \[6, -5, 4\]; expected at least one voxel"),
        ((42, "<3h", -6, -5, 4), "at least one voxel"),
        ((42, "<3h", 6, 5, 0), "at least one voxel"),
        ((40, "<6h", 5, 6, 5, 4, -1, -1), "at least one voxel"),
        ((40, "<6h", 5, 6, 5, 4, 2, 3), "expected 3 axes and channels"),
        ((42, "<3h", BEYOND, BEYOND, BEYOND), "needs .* GiB in memory"),
        ((42, "<3h", 6, 5, 5), "cut short"),
        ((42, "<3h", 6, 5, 3), "longer than its header"),
        ((70, "<2h", 3, 8), "unknown voxel type 3"),
        ((70, "<2h", 7777, 8), "unknown voxel type 7777"),
        ((70, "<2h", 2, 16), "16 bits per voxel, its voxel type has 8"),
        ((108, "<f", 100.0), "voxels start at 100"),
        ((108, "<f", -352.0), "voxels start at -352"),
        ((108, "<f", 1e30), "voxels start at 1"),
        ((108, "<f", float("nan")), "voxels start at nan"),
        ((112, "<2f", 1.0, float("inf")), "intensity scaling is 1.0 and inf"),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_is_named(tmp_path, field, text):
    path = changed(tmp_path, field)
    with pytest.raises(InputError, match=text) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"'{path}': ")


def test_a_damaged_type_is_refused_from_the_header_alone(tmp_path):
    with pytest.raises(DamagedFileError, match="unknown voxel type"):
        read_header(changed(tmp_path, (70, "<2h", 3, 8)))


def test_an_intercept_that_is_not_set_is_0(tmp_path):
    plain = read_image(changed(tmp_path)).array.copy()
    path = changed(tmp_path, (112, "<2f", 2.0, float("nan")))
    np.testing.assert_array_equal(read_image(path).array, 2 * plain)


def test_rescaling_takes_a_slice_at_a_time(tmp_path, monkeypatch):
    path = tmp_path / "a.nii"
    stored = np.random.default_rng(0).integers(-3000, 3000, (64, 64, 96), dtype=np.int16)
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(0.1, -1024.3)
    nib.save(image, path)
    tracemalloc.start()
    volume = read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    slope, intercept = (np.float64(np.float32(value)) for value in (0.1, -1024.3))
    expected = (stored.T * slope + intercept).astype(np.float32)
    np.testing.assert_array_equal(volume.array[0], expected)
    assert peak < 7 * stored.size  # 2 bytes as stored, 4 as float32, and a slice


@pytest.mark.parametrize(
    ("name", "wrong", "text"),
    [
        ("a.nii", "a.nii.gz", "is not compressed; rename it to 'a.nii'"),
        ("a.nii.gz", "a.nii", "is compressed; rename it to 'a.nii.gz'"),
    ],
)
def test_a_name_that_does_not_fit_the_compression_is_told(tmp_path, name, wrong, text):
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4), np.uint8), np.eye(4)), tmp_path / name)
    (tmp_path / name).rename(tmp_path / wrong)
    with pytest.raises(InputError, match=text):
        read_header(tmp_path / wrong)
