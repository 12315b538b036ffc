"""Manifests: TOML and CSV say the same, and every slip is one line."""

from __future__ import annotations

import pytest

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Label
from dycon_engine.data.layouts import find_cases
from dycon_engine.errors import InputError
from Testing.tiny_scans import write_pairs

TOML = """
channels = ["T1", "T2"]
[labels]
tumor = 4
edema = 2
[[case]]
name = "b"
images = ["images/pt00.nii.gz", "images/pt01.nii.gz"]
label = "labels/pt00.nii.gz"
role = "labeled"
patient = "P7"
[[case]]
images = ["images/pt01.nii.gz", "images/pt00.nii.gz"]
"""
CSV = """case,image,image_2,label,role,patient
b,images/pt00.nii.gz,images/pt01.nii.gz,labels/pt00.nii.gz,labeled,P7
pt01,images/pt01.nii.gz,images/pt00.nii.gz,,,
"""


@pytest.fixture
def root(tmp_path):
    return write_pairs(tmp_path, 2, 1)


def found(root, text, name="manifest.toml"):
    (root / name).write_text(text)
    return find_cases(root / name, DataConfig())


def test_toml_and_csv_name_the_same_cases(root):
    table = found(root, TOML)
    rows = found(root, CSV, "list.csv")
    assert table.cases == rows.cases
    first, second = table.cases
    assert (first.name, first.role, first.patient) == ("b", "labeled", "P7")
    assert first.images == (root / "images/pt00.nii.gz", root / "images/pt01.nii.gz")
    assert first.label == root / "labels/pt00.nii.gz"
    assert (second.name, second.label, second.role) == ("pt01", None, None)
    assert table.channels == ("T1", "T2")
    assert table.labels == (Label(0, "background"), Label(2, "edema"), Label(4, "tumor"))


def test_empty_rows_and_cells_of_a_spreadsheet_are_left_out(root):
    rows = CSV.replace("P7\n", "P7\n,,,,,\n").replace("pt00.nii.gz,,,\n", "pt00.nii.gz, ,,\n")
    for ending in (",,,,,\n", " , ,,,,\n,,,,,,,\n", ","):
        assert found(root, rows + ending, "list.csv").cases == found(root, TOML).cases


def test_semicolons_and_capitals_of_a_spreadsheet_are_read(root):
    table = found(root, TOML)
    header, rest = CSV.split("\n", 1)
    assert found(root, f"{header.title()}\n{rest}", "list.csv").cases == table.cases
    assert found(root, f" {header.replace(',', ' , ')}\n{rest}", "list.csv").cases == table.cases
    european = f"{header.upper()}\n{rest}".replace(",", ";")
    assert found(root, "\ufeff" + european, "list.csv").cases == table.cases
    with_comma = european.replace("b;", '"b, c";')
    assert found(root, with_comma, "list.csv").cases[0].name == "b, c"


def test_a_folder_with_a_manifest_is_read_by_it(root):
    found(root, CSV, "manifest.csv")
    assert find_cases(root, DataConfig()).layout == "manifest"


def test_repeated_names_and_lost_labels_are_told(root):
    text = CSV + "b,images/pt01.nii.gz,images/pt01.nii.gz,labels/none.nii.gz,unlabeled,\n"
    dataset = found(root, text, "list.csv")
    assert dataset.problems == ("case 'b': 2 entries in 'list.csv'; keep one",)
    assert [case.name for case in dataset.cases] == ["b", "pt01"]
    assert dataset.case("b").role == "labeled"  # the first entry, wherever it is used
    assert "none.nii.gz' is missing; used without" in dataset.notes[0]


def test_a_class_keeps_its_color_and_term(root):
    look = '[[look]]\nvalue = 2\ncolor = [1, 2, 3]\nterminology = "SCT^82471001^Left atrium"\n'
    case = '[[case]]\nimage = "images/pt01.nii.gz"\n'
    dataset = found(root, "[labels]\nwall = 1\natrium = 2\n" + look + case)
    assert dataset.labels == (
        Label(0, "background"),
        Label(1, "wall"),
        Label(2, "atrium", (1, 2, 3), "SCT^82471001^Left atrium"),
    )


LOOK = '[labels]\na = 1\n[[look]]\n{}\n[[case]]\nimage = "a.nii"'


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (LOOK.format("color = [1, 2, 3]"), "m.toml", r"a \[\[look\]\] needs a value"),
        (LOOK.format("value = 1\ncolor = [1, 2]"), "m.toml", r"0 to 255"),
        (LOOK.format("value = 1\ncolor = [1, 2, 300]"), "m.toml", r"0 to 255"),
        ('[[case]]\nimage = "a.nii"\nlable = "b.nii"', "m.toml", "did you mean 'label'"),
        ('[[case]]\nimage = "a.nii"\nrole = "training"', "m.toml", "unknown role"),
        ('[[case]]\nname = "a"', "m.toml", "entry 1: names no image"),
        ("case = 3", "m.toml", r"expected tables \[\[case\]\]"),
        ("[[case", "m.toml", "not valid TOML"),
        ('[labels]\na = "x"\n[[case]]\nimage = "a.nii"', "m.toml", "labels must be name = value"),
        ("case,image\na,b.nii,c.nii", "m.csv", "unknown column"),
        ("case,picture\na,b.nii", "m.csv", "unknown column"),
        ("", "m.csv", "no readable scan"),
    ],
)
def test_slips_are_one_line(tmp_path, text, name, message):
    with pytest.raises(InputError, match=message) as caught:
        found(tmp_path, text, name)
    assert "\n" not in str(caught.value)
