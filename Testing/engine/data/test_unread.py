"""What is not read in a folder of scans is said: a label map never gets lost without a line."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from dycon_engine.config import DataConfig
from dycon_engine.data.layouts import find_cases
from dycon_engine.errors import InputError
from Testing.tiny_files import dicom_folder, voxels
from Testing.tiny_scans import mask, scan, write_pairs, write_scan

AUTO = DataConfig()
LINK = "a link to a file that is not there; fetch the file (DataLad, git-annex)"
HALF = "one half of a pair of files; save it as one .nii.gz file"


def lose(path):
    """Make `path` a link to nothing, as DataLad leaves what was not fetched."""
    path.unlink(missing_ok=True)
    path.symlink_to(".git/annex/objects/xx")


def write_pair(path):
    nib.Nifti1Pair(np.zeros((4, 4, 4), np.uint8), np.eye(4)).to_filename(path)


def test_label_maps_that_cannot_be_read_are_problems(tmp_path):
    root = write_pairs(tmp_path, 4, 2)
    lose(root / "labels" / "pt01.nii.gz")
    write_pair(root / "labels" / "pt02.hdr")
    dataset = find_cases(root, AUTO)
    assert dataset.problems == (
        f"case 'pt01': 'labels/pt01.nii.gz' is not read: {LINK}",
        f"case 'pt02': 'labels/pt02.hdr' is not read: {HALF}",
    )
    assert dataset.notes == ()


def test_scans_that_cannot_be_read_are_problems_where_they_have_a_label(tmp_path):
    root = write_pairs(tmp_path, 3, 1)
    lose(root / "images" / "pt00.nii.gz")
    lose(root / "images" / "pt01.nii.gz")
    dataset = find_cases(root, AUTO)
    assert f"case 'pt00': 'images/pt00.nii.gz' is not read: {LINK}" in dataset.problems
    assert f"'images/pt01.nii.gz' is not read: {LINK}" in dataset.notes


def test_what_else_is_not_read_is_a_note(tmp_path):
    root = write_pairs(tmp_path, 1, 1)
    images = root / "images"
    (images / "pt05" / "ST1").mkdir(parents=True)
    dicom_folder(images / "pt05" / "ST1" / "SE1", voxels())
    (images / "pt06").mkdir()
    write_pair(images / "pt07.hdr")
    for name in ("pt08.nhdr", "pt00.nii.gz.part", "pt09.nii.gz.zip"):
        (images / name).write_bytes(b"x")
    (images / "IM01").write_bytes((images / "pt05/ST1/SE1/slice000.dcm").read_bytes())
    dataset = find_cases(root, AUTO)
    assert dataset.problems == ()
    told = dict(note.removeprefix("'images/").split("' is not read: ") for note in dataset.notes)
    other = "of no known format; convert it to .nii.gz, or move it away"
    series = "a single DICOM file; put the files of each series into a folder of its own"
    folder = "a folder whose scans are not looked into; move the files of one scan up into it"
    assert told == {
        "IM01": series,
        "pt00.nii.gz.part": other,
        "pt05": folder,
        "pt06": "an empty folder",
        "pt07.hdr": HALF,
        "pt08.nhdr": other,
        "pt09.nii.gz.zip": other,
    }


def test_usual_companions_are_no_note(tmp_path):
    root = write_pairs(tmp_path, 1, 1)
    for folder in ("images", "labels"):
        for name in (
            "README",
            "LICENSE",
            "pt00.json",
            "pt00.bval",
            "pt00.raw",
            "x.CSV",
            ".DS_Store",
        ):
            (root / folder / name).write_text("{}")
        (root / folder / "scripts").mkdir()
        (root / folder / "scripts" / "make.py").write_text("")
    dataset = find_cases(root, AUTO)
    assert (dataset.problems, dataset.notes) == ((), ())


def test_many_entries_are_counted(tmp_path):
    root = write_pairs(tmp_path, 14, 1)
    for index in range(1, 14):
        lose(root / "labels" / f"pt{index:02d}.nii.gz")
    problems = find_cases(root, AUTO).problems
    assert len(problems) == 11
    assert problems[-1] == "'labels': 3 more entries are not read either"


def test_a_folder_with_no_readable_scan_says_why(tmp_path):
    root = write_pairs(tmp_path, 1, 0)
    lose(root / "images" / "pt00.nii.gz")
    with pytest.raises(
        InputError, match=r"no readable scan is in it; .*pt00\.nii\.gz' is not read"
    ):
        find_cases(root, AUTO)


def test_a_flat_folder_says_what_it_does_not_read(tmp_path):
    write_scan(tmp_path / "a.nii.gz", scan(0))
    lose(tmp_path / "b.nii.gz")
    assert find_cases(tmp_path, AUTO).notes == (f"'{tmp_path.name}/b.nii.gz' is not read: {LINK}",)


def test_nnunet_says_what_it_does_not_read(tmp_path):
    for name in ("hip_1", "hip_2"):
        write_scan(tmp_path / "imagesTr" / f"{name}_0000.nii.gz", scan(1))
        write_scan(tmp_path / "labelsTr" / f"{name}.nii.gz", mask())
    lose(tmp_path / "labelsTr" / "hip_2.nii.gz")
    write_scan(tmp_path / "labelsTr" / "hip_3.nii.gz", mask())
    lose(tmp_path / "imagesTr" / "hip_3_0000.nii.gz")
    write_scan(tmp_path / "imagesTr" / "hip_4.nii.gz", scan(2))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "hip": 1}}))
    dataset = find_cases(tmp_path, AUTO)
    assert dataset.problems == (
        f"case 'hip_3': 'imagesTr/hip_3_0000.nii.gz' is not read: {LINK}",
        f"case 'hip_2': 'labelsTr/hip_2.nii.gz' is not read: {LINK}",
    )
    [note] = dataset.notes
    assert note.startswith("'imagesTr/hip_4.nii.gz' is not read: expected a channel number")


def test_a_folder_with_a_series_and_a_file_is_no_case(tmp_path):
    """A segmentation that was saved beside the slices was taken for the scan."""
    (tmp_path / "images").mkdir()
    for name in ("pt1", "pt2"):
        dicom_folder(tmp_path / "images" / name, voxels())
    write_scan(tmp_path / "images" / "pt2" / "Segmentation.nii.gz", mask())
    dataset = find_cases(tmp_path, AUTO)
    assert [case.name for case in dataset.cases] == ["pt1"]
    [problem] = dataset.problems
    assert problem == (
        "case 'pt2': its folder holds a DICOM series and 'Segmentation.nii.gz', expected one scan; "
        "move one away, or list the files in a manifest"
    )
