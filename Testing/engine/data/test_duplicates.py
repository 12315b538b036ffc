"""The same scan twice is found in any format and order of axes."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from dycon_engine.config import DataConfig, RunConfig
from dycon_engine.data.audit import audit
from dycon_engine.data.duplicates import duplicate_problems, same_role_warnings
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import Split, split_cases
from dycon_engine.data.survey import Scan
from Testing.tiny_scans import mask, scan, write_pairs, write_scan


def reordered(path, target, codes):
    """Save the scan or label map at `path` with its axes in another order."""
    image = nibabel.load(path)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    other = image.as_reoriented(turn)
    assert other.shape != image.shape or not np.array_equal(other.dataobj, image.dataobj)
    other.to_filename(target)


def problems(root):
    config = RunConfig(data=DataConfig())
    dataset = find_cases(root, config.data)
    return audit(dataset, split_cases(dataset, config.data), config).problems


@pytest.mark.parametrize("codes", ["RAS", "PSR", "ILA"])
def test_a_scan_in_another_order_of_axes_is_the_same(tmp_path, codes):
    write_pairs(tmp_path, 4, 4)
    for folder in ("images", "labels"):
        path = tmp_path / folder / "pt00.nii.gz"
        reordered(path, tmp_path / folder / "copy.nii.gz", codes)
    rows = [f"{n},images/{n}.nii.gz,labels/{n}.nii.gz,labeled" for n in ("pt00", "pt01", "pt02")]
    rows += ["copy,images/copy.nii.gz,labels/copy.nii.gz,validation"]
    (tmp_path / "manifest.csv").write_text("\n".join(("case,image,label,role", *rows)))
    [problem] = problems(tmp_path)
    assert problem.startswith("cases 'copy', 'pt00': hold the same voxels but are ")


def test_a_scan_and_its_mirror_image_are_two(tmp_path):
    write_pairs(tmp_path, 4, 4)
    write_scan(tmp_path / "images/mirrored.nii.gz", scan(0)[:, :, ::-1])
    write_scan(tmp_path / "labels/mirrored.nii.gz", mask())
    assert problems(tmp_path) == ()


def test_a_copy_whose_header_says_another_order_is_still_the_same():
    scans = {
        "a": Scan("a", sha256="one", oriented_sha256="x"),
        "b": Scan("b", sha256="one", oriented_sha256="y"),
        "c": Scan("c", sha256="two", oriented_sha256="x"),
        "lost": Scan("lost"),
        "gone": Scan("gone"),
    }
    split = Split(("a", "lost"), (), ("b", "gone"), ("c",))
    assert {found.cases for found in duplicate_problems(scans, split)} == {("a", "b"), ("a", "c")}
    assert list(same_role_warnings(scans, split)) == []


def test_a_group_is_told_once():
    scans = {
        "a": Scan("a", sha256="one", oriented_sha256="x"),
        "b": Scan("b", sha256="one", oriented_sha256="x"),
        "c": Scan("c", sha256="two", oriented_sha256="x"),
    }
    split = Split(("a", "b", "c"), (), (), ())
    [found] = same_role_warnings(scans, split)
    assert found.cases == ("a", "b", "c")
