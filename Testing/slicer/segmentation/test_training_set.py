"""A corrected case goes into a data set whole or not at all, and nothing is ever replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from DyCONSegmentationLib.training_set import add_case, label_values, next_name

from dycon_engine.errors import DyconError, InputError


def write(text):
    return lambda path: path.write_text(text)


def add(folder, name, image="image", label="label"):
    return add_case(folder, name, write_image=write(image), write_label=write(label))


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_case_becomes_an_image_and_a_label_of_one_name(tmp_path):
    image, label = add(tmp_path / "new" / "set", "case-001")
    assert (image.read_text(), label.read_text()) == ("image", "label")
    assert files(tmp_path) == ["new/set/images/case-001.nrrd", "new/set/labels/case-001.nrrd"]


def test_names_go_on_counting_whatever_the_suffix(tmp_path):
    assert next_name(tmp_path / "absent") == "case-001"
    add(tmp_path, "case-001")
    (tmp_path / "images" / "case-007.nii.gz").touch()
    (tmp_path / "labels" / "other.nrrd").touch()
    assert next_name(tmp_path) == "case-008"


@pytest.mark.parametrize("name", ["case-001", "CASE-001"])
def test_a_name_that_is_taken_is_refused_and_nothing_is_replaced(tmp_path, name):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "case-001.nii.gz").write_text("precious")
    with pytest.raises(InputError, match="is in this data set already"):
        add(tmp_path, name)
    assert files(tmp_path) == ["images/case-001.nii.gz"]


def test_a_case_that_somebody_adds_meanwhile_is_not_replaced(tmp_path):
    def slow(path):
        path.write_text("image")
        (tmp_path / "images" / "case-001.nrrd").write_text("precious")

    with pytest.raises(InputError, match="already"):
        add_case(tmp_path, "case-001", write_image=slow, write_label=write("label"))
    assert files(tmp_path) == ["images/case-001.nrrd"]
    assert (tmp_path / "images" / "case-001.nrrd").read_text() == "precious"


@pytest.mark.parametrize("name", ["", "../up", "a b", "Müller", ".hidden", "x" * 65, "a.nii"])
def test_a_name_that_is_no_plain_word_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="use letters, digits"):
        add(tmp_path, name)
    assert files(tmp_path) == []


@pytest.mark.parametrize("other", ["imagesTr", "dataset.json", "manifest.csv"])
def test_a_data_set_of_another_layout_is_refused(tmp_path, other):
    (tmp_path / other).touch()
    with pytest.raises(InputError, match=f"holds '{other}'"):
        add(tmp_path, "case-001")
    assert files(tmp_path) == [other]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), DyconError("no export")])
def test_a_failure_leaves_nothing(tmp_path, error):
    def fail(path):
        path.write_text("half")
        raise error

    with pytest.raises(DyconError, match=r"disk full|no export"):
        add_case(tmp_path, "case-001", write_image=fail, write_label=write("label"))
    assert files(tmp_path) == []


def test_the_engine_finds_the_case_as_labeled(tmp_path):
    from dycon_engine.config import DataConfig
    from dycon_engine.data.layouts import find_cases

    add(tmp_path, "case-001")
    data = find_cases(tmp_path, DataConfig())
    assert (data.layout, data.problems) == ("pairs", ())
    assert [(case.name, case.label is not None) for case in data.cases] == [("case-001", True)]


OWN = {"left atrium": 3, "wall": 1}


def manifest(folder, text):
    (folder / "manifest.toml").write_text(text)
    return folder


def test_without_a_manifest_the_values_are_those_of_the_model(tmp_path):
    assert label_values(tmp_path / "absent", OWN, tuple(OWN)) == OWN
    assert label_values(manifest(tmp_path, 'id = "x"\n'), OWN, ("wall",)) == {"wall": 1}
    with pytest.raises(InputError, match=r"'scar': is not among the labels of the model"):
        label_values(tmp_path, OWN, ("wall", "scar"))


def test_a_manifest_decides_the_values_by_name(tmp_path):
    folder = manifest(tmp_path, '[labels]\n"Left Atrium" = 1\nwall = 2\naorta = 3\n')
    values = label_values(folder, OWN, ("left atrium", "wall", "aorta"))
    assert values == {"left atrium": 1, "wall": 2, "aorta": 3}


def test_a_structure_the_data_set_does_not_know_is_refused(tmp_path):
    folder = manifest(tmp_path, "[labels]\naorta = 3\n")
    with pytest.raises(InputError, match=r"'left atrium': is not .* this data set \(aorta\)"):
        label_values(folder, OWN, tuple(OWN))


def test_the_training_module_finds_the_case_beside_its_manifest(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "DyCONTraining")
    folder = pytest.importorskip("DyCONTrainingLib.folder")
    manifest(tmp_path, '[labels]\n"left atrium" = 1\n')
    add(tmp_path, next_name(tmp_path))
    opened = folder.open_folder(tmp_path)
    assert opened.unlisted == ("case-001",)
    assert opened.content.rows[0].label is not None
    assert opened.named_by_files == ()
