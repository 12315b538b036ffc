"""Patients: one person on two sides of the split is found, however the name is written."""

from __future__ import annotations

import unicodedata

import pytest

from dycon_engine.config import DataConfig, RunConfig
from dycon_engine.data.audit import Audit, audit
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import split_cases
from Testing.tiny_scans import mask, scan, write_pairs, write_scan

PATTERN = r"^(pt\d+)_"


def manifest(root, *patients, roles=()):
    """Write a scan and a label per patient, and a manifest with roles, all labeled by default."""
    write_pairs(root, len(patients), len(patients))
    rows = [
        f'c{i},images/pt{i:02d}.nii.gz,labels/pt{i:02d}.nii.gz,"{patient}",{role}'
        for i, (patient, role) in enumerate(
            zip(patients, roles or ["labeled"] * len(patients), strict=True)
        )
    ]
    text = "\n".join(("case,image,label,patient,role", *rows))
    (root / "manifest.csv").write_text(text, encoding="utf-8")
    return root


def named(root, *names):
    for number, name in enumerate(names):
        write_scan(root / "images" / f"{name}.nii.gz", scan(number))
        write_scan(root / "labels" / f"{name}.nii.gz", mask())
    return root


def audited(root, **data) -> Audit:
    config = RunConfig(data=DataConfig(**data))
    dataset = find_cases(root, config.data)
    return audit(dataset, split_cases(dataset, config.data), config)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("p1", "P1", "p1 = P1"),
        ("José", unicodedata.normalize("NFD", "José"), "José"),
        ("Jane  Doe", " jane doe", "Jane Doe = jane doe"),
    ],
)
def test_a_name_written_otherwise_is_the_same_patient(tmp_path, one, other, said):
    root = manifest(tmp_path, one, other, "x", roles=("labeled", "validation", "labeled"))
    found = audited(root)
    [problem] = found.problems
    assert problem == (
        f"patient '{said}': in training and in validation (cases 'c0', 'c1'); all scans of a "
        "patient need one role"
    )
    assert found.warnings == ()


def test_a_name_written_otherwise_is_held_out_with_its_patient(tmp_path):
    root = manifest(tmp_path, "p1", "P1", "p2", "p3", roles=("", "", "", ""))
    config = DataConfig(validation=1, order=str(tmp_path / "order.txt"))
    (tmp_path / "order.txt").write_text("c2\nc3\nc0\nc1\n")
    split = split_cases(find_cases(root, config), config)
    assert (split.labeled, split.validation) == (("c2", "c3"), ("c0", "c1"))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Doe, Jane", "Doe,Jane"), ("007", "7"), ("P-01", "p1"), ("12-34", "1234"), ("a_b", "a b")],
)
def test_names_that_nearly_agree_are_told_but_stay_two(tmp_path, one, other):
    found = audited(manifest(tmp_path, one, other, "x"))
    assert found.problems == ()
    [warning] = found.warnings
    assert warning.startswith(f"patients '{one}', '{other}' differ only in punctuation, blanks or")
    assert found.notices[0].cases == ("c0", "c1")


def test_numbers_that_stay_apart_are_other_patients(tmp_path):
    assert audited(manifest(tmp_path, "1-11", "11-1", "p10", "p1", "7", "70")).warnings == ()


def test_a_pattern_that_matches_nothing_stops(tmp_path):
    root = named(tmp_path, "pt01_a", "pt01_b", "pt02_a", "pt03_a")
    [problem] = audited(root, patient_pattern=r"^(sub-\d+)_", validation=1).problems
    assert r"data.patient_pattern '^(sub-\d+)_': matches no case name, e.g. 'pt01_a'" in problem


def test_a_pattern_that_misses_some_names_them(tmp_path):
    root = named(tmp_path, "pt01_a", "pt01_b", "pt02_a", "Pt02_b", "pt03-a")
    found = audited(root, patient_pattern=PATTERN, validation=1)
    assert found.problems == ()
    [warning] = found.warnings
    assert "does not match cases 'Pt02_b', 'pt03-a', which are each taken for a patient" in warning
    assert audited(root, patient_pattern=r"^(?i:pt)\d+", validation=1).warnings == ()


def test_an_optional_group_that_finds_nothing_is_no_match(tmp_path):
    root = named(tmp_path, "pt01_a", "pt02_a", "x_a", "y_a", "z_a")
    found = audited(root, patient_pattern=r"^(pt\d+)?_?", validation=2)
    [warning] = found.warnings
    assert "does not match cases 'x_a', 'y_a', 'z_a'" in warning


def test_a_pattern_may_miss_what_a_manifest_says(tmp_path):
    root = manifest(tmp_path, "a", "b", "")
    found = audited(root, patient_pattern=PATTERN)
    assert found.problems == ()
    assert "does not match case 'c2', which is taken for a patient" in found.warnings[0]


def test_an_empty_patient_is_none_given(tmp_path):
    named(tmp_path, *(f"c{number}" for number in range(5)))
    text = "".join(
        f'[[case]]\nimage = "images/c{n}.nii.gz"\nlabel = "labels/c{n}.nii.gz"\npatient = " "\n'
        for n in range(5)
    )
    (tmp_path / "manifest.toml").write_text(text)
    dataset = find_cases(tmp_path, DataConfig())
    assert {case.patient for case in dataset.cases} == {None}
    assert audited(tmp_path).problems == ()
