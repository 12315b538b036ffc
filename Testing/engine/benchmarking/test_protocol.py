"""Splits by name: complete, disjoint, and a manifest that cannot leak."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycon_engine.benchmarking.protocol import load_protocol, protocol_names, write_manifest
from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Case, Dataset
from dycon_engine.data.layouts import find_cases
from dycon_engine.errors import DatasetError, InputError

SIZES = {  # labeled, unlabeled, validation, test
    "la-1": (1, 79, 0, 20),
    "pancreas-1": (1, 61, 0, 20),
    "brats19-1": (1, 249, 25, 60),
    "la-4": (4, 76, 0, 20),
    "la-8": (8, 72, 0, 20),
    "la-16": (16, 64, 0, 20),
    "la-dev-8": (8, 64, 0, 8),
    "la-check-8": (8, 48, 0, 24),
    "pancreas-6": (6, 56, 0, 20),
    "pancreas-12": (12, 50, 0, 20),
    "pancreas80-12": (12, 49, 0, 19),
    "brats19-25": (25, 225, 25, 60),
    "brats19-50": (50, 200, 25, 60),
    "isles22-5": (10, 190, 25, 25),
    "isles22-10": (20, 180, 25, 25),
    "isles22-20": (40, 160, 25, 25),
}
OWN = """
title = "Balls"
labels = ["ball"]
source = "made up"
train = ["a", "b", "c"]
test = ["d"]
[variants]
1 = 1
9 = 9
"""
PUBLISHED = """
[[published]]
variant = 1
method = "Somebody"
dice = 50.0
split = "another"
[[published]]
variant = "1"
method = "Another"
dice = 51
"""


@pytest.mark.parametrize("data", ["la", "la-dev", "pancreas", "brats19"])
def test_one_shot_is_the_first_case_of_the_published_list(data: str) -> None:
    more = next(name for name in SIZES if name.startswith(f"{data}-") and name != f"{data}-1")
    one, several = load_protocol(f"{data}-1"), load_protocol(more)
    assert one.labeled == several.labeled[:1]
    assert {*one.labeled, *one.unlabeled} == {*several.labeled, *several.unlabeled}
    assert (one.test, one.validation) == (several.test, several.validation)
    assert one.published == ()  # nobody's numbers are known for it


@pytest.mark.parametrize("name", SIZES)
def test_the_shipped_splits_have_the_published_sizes(name: str) -> None:
    found = load_protocol(name)
    roles = (found.labeled, found.unlabeled, found.validation, found.test)
    assert tuple(map(len, roles)) == SIZES[name]
    assert len(set().union(*roles)) == sum(SIZES[name])


def test_every_shipped_protocol_loads() -> None:
    assert set(SIZES) <= set(protocol_names())
    for name in protocol_names():
        protocol = load_protocol(name)
        assert all(0 < figure.dice < 100 for figure in protocol.published)


def test_the_protocol_of_the_pancreas_cases_that_are_left_keeps_their_order() -> None:
    published, left = load_protocol("pancreas-12"), load_protocol("pancreas80-12")
    gone = {"PANCREAS_0025", "PANCREAS_0070"}
    train = [n for n in (*published.labeled, *published.unlabeled) if n not in gone]
    assert [*left.labeled, *left.unlabeled] == train
    assert list(left.test) == [name for name in published.test if name not in gone]
    assert left.published == ()
    assert "not the published split" in left.source


def test_a_figure_of_other_cases_says_so() -> None:
    splits = {row.method: row.split for row in load_protocol("pancreas-12").published}
    assert (splits["BCP"], splits["DyCON"]) == ("another", "another")
    assert "the same" not in splits.values()
    assert {row.split for row in load_protocol("la-8").published} == {"the same"}


def test_published_figures_of_a_file_of_ones_own_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN + PUBLISHED)
    rows = load_protocol(f"{path}-1").published
    assert [(row.method, row.split) for row in rows] == [
        ("Somebody", "another"),
        ("Another", "the same"),
    ]
    assert load_protocol(f"{path}-1").published_note == ""
    path.write_text(OWN + PUBLISHED.replace('"1"', '"7"'))
    with pytest.raises(InputError, match=r"unknown variant of \[\[published\]\] in own.toml '7'"):
        load_protocol(f"{path}-1")


def test_what_is_known_of_cases_that_are_gone_stands_in_the_refusal(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"PANCREAS_0025 and PANCREAS_0070 .* pancreas80 is"):
        write_manifest(tmp_path / "m.toml", load_protocol("pancreas-12"), dataset(tmp_path))


def test_the_left_atrium_list_is_the_one_beside_the_data(la2018: Path) -> None:
    listed = (la2018 / "train.list").read_text().split()
    found = load_protocol("la-8")
    assert [*found.labeled, *found.unlabeled] == listed
    development = load_protocol("la-dev-8")
    assert [*development.labeled, *development.unlabeled, *development.test] == listed


def test_the_confirmation_split_scores_and_labels_no_case_that_settings_were_chosen_with() -> None:
    confirming, development = load_protocol("la-check-8"), load_protocol("la-dev-8")
    assert not {*confirming.test, *confirming.labeled} & {*development.test, *development.labeled}
    published = load_protocol("la-8")
    known = {*published.labeled, *published.unlabeled}
    assert {*confirming.training, *confirming.test} == known  # none of the published test cases


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("la-9", "unknown protocol 'la-9': did you mean 'la-"),
        ("OWN.toml-7", "unknown variant"),
        ("OWN.toml-9", "9 labeled of 3"),
        ("none.toml-1", "cannot be read"),
    ],
)
def test_what_is_no_protocol_is_refused(tmp_path: Path, name: str, words: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    with pytest.raises(InputError, match=words):
        load_protocol(name.replace("OWN.toml", str(path)))


def test_a_case_with_two_roles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN.replace('"d"', '"a"'))
    with pytest.raises(InputError, match="'a' is listed twice"):
        load_protocol(f"{tmp_path / 'own.toml'}-1")


def dataset(folder: Path, *, without: str = "", bare: str = "") -> Dataset:
    cases = tuple(
        Case(n, (folder / f"{n}.nii.gz",), None if n == bare else folder / f"{n}-label.nii.gz")
        for n in "abcd"
        if n != without
    )
    return Dataset(folder, "pairs", cases)


def test_the_manifest_names_no_test_case_and_no_hidden_label(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    path = tmp_path / "manifest.toml"
    for name in "abcd":
        (tmp_path / f"{name}-label.nii.gz").touch()
    write_manifest(path, load_protocol(f"{tmp_path / 'own.toml'}-1"), dataset(tmp_path))
    found = find_cases(path, DataConfig())
    assert {case.name: (case.role, case.label is not None) for case in found.cases} == {
        "a": ("labeled", True),
        "b": ("unlabeled", False),
        "c": ("unlabeled", False),
    }
    assert [(label.value, label.name) for label in found.labels] == [(0, "background"), (1, "ball")]
    assert "d.nii.gz" not in path.read_text()
    assert "b-label" not in path.read_text()


def test_the_manifest_holds_names_of_any_script(tmp_path: Path) -> None:
    folder = tmp_path / "Ärzte 患者 \N{ANATOMICAL HEART}"
    folder.mkdir()
    (tmp_path / "own.toml").write_text(OWN)
    write_manifest(folder / "m.toml", load_protocol(f"{tmp_path / 'own.toml'}-1"), dataset(folder))
    found = find_cases(folder / "m.toml", DataConfig())
    assert [case.images[0] for case in found.cases] == [folder / f"{n}.nii.gz" for n in "abc"]


@pytest.mark.parametrize(
    ("absent", "words"),
    [({"without": "d"}, "1 of 4 cases are missing: d"), ({"bare": "a"}, "no label map: a")],
)
def test_missing_cases_are_named_before_anything_runs(tmp_path: Path, absent, words: str) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    protocol = load_protocol(f"{tmp_path / 'own.toml'}-1")
    with pytest.raises(DatasetError, match=words):
        write_manifest(tmp_path / "m.toml", protocol, dataset(tmp_path, **absent))


def test_unlabeled_cases_need_no_label_map(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    protocol = load_protocol(f"{tmp_path / 'own.toml'}-1")
    write_manifest(tmp_path / "m.toml", protocol, dataset(tmp_path, bare="b"))
