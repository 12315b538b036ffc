"""B11: 25 bad data sets; every problem one plain line, all in one go, before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pytest

from dycon_engine.config import DataConfig, RunConfig, resolve
from dycon_engine.data.audit import audit
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import split_cases
from dycon_engine.errors import DatasetError
from Testing.tiny_scans import mask, scan, write_pairs, write_scan

CASES, LABELED = 6, 5
NONE = {"data.labeled": 3, "data.validation": 1}


class Bad(NamedTuple):
    """A planted fault: what it does to the folder, the settings, and what must be said."""

    name: str
    plant: object
    problems: tuple[str, ...]
    settings: dict | None = None
    warnings: tuple[str, ...] = ()


def image(root, number=0):
    return root / "images" / f"pt{number:02d}.nii.gz"


def label(root, number=0):
    return root / "labels" / f"pt{number:02d}.nii.gz"


def typed(path, dtype):
    """Write an image of an unusual voxel type."""
    dtype = np.dtype(dtype)
    array = np.zeros((8, 7, 6), dtype=dtype)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(array, affine, dtype=dtype), path)


def spoiled(value):
    array = scan(0)
    array[3, 3, 3] = value
    return array


def manifest(root, rows):
    header = "case,image,label,role,patient\n"
    lines = [",".join(row) for row in rows]
    (root / "manifest.csv").write_text(header + "\n".join(lines))


def rows(patients=("", "", "", ""), roles=("labeled", "labeled", "unlabeled", "validation")):
    return [
        (f"c{i}", f"images/pt0{i}.nii.gz", f"labels/pt0{i}.nii.gz", roles[i], patients[i])
        for i in range(4)
    ]


def labels_toml(root, text):
    cases = "\n".join(
        f'[[case]]\nimage = "images/pt0{i}.nii.gz"\nlabel = "labels/pt0{i}.nii.gz"'
        for i in range(LABELED)
    )
    (root / "manifest.toml").write_text(f"[labels]\n{text}\n{cases}")


def remove_labels(root):
    for path in (root / "labels").iterdir():
        path.unlink()


def empty_labels(root):
    for number in range(LABELED):
        write_scan(label(root, number), np.zeros((6, 7, 8), np.uint8))


def two_channels_but_one(root):
    for number in range(1, CASES):
        write_scan(image(root, number), np.stack([scan(number), scan(number + 50)], -1))


BAD = [
    Bad(
        "label of another size",
        lambda r: write_scan(label(r), mask((6, 7, 9))),
        ("case 'pt00': label is 9x7x6 but image is 8x7x6",),
    ),
    Bad(
        "label half a voxel away",
        lambda r: write_scan(label(r), mask(), origin=(0.5, 0, 0)),
        ("case 'pt00': label lies 0.50 voxels away",),
    ),
    Bad(
        "label with another spacing",
        lambda r: write_scan(label(r), mask(), spacing=(1, 1, 1.01)),
        ("case 'pt00': label lies 0.07 voxels away",),
    ),
    Bad(
        "unknown label value",
        lambda r: (write_scan(label(r), mask(values=(1, 9))), labels_toml(r, "heart = 1")),
        ("case 'pt00': label holds the values 9, expected only 0, 1",),
    ),
    Bad(
        "negative label value",
        lambda r: write_scan(label(r), -mask().astype(np.int16)),
        ("case 'pt00': label holds the values -1",),
    ),
    Bad(
        "label that is an image",
        lambda r: write_scan(label(r), scan(3)),
        ("pt00.nii.gz",),
    ),
    Bad("NaN", lambda r: write_scan(image(r), spoiled(np.nan)), ("pt00",)),
    Bad("infinity", lambda r: write_scan(image(r), spoiled(np.inf)), ("pt00",)),
    Bad(
        "constant image",
        lambda r: write_scan(image(r), np.full((6, 7, 8), 5, np.float32)),
        ("case 'pt00': image is constant (5 in every voxel)",),
    ),
    Bad(
        "4D image",
        lambda r: write_scan(image(r), np.stack([scan(0)] * 3, -1)),
        ("case 'pt00': image has 3 channels, expected 1 as the other cases",),
    ),
    Bad("RGB image", lambda r: typed(image(r), [(c, "u1") for c in "RGB"]), ("pt00",)),
    Bad("complex image", lambda r: typed(image(r), np.complex64), ("pt00",)),
    Bad(
        "no voxel",
        lambda r: image(r).write_bytes(b""),
        ("pt00",),
    ),
    Bad(
        "one voxel",
        lambda r: (
            write_scan(image(r), np.ones((1, 1, 1), np.float32)),
            write_scan(label(r), np.ones((1, 1, 1), np.uint8)),
        ),
        ("case 'pt00': image has 1 voxels",),
    ),
    Bad(
        "duplicate id",
        lambda r: write_scan(r / "images" / "pt00.nii", scan(0)),
        ("case 'pt00': two files",),
    ),
    Bad(
        "duplicate pixels",
        lambda r: (
            manifest(r, rows()),
            write_scan(image(r, 3), scan(0)),
        ),
        ("cases 'c0', 'c3': hold the same voxels but are labeled and validation",),
        {},
    ),
    Bad(
        "unlabeled copy of a labeled scan",
        lambda r: (manifest(r, rows()), write_scan(image(r, 2), scan(1))),
        ("cases 'c1', 'c2': hold the same voxels but are labeled and unlabeled",),
        {},
    ),
    Bad(
        "same patient in training and validation",
        lambda r: manifest(r, rows(patients=("P1", "P2", "P3", "P1"))),
        ("patient 'P1': in training and in validation (cases 'c0', 'c3')",),
        {},
    ),
    Bad(
        "class absent everywhere",
        lambda r: labels_toml(r, "heart = 1\nlung = 2"),
        ("class 'lung' (value 2): in no labeled case",),
    ),
    Bad(
        "every label empty",
        empty_labels,
        ("labels: every labeled case is empty",),
        warnings=tuple("label is empty" for _ in range(4)),
    ),
    Bad("zero labeled", remove_labels, ("no labeled case",), {}),
    Bad(
        "zero unlabeled",
        lambda r: image(r, 5).unlink(),
        ("no unlabeled case, but the method learns from unlabeled scans",),
        {"data.validation": 1},
    ),
    Bad(
        "one unreadable",
        lambda r: image(r, 3).write_bytes(image(r, 3).read_bytes()[:90]),
        ("pt03",),
    ),
    Bad(
        "channel missing",
        two_channels_but_one,
        ("case 'pt00': image has 1 channels, expected 2 as the other cases",),
    ),
    Bad(
        "role without label",
        lambda r: (manifest(r, rows()), label(r, 1).unlink()),
        ("case 'c1': is labeled but has no label map",),
        {},
        warnings=("is missing; used without",),
    ),
    Bad(
        "label map among the images",
        lambda r: write_scan(image(r, 5), mask(values=(1, 2)).astype(np.float32)),
        (),
        warnings=("case 'pt05': image holds only 3 different values",),
    ),
    Bad(
        "spacing far off",
        lambda r: write_scan(image(r, 5), scan(5), spacing=(9, 1, 1)),
        (),
        warnings=("case 'pt05': spacing 9x1x1 mm",),
    ),
    Bad(
        "spacing far off, finer than the others",
        lambda r: write_scan(image(r, 5), scan(5), spacing=(1, 0.25, 1)),
        (),
        warnings=("case 'pt05': spacing 1x0.25x1 mm (z, y, x) is far from the median 1x1x1 mm",),
    ),
    Bad(
        "spacing that differs by less than a factor of 3",
        lambda r: write_scan(image(r, 5), scan(5), spacing=(2.5, 0.4, 1)),
        (),
    ),
]


def audited(root: Path, settings) -> object:
    config: RunConfig = resolve(assignments=[f"{key}={value}" for key, value in settings.items()])
    dataset = find_cases(root, config.data)
    split = split_cases(dataset, config.data)
    return audit(dataset, split, config, needs_unlabeled=True)


@pytest.fixture
def root(tmp_path):
    return write_pairs(tmp_path, CASES, LABELED)


def test_a_good_data_set_has_no_problem(root):
    report = audited(root, NONE)
    assert (report.problems, report.warnings) == ((), ())
    assert [entry.value for entry in report.labels] == [0, 1]
    assert (report.channels, report.spacing_mm, report.is_ct) == (
        ("image",),
        (1.0, 1.0, 1.0),
        False,
    )
    report.require_usable()


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_one_line_per_problem(root, bad):
    bad.plant(root)
    report = audited(root, NONE if bad.settings is None else bad.settings)
    assert len(report.problems) == len(bad.problems), report.problems
    for line, expected in zip(report.problems, bad.problems, strict=True):
        assert expected in line
        assert "\n" not in line
    assert len(report.warnings) == len(bad.warnings), report.warnings
    for line, expected in zip(report.warnings, bad.warnings, strict=True):
        assert expected in line
    if bad.problems:
        with pytest.raises(DatasetError) as caught:
            report.require_usable()
        assert caught.value.problems == report.problems
    for finding in (*report.errors, *report.notices):
        assert finding.topic
        assert all(
            f"'{name}'" in finding.message
            for name in finding.cases[:3]
            if finding.topic != "left-out"
        )


def test_there_are_at_least_25_bad_data_sets():
    assert len(BAD) >= 25


def test_all_problems_come_at_once(root):
    write_scan(image(root, 0), spoiled(np.nan))
    write_scan(label(root, 1), mask((6, 7, 9)))
    write_scan(image(root, 2), np.full((6, 7, 8), 5, np.float32))
    image(root, 3).write_bytes(b"\x1f\x8b")
    write_scan(label(root, 4), -mask().astype(np.int16))
    report = audited(root, {"data.validation": 0})
    assert [f"pt0{index}" in "".join(report.problems) for index in range(6)] == [True] * 5 + [False]
    assert len(report.problems) == 5


def test_labels_of_unlabeled_and_test_cases_are_never_opened(root):
    dataset = find_cases(root, DataConfig())
    split = split_cases(dataset, DataConfig(labeled=1, validation=1, test=1))
    assert split.test
    for name in (*split.unlabeled, *split.test):
        (root / "labels" / f"{name}.nii.gz").write_bytes(b"scrambled")
    assert audit(dataset, split, RunConfig(), needs_unlabeled=True).problems == ()


def test_supervised_needs_no_unlabeled(root):
    image(root, 5).unlink()
    dataset = find_cases(root, DataConfig())
    split = split_cases(dataset, DataConfig(validation=1))
    assert audit(dataset, split, RunConfig()).problems == ()


def test_hounsfield_units_are_noticed(root):
    for number in range(CASES):
        write_scan(image(root, number), scan(number) * 20 - 2500)
    assert audited(root, NONE).is_ct


def time_series(root):
    for number in range(CASES):
        write_scan(image(root, number), np.stack([scan(number) + time for time in range(5)], -1))


def test_a_time_series_is_not_taken_for_channels_in_silence(root):
    time_series(root)
    report = audited(root, NONE)
    [warning] = report.warnings
    assert warning.startswith("cases 'pt00', 'pt01', 'pt02', ... (6 in all): 5 channels in one")
    cases = "\n".join(f'[[case]]\nimage = "images/pt0{i}.nii.gz"' for i in range(CASES))
    names = 'channels = ["b0", "b50", "b400", "b800", "ADC"]'
    (root / "manifest.toml").write_text(f"{names}\n{cases}")
    assert audited(root, {}).warnings == ()


def test_classes_get_their_names_and_a_wrong_number_of_names_is_a_problem(root):
    named = audited(root, NONE | {"data.label_names": ["left atrium"]})
    assert [label.name for label in named.labels] == ["background", "left atrium"]
    (problem,) = audited(root, NONE | {"data.label_names": ["one", "two"]}).problems
    assert "data.label_names: 2 names, expected 1" in problem
