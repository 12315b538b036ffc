"""Splits: counts, order, patients; no label of an unlabeled case can matter."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Case, Dataset
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import Split, apply_split, patient_of, read_list, split_cases
from dycon_engine.data.survey import Scan
from dycon_engine.errors import InputError
from Testing.tiny_scans import write_pairs


def dataset(*cases, ordered=True):
    return Dataset(Path("somewhere"), "pairs", tuple(cases), ordered=ordered)


def case(name, *, label=True, **rest):
    return Case(name, (Path(f"{name}.nii"),), Path(f"{name}_seg.nii") if label else None, **rest)


def split(data, **config):
    scans = [Scan(one.name, sha256=f"hash of {one.name}") for one in data.cases]
    return split_cases(data, DataConfig(**config), scans=scans)


def ten(**rest):
    return dataset(*(case(f"c{index}") for index in range(10)), **rest)


def test_counts_take_the_first_and_the_last():
    found = split(ten(), labeled=3, validation=2, test=1)
    assert found.labeled == ("c0", "c1", "c2")
    assert found.unlabeled == ("c3", "c4", "c5", "c6")
    assert (found.test, found.validation) == (("c7",), ("c8", "c9"))


@pytest.mark.parametrize(
    ("labels", "labeled", "expected"),
    [(4, None, 0), (5, None, 1), (10, None, 2), (10, 4, 0), (10, 5, 1), (1, 1, 0)],
)
def test_default_validation_is_a_fifth_and_none_below_five(labels, labeled, expected):
    cases = [case(f"c{index}", label=index < labels) for index in range(10)]
    found = split(dataset(*cases), labeled=labeled)
    assert len(found.validation) == expected
    assert len(found.labeled) == (labeled or labels - expected)
    assert len(found.unlabeled) == 10 - len(found.labeled) - expected


def test_the_default_fifth_is_of_the_labels_that_no_test_or_role_has_taken():
    assert len(split(ten(), test=5).validation) == 1
    fixed = [case(f"c{index}", role="labeled") for index in range(25)]
    found = split(dataset(*fixed, case("a"), case("b"), case("c")), labeled=28)
    assert (len(found.labeled), found.validation) == (28, ())


def test_order_comes_from_the_list_and_leaves_out_what_it_does_not_name(tmp_path):
    listed = tmp_path / "train.list"
    listed.write_text("c7\n# a comment\nc2\nc5\n")
    found = split(ten(), order=str(listed), labeled=1, validation=1)
    assert (found.labeled, found.unlabeled, found.validation) == (("c7",), ("c2",), ("c5",))
    assert sorted(found.sha256) == ["c2", "c5", "c7"]
    listed.write_text("c7\nnobody")
    with pytest.raises(InputError, match="1 of 2 names are not in the data set, first 'nobody'"):
        split(ten(), order=str(listed))
    listed.write_text("c7\nc7")
    with pytest.raises(InputError, match="names 'c7' twice"):
        read_list(listed)


def test_a_relative_list_lies_in_the_data_folder(tmp_path):
    write_pairs(tmp_path, 3, 3)
    (tmp_path / "train.list").write_text("pt02\npt00")
    config = DataConfig(order="train.list", validation=0)
    assert split_cases(find_cases(tmp_path, config), config).labeled == ("pt02", "pt00")
    with pytest.raises(InputError, match="cannot be read"):
        split(ten(), order="nowhere.list")


def test_shuffling_depends_on_the_seed_only():
    first = split(ten(ordered=False), labeled=4)
    assert split(ten(ordered=False), labeled=4) == first
    assert any(split(ten(ordered=False), labeled=4, seed=s) != first for s in (1, 2, 3))
    more = dataset(*ten().cases, case("c99"), ordered=False)
    kept = [name for name in (*split(more, labeled=4).labeled,) if name in first.labeled]
    assert len(kept) >= 3


def test_given_roles_win():
    data = dataset(
        case("a", role="validation"),
        case("b", role="unlabeled"),
        case("c", role="labeled"),
        case("d"),
        case("e", label=False),
        case("f", role="test"),
    )
    found = split(data, validation=3, test=2)
    assert found.validation == ("a",)
    assert found.test == ("f",)
    assert found.labeled == ("c", "d")
    assert found.unlabeled == ("b", "e")


def test_nobody_given_for_training_is_taken_for_validation_by_default():
    fixed = [case(f"c{index}", role="labeled") for index in range(8)]
    found = split(dataset(*fixed, case("u", role="unlabeled", label=False)))
    assert (len(found.labeled), found.unlabeled, found.validation) == (8, ("u",), ())


def test_a_patient_with_a_given_role_is_not_held_out():
    data = dataset(
        case("a", role="labeled", patient="P"), case("b"), case("c"), case("d", patient="P")
    )
    found = split(data, validation=1)
    assert (found.validation, found.labeled) == (("c",), ("a", "b", "d"))


def test_training_cannot_see_labels_that_are_not_its_own():
    data = ten()
    visible = apply_split(data, split(data, labeled=2, validation=1, test=1))
    labels = {one.name: one.label for one in visible.cases}
    assert {name for name, label in labels.items() if label} == {"c0", "c1", "c9"}
    assert [one.role for one in visible.cases] == (
        ["labeled"] * 2 + ["unlabeled"] * 6 + ["validation", "test"]
    )


def test_deleting_masks_of_unlabeled_cases_changes_nothing():
    config = {"labeled": 3, "validation": 2, "test": 1}
    found = split(ten(), **config)
    bare = [case(one.name, label=one.name not in found.unlabeled) for one in ten().cases]
    again = split(dataset(*bare), **config)
    assert again.hash() == found.hash()


PATIENTS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=14)


@settings(max_examples=150, deadline=None)
@given(PATIENTS, st.integers(0, 3), st.integers(0, 2))
def test_no_patient_is_on_two_sides(scans, validation, test):
    cases = [
        case(f"c{index:02d}", label=label, patient=f"P{patient}")
        for index, (patient, label) in enumerate(scans)
    ]
    data = dataset(*cases, ordered=False)
    try:
        found = split(data, validation=validation, test=test)
    except InputError:
        assume(False)  # fewer labels than asked for; tested below
    sides = {}
    for side, names in (
        ("training", found.labeled + found.unlabeled),
        ("validation", found.validation),
        ("test", found.test),
    ):
        for name in names:
            assert sides.setdefault(data.case(name).patient, side) == side
    assert len(found.validation) >= validation
    assert all(data.case(name).label for name in found.labeled + found.validation + found.test)


def test_patients_come_from_the_pattern():
    config = DataConfig(patient_pattern=r"^(\w+)_")
    assert patient_of(case("anna_2"), config) == "anna"
    assert patient_of(case("anna_2", patient="X"), config) == "x"
    assert patient_of(case("bert"), config) == "bert"
    with pytest.raises(InputError, match="not a regular expression"):
        patient_of(case("a"), DataConfig(patient_pattern="("))
    data = dataset(case("a_1"), case("b_1"), case("a_2"))
    found = split(data, validation=1, patient_pattern=r"^(\w)_")
    assert (found.labeled, found.validation) == (("b_1",), ("a_1", "a_2"))


@pytest.mark.parametrize("config", [{"labeled": 11}, {"validation": 11}, {"test": 11}])
def test_more_than_there_are_is_one_line(config):
    with pytest.raises(InputError, match="11 asked for, but only"):
        split(ten(), **config)


def test_json_there_and_back_and_the_hash():
    found = split(ten(), labeled=3)
    assert Split.from_json(found.to_json()) == found
    other = Split(found.labeled, found.unlabeled, found.validation, found.test, {"c0": "changed"})
    assert len({found.hash(), other.hash()}) == 2
    for bad in ("", "[]", '{"labeled": []}'):
        with pytest.raises(InputError, match="split file is incomplete"):
            Split.from_json(bad)
    with pytest.raises(InputError, match="'a': has two roles"):
        Split(("a",), ("a",), (), ())


def test_frozen_by_content_not_by_file(tmp_path):
    write_pairs(tmp_path, 2, 2)
    config = DataConfig(validation=0)
    first = split_cases(find_cases(tmp_path, config), config)
    assert len(set(first.sha256.values())) == 2
    (tmp_path / "images" / "pt00.nii.gz").replace(tmp_path / "images" / "renamed.nii.gz")
    (tmp_path / "labels" / "pt00.nii.gz").replace(tmp_path / "labels" / "renamed.nii.gz")
    second = split_cases(find_cases(tmp_path, config), config)
    assert second.sha256["renamed"] == first.sha256["pt00"]


def test_the_papers_split_of_the_left_atrium(la2018):
    config = DataConfig(order="train.list", labeled=8, validation=8)
    data = find_cases(la2018, config)
    names = read_list(la2018 / "train.list")
    scans = [Scan(one.name) for one in data.cases]
    found = split_cases(data, config, scans=scans)
    assert found.labeled == names[:8]
    assert found.unlabeled == names[8:72]
    assert found.validation == names[72:]
