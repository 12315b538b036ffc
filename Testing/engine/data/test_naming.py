"""Segmentations of 3D Slicer number their segments as they were drawn: the names decide."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from dycon_engine.config import DataConfig, resolve
from dycon_engine.data.audit import audit
from dycon_engine.data.cache import prepare_training
from dycon_engine.data.cases import Label, class_indices, read_case_label
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.splits import split_cases
from dycon_engine.errors import InputError
from Testing.tiny_scans import scan, write_scan

SIZE = (6, 7, 8)
PLACES = {"liver": 1, "tumor": 3, "cyst": 5}  # x where each structure begins


def truth(classes):
    """Return the label map in which `classes`, by index, lie at their places."""
    array = np.zeros(SIZE, np.uint8)
    for index, name in enumerate(classes, start=1):
        x = PLACES[name.casefold()]
        array[2:4, 2:4, x : x + 2] = index
    return array


def segmentation(path, names, *, places=None, plain=False):
    """Write segments numbered in the order of `names`, each at its place; `plain`: no names."""
    array = np.zeros(SIZE, np.uint8)
    for value, name in enumerate(names, start=1):
        x = PLACES[(places or {}).get(name, name).strip().casefold()]
        array[2:4, 2:4, x : x + 2] = value
    if plain:
        return write_scan(path.with_name(path.name.replace(".seg.nrrd", ".nii.gz")), array)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    for value, name in enumerate(names, start=1):
        for key, text in (("Name", name), ("LabelValue", str(value)), ("Layer", "0")):
            image.SetMetaData(f"Segment{value - 1}_{key}", text)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def write(root, *drawn, **changes):
    """Write a scan and a segmentation per tuple of names in `drawn`, and one scan without."""
    for index in range(len(drawn) + 1):
        write_scan(root / "images" / f"pt{index}.nii.gz", scan(index))
    for index, names in enumerate(drawn):
        segmentation(root / "labels" / f"pt{index}.seg.nrrd", names, **changes)
    return root


def look(root, *settings):
    """Return the audit of all labeled cases, and the data set with the labels it found."""
    config = resolve(assignments=["data.validation=0", *settings])
    dataset = find_cases(root, config.data)
    found = audit(dataset, split_cases(dataset, config.data), config)
    return found, dataclasses.replace(dataset, labels=found.labels)


def names_of(found):
    return [label.name for label in found.labels]


def read(dataset, name):
    return read_case_label(dataset.case(name), dataset.labels, DataConfig()).array


def test_segments_in_another_order_are_the_same_classes(tmp_path):
    found, dataset = look(write(tmp_path, ("liver", "tumor"), ("Tumor ", "liver"), ("tumor",)))
    assert (found.problems, found.warnings) == ((), ())
    assert names_of(found) == ["background", "liver", "tumor"]
    assert [label.value for label in found.labels] == [0, 1, 2]
    for name in ("pt0", "pt1"):
        assert np.array_equal(read(dataset, name), truth(("liver", "tumor")))
    assert np.array_equal(
        read(dataset, "pt2"), truth(("liver", "tumor")) * (read(dataset, "pt2") > 0)
    )
    assert read(dataset, "pt2").max() == 2


def test_training_gets_the_classes_by_name_also_from_an_old_cache(tmp_path):
    root = write(tmp_path / "data", ("tumor", "liver"), ("tumor", "liver"))
    config = DataConfig(validation=0)

    def trained():
        _, dataset = look(root)
        split = split_cases(dataset, config)
        preprocessing = Preprocessing((1.0, 1.0, 1.0))
        data = prepare_training(dataset, split, preprocessing, config, tmp_path / "cache")
        return {case.name: case.label for case in data.labeled}, dataset.labels

    before, labels = trained()
    assert labels == (Label(0, "background"), Label(1, "tumor"), Label(2, "liver"))
    assert np.array_equal(before["pt1"], truth(("tumor", "liver")))
    keys = (root / "labels" / "pt1.seg.nrrd").read_bytes()
    swapped = keys.replace(b"Name:=tumor", b"Name:=xxxxx").replace(b"Name:=liver", b"Name:=tumor")
    (root / "labels" / "pt1.seg.nrrd").write_bytes(swapped.replace(b"Name:=xxxxx", b"Name:=liver"))
    after, labels = trained()
    assert [label.name for label in labels] == ["background", "liver", "tumor"]
    assert np.array_equal(after["pt0"], truth(("liver", "tumor")))
    assert np.array_equal(after["pt1"], truth(("tumor", "liver")))  # the voxels that it calls so


def test_the_classes_of_the_data_set_are_found_by_name(tmp_path):
    write(tmp_path, ("tumor", "liver"), ("Liver", "Tumor"))
    rows = "\n".join(
        f'[[case]]\nimage = "images/pt{i}.nii.gz"\nlabel = "labels/pt{i}.seg.nrrd"'
        for i in range(2)
    )
    (tmp_path / "manifest.toml").write_text(f"[labels]\nliver = 4\ntumor = 7\n{rows}")
    found, dataset = look(tmp_path)
    assert (found.problems, found.warnings) == ((), ())
    for name in ("pt0", "pt1"):
        assert np.array_equal(read(dataset, name), truth(("liver", "tumor")))


@pytest.mark.parametrize("order", [("liver", "tumor"), ("tumor", "liver")])
def test_names_of_the_settings_order_the_classes(tmp_path, order):
    root = write(tmp_path, ("tumor", "liver"), ("liver", "tumor"))
    found, dataset = look(root, f"data.label_names={json.dumps(order)}")
    assert found.problems == ()
    assert names_of(found) == ["background", *order]
    for name in ("pt0", "pt1"):
        assert np.array_equal(read(dataset, name), truth(order))


def test_one_order_and_other_names_in_the_settings_go_by_value(tmp_path):
    root = write(tmp_path, ("liver", "tumor"), ("liver", "tumor"))
    found, dataset = look(root, 'data.label_names=["Leber", "Geschwulst"]')
    assert found.problems == ()
    assert names_of(found) == ["background", "Leber", "Geschwulst"]
    assert "segment 'liver' (value 1) of cases 'pt" in found.warnings[0]
    assert "is taken for 'Leber'" in found.warnings[0]
    assert np.array_equal(read(dataset, "pt1"), truth(("liver", "tumor")))


@pytest.mark.parametrize("names", [("LA",), ("liver",)])
def test_one_declared_structure_may_be_called_anything(tmp_path, names):
    root = write(tmp_path, names, ("tumor",), places={"LA": "cyst"})
    found, dataset = look(root, 'data.label_names=["left atrium"]')
    assert found.problems == ()
    assert read(dataset, "pt1").max() == 1


BAD = {
    "one structure by two names, or two structures": (
        [("liver",), ("tumor",)],
        (),
        "cases 'pt0', 'pt1': label value 1 is called",
    ),
    "other names in the settings and two orders": (
        [("liver", "tumor"), ("tumor", "liver")],
        ('data.label_names=["Leber", "Geschwulst"]',),
        "cases 'pt0', 'pt1': 'tumor' is label value",
    ),
    "other names in the settings, and in every file": (
        [("liver", "tumor"), ("cyst",)],
        ('data.label_names=["Leber", "Geschwulst"]',),
        "cases 'pt0', 'pt1': label value 1 is called",
    ),
    "half of the names in the settings": (
        [("liver", "tumor"), ("tumor", "liver")],
        ('data.label_names=["Leber", "tumor"]',),
        "segment 'liver' (value 2) is none of the classes 'Leber', 'tumor'",
    ),
    "two segments of one name": (
        [("liver", "Liver"), ("liver", "tumor")],
        (),
        "case 'pt0': label values 1 and 2 are both called 'Liver'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_names_that_leave_a_doubt_are_refused(tmp_path, name):
    drawn, settings, message = BAD[name]
    found, _ = look(write(tmp_path, *drawn, places={"Liver": "cyst"}), *settings)
    assert any(message in problem for problem in found.problems), found.problems
    topics = [finding for finding in found.errors if finding.topic == "label-names"]
    assert all(f"'{case}'" in finding.message for finding in topics for case in finding.cases)


def test_a_label_file_without_names_among_those_in_two_orders_is_refused(tmp_path):
    root = write(tmp_path, ("liver", "tumor"), ("tumor", "liver"), ("liver", "tumor"))
    (root / "labels" / "pt2.seg.nrrd").unlink()
    segmentation(root / "labels" / "pt2.seg.nrrd", ("liver", "tumor"), plain=True)
    (problem,) = look(root)[0].problems
    assert "case 'pt2': its label file names no structures" in problem


def test_a_label_file_without_names_joins_those_of_one_order(tmp_path):
    root = write(tmp_path, ("liver", "tumor"), ("liver", "tumor"))
    (root / "labels" / "pt1.seg.nrrd").unlink()
    segmentation(root / "labels" / "pt1.seg.nrrd", ("liver", "tumor", "cyst"), plain=True)
    found, dataset = look(root)
    assert found.problems == ()
    assert names_of(found) == ["background", "liver", "tumor", "label 3"]
    assert np.array_equal(read(dataset, "pt1"), truth(("liver", "tumor", "cyst")))


def test_a_segment_of_no_class_is_named_when_read(tmp_path):
    root = write(tmp_path, ("tumor", "cyst"))
    labels = (Label(0, "bg"), Label(2, "tumor"))
    dataset = dataclasses.replace(find_cases(root, DataConfig()), labels=labels)
    with pytest.raises(InputError, match=r"holds \['cyst'\], expected only \['bg', 'tumor'\]"):
        read(dataset, "pt0")


def test_indices_follow_the_values_unless_a_name_says_otherwise():
    labels = (Label(0, "background"), Label(1, "liver"), Label(2, "tumor"))
    by_value = {0: 0, 1: 1, 2: 2}
    assert class_indices(labels, {}) == by_value
    assert class_indices(labels, {1: "Leber", 2: "x"}) == by_value
    assert class_indices(labels, {1: " LIVER", 2: "x"}) == by_value
    assert class_indices(labels, {1: "tumor"}) == {0: 0, 1: 2}
    assert class_indices(labels, {7: "tumor", 1: "liver"}) == {0: 0, 7: 2, 1: 1}
    assert class_indices(labels, {3: "background"}) == by_value
    twins = (Label(0, "background"), Label(1, "Lesion"), Label(2, "lesion"))  # names tell nothing
    assert class_indices(twins, {1: "lesion", 2: "Lesion"}) == {0: 0, 1: 1, 2: 2}
