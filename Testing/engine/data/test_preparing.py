"""The public downloads in small, in their own layouts, become data sets that `train` can use."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the name in use

from dycon_engine import prepare
from dycon_engine.benchmarking.protocol import load_protocol
from dycon_engine.config import DataConfig
from dycon_engine.data.formats.readers import read_image, read_label
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.preparing import DOWNLOADS
from Testing.tiny_files import dicom_slice

SIZE = (6, 5, 4)


def ball() -> np.ndarray:
    """Foreground at one end only, so that a flip of any axis shows."""
    label = np.zeros(SIZE, dtype=np.uint8)
    label[0:2, 1:3, 0:2] = 1
    return label


def image_of(label: np.ndarray) -> np.ndarray:
    return (label * 60.0 + np.random.default_rng(0).normal(0, 5, label.shape)).astype(np.float32)


def save_nifti(path: Path, array: np.ndarray, affine=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = np.diag([-0.8, -0.9, 2.5, 1.0]) if affine is None else affine
    image = nib.Nifti1Image(array.transpose(2, 1, 0), grid)
    image.set_qform(image.affine, code=1)
    nib.save(image, path)


def run(kind: str, source: Path, target: Path) -> int:
    return prepare.main([kind, str(source), str(target)])


def check(target: Path, name: str, label: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
    """The case is there under its protocol's name, bright where its label says."""
    dataset = find_cases(target, DataConfig())
    assert [case.name for case in dataset.cases] == [name]
    image, found = (read(target / f / f"{name}.nii.gz") for read, f in READ)
    assert np.array_equal(found.array, label)
    assert image.geometry.spacing_mm == pytest.approx(spacing_mm, abs=1e-5)
    assert image.geometry.corner_distance_voxels(found.geometry) < 1e-3
    assert image.array[0][label == 1].mean() > image.array[0][label == 0].mean() + 40.0


READ = ((read_image, "images"), (read_label, "labels"))


def test_the_command_offers_what_can_be_prepared() -> None:
    assert set(prepare.KINDS) == set(DOWNLOADS)


def test_left_atrium_as_the_challenge_gives_it(tmp_path: Path) -> None:
    name = load_protocol("la-8").labeled[0]
    folder = tmp_path / "src" / "Training Set" / name
    folder.mkdir(parents=True)
    for file, array in (("lgemri", image_of(ball())), ("laendo", ball() * 255)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.625, 0.625, 0.625))
        sitk.WriteImage(image, str(folder / f"{file}.nrrd"))
    assert run("la", tmp_path / "src", tmp_path / "out") == 0
    check(tmp_path / "out", name, ball(), (0.625, 0.625, 0.625))


def test_left_atrium_as_ua_mt_gives_it(tmp_path: Path) -> None:
    name = load_protocol("la-8").test[0]
    folder = tmp_path / "src" / name
    folder.mkdir(parents=True)
    with h5py.File(folder / "mri_norm2.h5", "w") as file:
        file.create_dataset("image", data=image_of(ball()).T, compression="gzip")
        file.create_dataset("label", data=ball().T, compression="gzip")
    assert run("la", tmp_path / "src", tmp_path / "out") == 0
    check(tmp_path / "out", name, ball(), (0.625, 0.625, 0.625))


def test_real_left_atrium_h5_become_the_volumes_that_are_known(
    la2018: Path, tmp_path: Path
) -> None:
    one = sorted((la2018 / "h5").iterdir())[0]
    shutil.copytree(one, tmp_path / "src" / one.name)
    assert run("la", tmp_path / "src", tmp_path / "out") == 0
    ours = read_label(tmp_path / "out" / "labels" / f"{one.name}.nii.gz")
    known = read_label(la2018 / "labels" / f"{one.name}.nii.gz")
    assert np.array_equal(ours.array, known.array)


@pytest.mark.parametrize("downwards", [False, True])
def test_pancreas_whose_label_maps_follow_the_instance_numbers(
    tmp_path: Path, downwards: bool
) -> None:
    series = tmp_path / "src" / "Pancreas-CT" / "PANCREAS_0057" / "11-24-2015" / "Pancreas-1"
    series.mkdir(parents=True)
    pixels = (image_of(ball()) + 1000.0).astype(np.int16)
    for index, plane in enumerate(pixels):
        number = len(pixels) - index if downwards else index + 1
        part = dicom_slice(plane, index, InstanceNumber=number)
        pydicom.dcmwrite(series / f"{(index * 5) % 6}.dcm", part)
    stored = ball()[::-1] if downwards else ball()
    wrong = np.diag([0.7, 0.7, 1.0, 1.0])  # a header that does not fit the scan, as published
    save_nifti(tmp_path / "src" / "TCIA_pancreas_labels" / "label0057.nii.gz", stored, wrong)
    assert run("pancreas", tmp_path / "src", tmp_path / "out") == 0
    check(tmp_path / "out", load_protocol("pancreas-6").labeled[0], ball(), (2.0, 0.75, 0.5))


def test_a_pancreas_scan_without_instance_numbers_is_refused(tmp_path: Path, capsys) -> None:
    series = tmp_path / "src" / "PANCREAS_0057" / "series"
    series.mkdir(parents=True)
    for index, plane in enumerate((image_of(ball()) + 1000.0).astype(np.int16)):
        number = None if index == 3 else index + 1
        part = dicom_slice(plane, index, InstanceNumber=number)
        pydicom.dcmwrite(series / f"{index}.dcm", part)
    save_nifti(tmp_path / "src" / "label0057.nii.gz", ball())
    assert run("pancreas", tmp_path / "src", tmp_path / "out") == 1
    assert "'3.dcm': has no instance number; the order cannot" in capsys.readouterr().err


def test_a_pancreas_label_that_lies_in_air_is_refused(tmp_path: Path, capsys) -> None:
    series = tmp_path / "src" / "PANCREAS_0057" / "series"
    series.mkdir(parents=True)
    for index, plane in enumerate(np.zeros(SIZE, dtype=np.int16)):
        pydicom.dcmwrite(series / f"{index}.dcm", dicom_slice(plane, index))
    save_nifti(tmp_path / "src" / "label0057.nii.gz", ball())
    assert run("pancreas", tmp_path / "src", tmp_path / "out") == 1
    assert (
        "median of the labeled voxels is -1000 HU, expected soft tissue" in capsys.readouterr().err
    )


def test_a_flipped_pancreas_label_within_soft_tissue_passes_and_that_is_said(
    tmp_path: Path, capsys
) -> None:
    """No check of ours sees it: what is told instead must stay true."""
    series = tmp_path / "src" / "PANCREAS_0057" / "series"
    series.mkdir(parents=True)
    for index, plane in enumerate((image_of(ball()) + 1000.0).astype(np.int16)):
        pydicom.dcmwrite(series / f"{index}.dcm", dicom_slice(plane, index))
    save_nifti(tmp_path / "src" / "label0057.nii.gz", ball()[:, ::-1])
    assert run("pancreas", tmp_path / "src", tmp_path / "out") == 0
    assert "flipped within it is not noticed; look at some cases" in capsys.readouterr().err


def test_scans_without_a_label_map_are_named(tmp_path: Path, capsys) -> None:
    names = [f"sub-strokecase{number:04d}" for number in range(8)]
    for name in names:
        raw = tmp_path / "src" / name / "ses-0001" / "dwi"
        save_nifti(raw / f"{name}_ses-0001_dwi.nii.gz", image_of(ball()))
    assert run("isles22", tmp_path / "src", tmp_path / "none") == 2
    assert "no case of isles22 found (8 scans have no label map: sub-" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    masks = tmp_path / "src" / "derivatives" / names[0] / "ses-0001"
    save_nifti(masks / f"{names[0]}_ses-0001_msk.nii.gz", ball())
    assert run("isles22", tmp_path / "src", tmp_path / "out") == 0
    captured = capsys.readouterr()
    said = f"7 scans have no label map: {', '.join(names[1:6])} and 2 more, left out"
    assert said in captured.err
    assert '"without_label": 7' in captured.out
    check(tmp_path / "out", names[0], ball(), (2.5, 0.9, 0.8))


def test_a_pancreas_scan_without_a_label_map_is_named(tmp_path: Path, capsys) -> None:
    (tmp_path / "src" / "PANCREAS_0057").mkdir(parents=True)
    assert run("pancreas", tmp_path / "src", tmp_path / "out") == 2
    assert "(1 scan has no label map: PANCREAS_0057)" in capsys.readouterr().err


def test_what_macos_leaves_beside_every_file_is_no_scan(tmp_path: Path) -> None:
    name = load_protocol("brats19-25").labeled[0]
    folder = tmp_path / "src" / name
    save_nifti(folder / f"{name}_flair.nii.gz", image_of(ball()))
    save_nifti(folder / f"{name}_seg.nii.gz", ball())
    (folder / f"._{name}_flair.nii.gz").write_bytes(b"\0\5\26\7")
    (tmp_path / "src" / ".Trashes").mkdir()
    (tmp_path / "src" / ".Trashes" / "OLD_flair.nii.gz").touch()
    assert run("brats19", tmp_path / "src", tmp_path / "out") == 0
    check(tmp_path / "out", name, ball(), (2.5, 0.9, 0.8))


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_brats_whole_tumor_on_flair(tmp_path: Path, ending: str) -> None:
    name = load_protocol("brats19-25").labeled[0]
    folder = tmp_path / "src" / "MICCAI_BraTS_2019_Data_Training" / "HGG" / name
    tumor = ball()
    tumor[0, 1, 0], tumor[1, 1, 0] = 2, 4
    save_nifti(folder / f"{name}_flair.{ending}", image_of(ball()))
    save_nifti(folder / f"{name}_t1.{ending}", image_of(ball()))
    save_nifti(folder / f"{name}_seg.{ending}", tumor)
    assert run("brats19", tmp_path / "src", tmp_path / "out") == 0
    check(tmp_path / "out", name, ball(), (2.5, 0.9, 0.8))


def test_isles_in_bids_folders(tmp_path: Path) -> None:
    name = load_protocol("isles22-5").labeled[0]
    raw = tmp_path / "src" / name / "ses-0001" / "dwi"
    masks = tmp_path / "src" / "derivatives" / name / "ses-0001"
    save_nifti(raw / f"{name}_ses-0001_dwi.nii.gz", image_of(ball()))
    save_nifti(raw / f"{name}_ses-0001_adc.nii.gz", image_of(ball()))
    save_nifti(masks / f"{name}_ses-0001_msk.nii.gz", ball())
    assert run("isles22", tmp_path / "src", tmp_path / "out") == 0
    check(tmp_path / "out", name, ball(), (2.5, 0.9, 0.8))


def test_a_case_that_fails_is_named_and_the_others_are_written_once(tmp_path: Path, capsys) -> None:
    for name, label in (("A_1", ball()), ("B_1", ball()[1:])):
        save_nifti(tmp_path / "src" / name / f"{name}_flair.nii.gz", image_of(ball()))
        save_nifti(tmp_path / "src" / name / f"{name}_seg.nii.gz", label)
    assert run("brats19", tmp_path / "src", tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert "case 'B_1'" in err
    assert "1 of 2 cases cannot be prepared (B_1)" in err
    written = tmp_path / "out" / "images" / "A_1.nii.gz"
    before = written.stat().st_mtime_ns
    assert run("brats19", tmp_path / "src", tmp_path / "out") == 1
    assert written.stat().st_mtime_ns == before
    assert not (tmp_path / "out" / "images" / "B_1.nii.gz").exists()


@pytest.mark.parametrize("kind", sorted(DOWNLOADS))
def test_a_folder_without_the_data_set_says_what_was_expected(tmp_path, capsys, kind) -> None:
    assert run(kind, tmp_path, tmp_path / "out") == 2
    assert f"no case of {kind} found; expected " in capsys.readouterr().err
