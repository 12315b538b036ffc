"""A corrected case goes into a data set whole or not at all, and nothing is ever replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from DyCONSegmentationLib.training_manifest import channel_order
from DyCONSegmentationLib.training_set import NewCase, add_case, label_values, next_name

from dycon_engine.errors import DyconError, InputError

OWN = {"left atrium": 3, "wall": 1}


def write(text):
    return lambda path: path.write_text(text)


def case(*images, channels=("image",), label=None):
    writers = images or (write("image"),)
    colors = {"left atrium": (200, 30, 60)}
    return NewCase(channels, OWN, colors, writers, label or write("label"))


def two(first="T1", second="FLAIR", **changes):
    return case(write(first), write(second), channels=("T1", "FLAIR"), **changes)


def add(folder, name, new=None):
    return add_case(folder, name, new or case())


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_case_becomes_an_image_and_a_label_of_one_name(tmp_path):
    label = add(tmp_path / "new" / "set", "case-001")
    assert label.read_text() == "label"
    assert (tmp_path / "new/set/images/case-001.nrrd").read_text() == "image"
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
        add(tmp_path, "case-001", case(slow))
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
        add(tmp_path, "case-001", case(fail))
    assert files(tmp_path) == []


def test_the_engine_finds_the_case_as_labeled(tmp_path):
    from dycon_engine.config import DataConfig
    from dycon_engine.data.layouts import find_cases

    add(tmp_path, "case-001")
    data = find_cases(tmp_path, DataConfig())
    assert (data.layout, data.problems) == ("pairs", ())
    assert [(case.name, case.label is not None) for case in data.cases] == [("case-001", True)]


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


def engine_case(folder):
    from dycon_engine.config import DataConfig
    from dycon_engine.data.layouts import find_cases

    data = find_cases(folder, DataConfig())
    assert data.problems == ()
    return data


def test_a_case_of_two_channels_gets_two_images_and_its_entry(tmp_path):
    add(tmp_path, "case-001", two())
    add(tmp_path, next_name(tmp_path), two("T1 b", "FLAIR b"))
    assert files(tmp_path) == [
        *("images/case-001-ch2.nrrd", "images/case-001.nrrd"),
        *("images/case-002-ch2.nrrd", "images/case-002.nrrd"),
        *("labels/case-001.nrrd", "labels/case-002.nrrd", "manifest.toml"),
    ]
    data = engine_case(tmp_path)
    assert data.channels == ("T1", "FLAIR")
    assert [label.name for label in data.labels] == ["background", "wall", "left atrium"]
    assert [label.color for label in data.labels][2] == (200, 30, 60)
    assert [[path.read_text() for path in each.images] for each in data.cases] == [
        ["T1", "FLAIR"],
        ["T1 b", "FLAIR b"],
    ]
    assert [each.role for each in data.cases] == ["labeled", "labeled"]


@pytest.mark.parametrize("name", ["case-001.nrrd", "case-001-ch2.nii.gz"])
def test_a_file_of_another_case_is_never_replaced_by_a_channel(tmp_path, name):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name).write_text("precious")
    with pytest.raises(InputError, match="is in this data set already"):
        add(tmp_path, "case-001", two())
    assert files(tmp_path) == [f"images/{name}"]


def test_a_manifest_keeps_every_word_it_has(tmp_path):
    old = '# mine\nchannels = ["T1", "FLAIR"]\n\n[[case]]\nname = "a"\nimages = ["x", "y"]\n'
    manifest(tmp_path, old)
    add(tmp_path, "case-001", two())
    text = (tmp_path / "manifest.toml").read_text()
    assert text.startswith(old)
    assert [each.name for each in engine_case(tmp_path).cases] == ["a", "case-001"]


def test_where_the_manifest_cannot_be_extended_nothing_is_left(tmp_path):
    old = 'case = [{name = "a", images = ["x", "y"]}]\n'
    manifest(tmp_path, old)
    with pytest.raises(InputError, match="cannot be extended"):
        add(tmp_path, "case-001", two())
    assert files(tmp_path) == ["manifest.toml"]
    assert (tmp_path / "manifest.toml").read_text() == old


def test_channels_go_where_the_data_set_has_them(tmp_path):
    assert channel_order(tmp_path / "absent", ("T1", "FLAIR")) == (0, 1)
    manifest(tmp_path, 'channels = ["flair", "t1"]\n')
    assert channel_order(tmp_path, ("T1", "FLAIR")) == (1, 0)
    assert channel_order(tmp_path, ("channel 0", "channel 1")) == (0, 1)
    with pytest.raises(InputError, match="channels are flair, t1, those of the model T1, T2"):
        channel_order(tmp_path, ("T1", "T2"))
    with pytest.raises(InputError, match=r"2 volumes \(flair, t1\), those of the model 1 volume"):
        channel_order(tmp_path, ("T1",))


def test_a_data_set_of_single_volumes_takes_no_case_of_two(tmp_path):
    add(tmp_path, "case-001")
    with pytest.raises(InputError, match="its cases have 1 volume, those of the model 2 volumes"):
        channel_order(tmp_path, ("T1", "FLAIR"))
    manifest(tmp_path, '[[case]]\nname = "a"\nimage = "x"\n')
    with pytest.raises(InputError, match="its cases have 1 volume"):
        channel_order(tmp_path, ("T1", "FLAIR"))


def test_the_training_module_reads_a_case_of_two_channels_as_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "DyCONTraining")
    folder = pytest.importorskip("DyCONTrainingLib.folder")
    add(tmp_path, "case-001", two())
    opened = folder.open_folder(tmp_path)
    assert (opened.unlisted, opened.content.channels) == ((), ("T1", "FLAIR"))
    [row] = opened.content.rows
    assert [image.path for image in row.images] == [
        "images/case-001.nrrd",
        "images/case-001-ch2.nrrd",
    ]
    assert [(each.name, each.value) for each in opened.content.classes] == [
        ("wall", 1),
        ("left atrium", 3),
    ]
    add(tmp_path, "case-002", two())  # while the data set is open there: saving it forgets the case
    text = (tmp_path / "manifest.toml").read_text()
    manifest(tmp_path, text[: text.rindex("[[case]]")])
    again = folder.open_folder(tmp_path)
    assert again.unlisted == ("case-002",)
    assert [len(each.images) for each in again.content.rows] == [2, 2]
