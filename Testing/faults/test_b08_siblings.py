"""B8: the file asked for is the file read, whatever lies beside it."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from dycon_engine.data.formats.readers import content_hash, read_header, read_image, read_label
from dycon_engine.data.formats.writers import write_label
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import InputError

GRID = Geometry.from_parts((4, 5, 6))


def save(path, value):
    """Write a file of `value` in every voxel, which are `value` mm wide."""
    affine = np.diag([value, value, value, 1.0])
    nib.save(nib.Nifti1Image(np.full((6, 5, 4), value, np.uint8), affine), path)


def test_nii_beside_nii_gz(tmp_path):
    save(tmp_path / "x.nii", 1)
    save(tmp_path / "x.nii.gz", 2)
    assert read_image(tmp_path / "x.nii").array.max() == 1
    assert read_image(tmp_path / "x.nii.gz").array.min() == 2
    assert read_header(tmp_path / "x.nii").geometry.spacing_mm == (1.0, 1.0, 1.0)
    assert read_header(tmp_path / "x.nii.gz").geometry.spacing_mm == (2.0, 2.0, 2.0)
    assert content_hash(tmp_path / "x.nii") != content_hash(tmp_path / "x.nii.gz")


def test_a_missing_file_is_not_replaced_by_its_sibling(tmp_path):
    save(tmp_path / "x.nii", 1)
    with pytest.raises(InputError, match=r"x\.nii\.gz': not found"):
        read_image(tmp_path / "x.nii.gz")


def test_hdr_img_pairs_are_refused(tmp_path):
    nib.save(nib.Nifti1Pair(np.ones((6, 5, 4), np.uint8), np.eye(4)), tmp_path / "x.img")
    for name in ("x.img", "x.hdr"):
        with pytest.raises(InputError, match="one half of a pair"):
            read_image(tmp_path / name)
    (tmp_path / "x.hdr").rename(tmp_path / "x.nii")
    with pytest.raises(InputError, match=r"in an \.img file"):
        read_image(tmp_path / "x.nii")


def test_two_patients_with_one_file_name(tmp_path):
    for number, patient in enumerate(("a", "b"), start=1):
        (tmp_path / patient).mkdir()
        save(tmp_path / patient / "ct.nii.gz", number)
    assert read_image(tmp_path / "a" / "ct.nii.gz").array.max() == 1
    assert read_image(tmp_path / "b" / "ct.nii.gz").array.max() == 2


def test_names_that_differ_in_case_only(tmp_path):
    save(tmp_path / "CT.nii.gz", 1)
    if (tmp_path / "ct.nii.gz").exists():
        with pytest.raises(InputError, match="exists already"):
            write_label(tmp_path / "ct.nii.gz", np.ones((4, 5, 6), int), GRID, overwrite=False)
    else:
        save(tmp_path / "ct.nii.gz", 2)
        assert read_image(tmp_path / "CT.nii.gz").array.max() == 1
        assert read_image(tmp_path / "ct.nii.gz").array.min() == 2


def test_writing_touches_no_sibling(tmp_path):
    save(tmp_path / "x.nii", 1)
    save(tmp_path / "x.hdr.nii", 1)
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    write_label(tmp_path / "x.nii.gz", np.full((4, 5, 6), 3), GRID, overwrite=False)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert read_label(tmp_path / "x.nii.gz").array.min() == 3
    assert len(list(tmp_path.iterdir())) == 3


def test_mhd_reads_the_data_file_it_names(tmp_path):
    for name, value in (("a", 1), ("b", 2)):
        image = sitk.GetImageFromArray(np.full((4, 5, 6), value, np.uint8))
        sitk.WriteImage(image, str(tmp_path / f"{name}.mhd"))
    text = (tmp_path / "a.mhd").read_text()
    (tmp_path / "a.mhd").write_text(text.replace("a.raw", "b.raw"))
    assert read_image(tmp_path / "a.mhd").array.max() == 2
    (tmp_path / "b.raw").unlink()
    with pytest.raises(InputError, match=r"data file 'b\.raw'"):
        read_image(tmp_path / "a.mhd")


def test_a_link_is_read_where_it_points_and_a_pipe_is_not(tmp_path):
    save(tmp_path / "real.nii.gz", 7)
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "real.nii.gz")
    assert read_image(tmp_path / "link.nii.gz").array.max() == 7
    os.mkfifo(tmp_path / "pipe.nii.gz")
    with pytest.raises(InputError, match="not an ordinary file"):
        read_image(tmp_path / "pipe.nii.gz")
