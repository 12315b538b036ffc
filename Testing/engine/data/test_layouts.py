"""Finding cases: every layout, the same listing every time, one sentence where nothing fits."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import unicodedata

import h5py
import numpy as np
import pytest

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Label, read_case_image, read_case_label
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import read_list
from dycon_engine.data.summary import summarize
from dycon_engine.errors import InputError
from Testing.tiny_scans import mask, scan, write_pairs, write_scan

AUTO = DataConfig()


def names(dataset):
    return [case.name for case in dataset.cases]


def with_label(dataset):
    return [case.name for case in dataset.cases if case.label is not None]


def test_pairs_by_stem_whatever_the_suffix(tmp_path):
    root = write_pairs(tmp_path, 3, 0)
    write_scan(root / "labels" / "pt01.nii", mask())
    (root / "labels" / "notes.txt").write_text("")
    (root / "images" / ".hidden.nii.gz").write_text("")
    dataset = find_cases(root, AUTO)
    assert (dataset.layout, names(dataset)) == ("pairs", ["pt00", "pt01", "pt02"])
    assert with_label(dataset) == ["pt01"]
    assert (dataset.problems, dataset.notes) == ((), ())
    assert find_cases(root, AUTO) == dataset


def test_accents_are_the_same_however_a_system_writes_them(tmp_path):
    """A Mac writes letter and accent apart; such a case was trained on as unlabeled."""
    joined, apart = (unicodedata.normalize(form, "Jörg Ä") for form in ("NFC", "NFD"))
    write_scan(tmp_path / "images" / f"{joined}.nii.gz", scan(0))
    write_scan(tmp_path / "labels" / f"{apart}.nii.gz", mask())
    write_scan(tmp_path / "images" / f"{apart} 2" / "ct.nii.gz", scan(1))
    write_scan(tmp_path / "labels" / f"{joined} 2.nii.gz", mask())
    dataset = find_cases(tmp_path, AUTO)
    assert sorted(names(dataset)) == sorted(with_label(dataset)) == [joined, f"{joined} 2"]
    assert (dataset.problems, dataset.notes) == ((), ())
    table = tmp_path / "list.csv"
    table.write_text(f"case,image\n{apart},images/{joined}.nii.gz\n", encoding="utf-8")
    assert names(find_cases(table, AUTO)) == [joined]
    (tmp_path / "order.txt").write_text(f"{apart}\n", encoding="utf-8")
    assert read_list(tmp_path / "order.txt") == (joined,)


def test_pairs_of_folders_are_named_by_the_folder(tmp_path):
    for name in ("pt1", "pt2"):
        write_scan(tmp_path / "images" / name / "ct.nii.gz", scan(1))
    write_scan(tmp_path / "labels" / "pt2" / "ct.nii.gz", mask())
    series = tmp_path / "images" / "pt3"
    series.mkdir()
    (series / "IM0001").write_bytes(b"slice")
    dataset = find_cases(tmp_path, AUTO)
    assert names(dataset) == ["pt1", "pt2", "pt3"]
    assert with_label(dataset) == ["pt2"]
    assert dataset.case("pt3").images == (series,)


def test_collisions_of_names_are_told(tmp_path):
    root = write_pairs(tmp_path, 1, 1)
    write_scan(root / "images" / "pt00.nii", scan(0))
    write_scan(root / "images" / "PT00.nii", scan(0))
    write_scan(root / "images" / "two" / "a.nii", scan(0))
    write_scan(root / "images" / "two" / "b.nii", scan(0))
    write_scan(root / "labels" / "nobody.nii", mask())
    dataset = find_cases(root, AUTO)
    text = "\n".join(dataset.problems)
    assert "case 'pt00': two files, 'pt00.nii' and 'pt00.nii.gz'" in text
    assert "'PT00' and 'pt00': names differ only in upper and lower case" in text
    assert "case 'two': its folder holds 2 scans" in text
    assert len(dataset.problems) == 3
    assert dataset.notes == ("label 'nobody': no scan of that name in 'images'; it is not used",)


def test_labels_that_all_have_other_names_are_a_problem(tmp_path):
    root = write_pairs(tmp_path, 2, 0)
    write_scan(root / "labels" / "pt00_seg.nii.gz", mask())
    assert "no label has the name of a scan" in find_cases(root, AUTO).problems[0]


def test_flat_folder_is_unlabeled(tmp_path):
    write_scan(tmp_path / "b.nii.gz", scan(0))
    write_scan(tmp_path / "a.nii", scan(0))
    dataset = find_cases(tmp_path, AUTO)
    assert (names(dataset), with_label(dataset)) == (["a", "b"], [])


def write_nnunet(root, card):
    for name in ("hip_1", "hip_2"):
        for channel in range(2):
            write_scan(root / "imagesTr" / f"{name}_{channel:04d}.nii.gz", scan(channel))
    write_scan(root / "labelsTr" / "hip_1.nii.gz", mask(values=(1, 2)))
    (root / "dataset.json").write_text(json.dumps(card))


def test_nnunet(tmp_path):
    labels = {"background": 0, "head": 1, "neck": 2}
    channels = {"0": "T1", "1": "T2"}
    write_nnunet(tmp_path, {"channel_names": channels, "labels": labels, "file_ending": ".nii.gz"})
    for name in ("hip_8", "hip_9"):
        for channel in range(2):
            write_scan(tmp_path / "imagesTs" / f"{name}_{channel:04d}.nii.gz", scan(channel))
    write_scan(tmp_path / "labelsTs" / "hip_9.nii.gz", mask())
    dataset = find_cases(tmp_path, AUTO)
    assert (dataset.layout, dataset.channels) == ("nnunet", ("T1", "T2"))
    assert dataset.labels == (Label(0, "background"), Label(1, "head"), Label(2, "neck"))
    assert names(dataset) == ["hip_1", "hip_2", "hip_8", "hip_9"]
    assert with_label(dataset) == ["hip_1", "hip_9"]
    assert [case.role for case in dataset.cases] == [None, None, None, "test"]
    assert "1 scan of imagesTs without a label" in dataset.notes[0]
    volume = read_case_image(dataset.cases[0], AUTO)
    assert np.array_equal(volume.array, np.stack([scan(0), scan(1)]))
    label = read_case_label(dataset.cases[0], dataset.labels, AUTO)
    assert np.array_equal(label.array, mask(values=(1, 2)))


def test_nnunet_of_the_first_version_and_a_lost_channel(tmp_path):
    write_nnunet(tmp_path, {"modality": {"0": "CT", "1": "PET"}, "labels": {"0": "bg", "7": "x"}})
    (tmp_path / "imagesTr" / "hip_2_0001.nii.gz").unlink()
    dataset = find_cases(tmp_path, AUTO)
    assert dataset.labels == (Label(0, "bg"), Label(7, "x"))
    [problem] = dataset.problems
    assert "case 'hip_2': channel file 'hip_2_0001' is missing, expected 2 channels" in problem


def test_nnunet_files_that_are_there_twice_are_told(tmp_path):
    write_nnunet(tmp_path, {"labels": {"background": 0, "head": 1, "neck": 2}})
    write_scan(tmp_path / "imagesTr" / "hip_1_0000.nii", scan(7))
    write_scan(tmp_path / "labelsTr" / "hip_1.nii", mask())
    for channel in range(2):
        write_scan(tmp_path / "imagesTs" / f"hip_2_{channel:04d}.nii.gz", scan(channel))
    image, label, part = find_cases(tmp_path, AUTO).problems
    assert "two files, 'hip_1_0000.nii' and 'hip_1_0000.nii.gz', in 'imagesTr'; keep one" in image
    assert "two files, 'hip_1.nii' and 'hip_1.nii.gz', in 'labelsTr'; keep one" in label
    assert part == "case 'hip_2': in imagesTr and in imagesTs; keep one"


def test_decathlon_entries_that_are_there_twice_are_told(tmp_path):
    write_scan(tmp_path / "imagesTr" / "la_1.nii.gz", scan(1))
    entries = [{"image": "./imagesTr/la_1.nii.gz"}] * 2
    (tmp_path / "dataset.json").write_text(json.dumps({"training": entries}))
    dataset = find_cases(tmp_path, AUTO)
    assert dataset.problems == ("case 'la_1': listed twice in dataset.json; keep one",)
    assert names(dataset) == ["la_1"]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ('{"labels": {"background": 0, "whole": [1, 2]}}', "overlapping regions"),
        ("{", "cannot be read as JSON"),
        ("[1]", "holds no table"),
    ],
)
def test_bad_dataset_json_is_one_line(tmp_path, card, message):
    write_nnunet(tmp_path, {})
    (tmp_path / "dataset.json").write_text(card)
    with pytest.raises(InputError, match=message) as caught:
        find_cases(tmp_path, AUTO)
    assert "\n" not in str(caught.value)


def test_decathlon(tmp_path):
    two = np.stack([scan(1), scan(2)], -1)
    write_scan(tmp_path / "imagesTr" / "la_1.nii.gz", two)
    write_scan(tmp_path / "imagesTs" / "la_2.nii.gz", two)
    write_scan(tmp_path / "labelsTr" / "la_1.nii.gz", mask())
    training = [{"image": "./imagesTr/la_1.nii.gz", "label": "./labelsTr/la_1.nii.gz"}]
    card = {
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "prostate"},
        "training": training,
        "test": ["./imagesTs/la_2.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    dataset = find_cases(tmp_path, AUTO)
    assert (dataset.layout, names(dataset)) == ("msd", ["la_1", "la_2"])
    assert (dataset.channels, with_label(dataset)) == (("T2", "ADC"), ["la_1"])
    assert read_case_image(dataset.cases[0], AUTO).array.shape == (2, 6, 7, 8)
    training[0]["image"] = "../../etc/passwd"
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="leads out of the folder"):
        find_cases(tmp_path, AUTO)


def write_amos(root, names, *, card=True):
    """Write a Decathlon set whose names end in four digits, as AMOS22 has them."""
    for index, name in enumerate(names):
        write_scan(root / "imagesTr" / f"{name}.nii.gz", scan(index))
        write_scan(root / "labelsTr" / f"{name}.nii.gz", mask())
    entries = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in names
    ]
    labels = {"0": "background", "1": "spleen"}
    content: dict[str, object] = {"labels": labels, "training": entries}
    if card:
        write_scan(root / "imagesTs" / "amos_0009.nii.gz", scan(9))
        content["test"] = [{"image": "./imagesTs/amos_0009.nii.gz"}]
        (root / "dataset.json").write_text(json.dumps(content))


@pytest.mark.parametrize("first", ["amos_0001", "amos_0000"])
def test_names_that_end_in_four_digits_are_no_channels(tmp_path, first):
    write_amos(tmp_path, (first, "amos_0004"))
    dataset = find_cases(tmp_path, AUTO)
    assert dataset.layout == "msd"
    assert names(dataset) == [first, "amos_0004", "amos_0009"]
    assert with_label(dataset) == [first, "amos_0004"]
    assert all(len(case.images) == 1 for case in dataset.cases)


def test_numbers_without_a_first_channel_are_not_taken_for_channels(tmp_path):
    write_amos(tmp_path, ("amos_0001", "amos_0004"), card=False)
    with pytest.raises(InputError, match="no known layout"):
        find_cases(tmp_path, AUTO)


@pytest.mark.parametrize("listed", ["hip_1", "hip_1_0000"])
def test_nnunet_with_a_list_of_training_files_stays_nnunet(tmp_path, listed):
    """Version 1 lists ID.nii.gz, which is not there; some lists name the first channel."""
    entries = [{"image": f"./imagesTr/{listed}.nii.gz", "label": "./labelsTr/hip_1.nii.gz"}]
    write_nnunet(tmp_path, {"training": entries, "labels": {"0": "bg", "1": "a", "2": "b"}})
    dataset = find_cases(tmp_path, AUTO)
    assert (dataset.layout, names(dataset)) == ("nnunet", ["hip_1", "hip_2"])
    assert len(dataset.cases[0].images) == 2


def write_h5(path, seed, *, label=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"] = scan(seed)
        if label:
            file["label"] = mask()


def test_two_hdf5_files_of_one_case_are_told(tmp_path):
    write_h5(tmp_path / "A" / "mri_norm2.h5", 0)
    write_h5(tmp_path / "A.h5", 1)
    write_h5(tmp_path / "B.h5", 2)
    dataset = find_cases(tmp_path, AUTO)
    (problem,) = dataset.problems
    assert problem.startswith("case 'A': two files, ")
    assert "A.h5" in problem
    assert "mri_norm2.h5" in problem
    assert names(dataset) == ["A", "B"]


def test_hdf5_of_the_family(tmp_path):
    for index, name in enumerate(("A", "B", "C")):
        write_h5(tmp_path / name / "mri_norm2.h5", index, label=name != "B")
    dataset = find_cases(tmp_path, AUTO)
    assert (dataset.layout, names(dataset), dataset.ordered) == ("hdf5", ["A", "B", "C"], False)
    assert with_label(dataset) == ["A", "C"]
    spaced = DataConfig(spacing_mm=(2.0, 1.0, 0.5))
    volume = read_case_image(dataset.cases[0], spaced)
    assert volume.geometry.spacing_mm == (2.0, 1.0, 0.5)
    label = read_case_label(dataset.cases[0], (Label(0, "bg"), Label(1, "x")), spaced)
    assert label.geometry.corner_distance_voxels(volume.geometry) < 1e-9


def test_a_label_is_seen_also_while_another_program_has_the_file_open(tmp_path):
    for index, name in enumerate("AB"):
        write_h5(tmp_path / f"{name}.h5", index)
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'a'); print(1, flush=True); input()"
    words = [sys.executable, "-c", code, str(tmp_path / "A.h5")]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stdin=pipe, text=True) as other:
        assert other.stdout.readline() == "1\n"
        dataset = find_cases(tmp_path, AUTO)
        other.communicate("\n")
    assert with_label(dataset) == ["A", "B"]


def test_an_hdf5_file_that_cannot_be_opened_is_a_problem_and_not_without_label(
    tmp_path, monkeypatch
):
    for index, name in enumerate("AB"):
        write_h5(tmp_path / f"{name}.h5", index)
    opened = h5py.File

    def one_is_denied(path, *words, **more):
        if path.name == "A.h5":
            raise PermissionError(errno.EACCES, "many words of HDF5")
        return opened(path, *words, **more)

    monkeypatch.setattr(h5py, "File", one_is_denied)
    (problem,) = find_cases(tmp_path, AUTO).problems
    words = f"cannot be read ({os.strerror(errno.EACCES)}); check it"
    assert problem == f"case 'A': '{tmp_path / 'A.h5'}': {words}"


def test_hdf5_lists_give_order_and_roles(tmp_path):
    for index, name in enumerate(("A", "B", "C", "D")):
        write_h5(tmp_path / f"{name}.h5", index)
    (tmp_path / "train.list").write_text("C\nA.h5\n\nlost\n")
    (tmp_path / "test.list").write_text("B")
    dataset = find_cases(tmp_path, AUTO)
    assert (names(dataset), dataset.ordered) == (["C", "A", "B"], True)
    assert [case.role for case in dataset.cases] == [None, None, "test"]
    assert "1 of 4 listed names have no file, first 'lost'" in dataset.problems[0]


def test_hdf5_in_a_folder_beside_its_lists(tmp_path):
    for index, name in enumerate(("A", "B")):
        write_h5(tmp_path / "2018LA_Seg_Training Set" / name / "mri_norm2.h5", index)
    (tmp_path / "train.list").write_text("B\nA\n")
    dataset = find_cases(tmp_path, AUTO)
    assert (dataset.layout, names(dataset), dataset.ordered) == ("hdf5", ["B", "A"], True)


def test_real_hdf5_and_pairs(la2018):
    files = find_cases(la2018 / "h5", AUTO)
    assert (files.layout, len(files.cases), len(with_label(files))) == ("hdf5", 4, 4)
    pairs = find_cases(la2018, AUTO)
    assert (pairs.layout, len(pairs.cases), len(with_label(pairs))) == ("pairs", 80, 80)


def test_nothing_that_fits_names_what_was_looked_for(tmp_path):
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(InputError, match="no known layout; looked for pairs: folders images"):
        find_cases(tmp_path, AUTO)
    with pytest.raises(InputError, match="there is no such folder"):
        find_cases(tmp_path / "nowhere", AUTO)
    with pytest.raises(InputError, match="organised as pairs, but no readable scan"):
        find_cases(tmp_path, DataConfig(layout="pairs"))
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("layout", ["nnunet", "msd", "hdf5", "manifest"])
def test_forced_layout_that_does_not_fit_is_one_line(tmp_path, layout):
    write_pairs(tmp_path, 1, 1)
    with pytest.raises(InputError) as caught:
        find_cases(tmp_path, DataConfig(layout=layout))
    assert "\n" not in str(caught.value)


def test_summary_counts_and_names_no_case(tmp_path):
    dataset = find_cases(write_pairs(tmp_path, 3, 2), AUTO)
    table = summarize(dataset)
    assert (table["cases"], table["with_label"], table["layout"]) == (3, 2, "pairs")
    assert "pt0" not in json.dumps(table)
