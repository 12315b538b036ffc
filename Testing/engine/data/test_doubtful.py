"""Values that became classes by a slip are told, where nobody said which classes there are."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.config import resolve
from dycon_engine.data.audit import audit
from dycon_engine.data.cases import Label
from dycon_engine.data.checks import LabelFacts
from dycon_engine.data.doubtful import class_doubts
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.naming import found_labels
from dycon_engine.data.splits import split_cases
from Testing.tiny_scans import mask, scan, write_scan


def doubts(*maps, names=None):
    """Return (cases, message) of what is doubted in {value: voxels}, one per case."""
    stored = [
        LabelFacts(f"pt{number}", {0: 900, **voxels}, names=names or {})
        for number, voxels in enumerate(maps)
    ]
    classes = found_labels(stored)
    return [(found.cases, found.message) for found in class_doubts(reversed(stored), classes)]


def test_two_values_of_one_structure():
    [(cases, message)] = doubts({1: 80}, {255: 80}, {1: 80}, {255: 80}, {1: 80}, {})
    assert cases == ("pt1", "pt3")
    assert message == (
        "classes that never occur together: 'label 255' only in cases 'pt1', 'pt3', 'label 1' "
        "only in the others; give them one value where they are one structure, else name the "
        "classes in data.label_names"
    )


def test_two_values_of_one_structure_beside_another_structure():
    [(cases, message)] = doubts({1: 80, 2: 50}, {2: 50, 255: 80}, {1: 80, 2: 50})
    assert cases == ("pt1",)
    assert "'label 255' only in case 'pt1', 'label 1' only in the others" in message
    found = doubts({1: 80, 2: 50}, {101: 80, 102: 50}, {1: 80, 2: 50})
    assert ["101" in message or "102" in message for _, message in found] == [True, True]


def test_many_classes_of_one_case_are_told_in_one_line():
    [(cases, message)] = doubts(dict.fromkeys(range(1, 100), 50), {1: 80}, {1: 80})
    assert cases == ("pt0",)
    assert message.startswith(
        "classes 'label 2', 'label 3', 'label 4', ... (98 in all): only in case 'pt0', of 3"
    )


def test_a_rare_structure_does_not_hide_that_two_values_are_one():
    [(cases, _)] = doubts({255: 80}, {1: 80}, {1: 80, 7: 90}, {1: 80, 7: 90}, {1: 80})
    assert cases == ("pt0",)


def test_three_values_of_one_structure_are_told_in_one_line():
    [(cases, message)] = doubts({1: 80}, {255: 80}, {2: 80}, {1: 70})
    assert set(cases) == {"pt1", "pt2"}
    assert "'label 1' only in the others" in message


def test_a_stray_voxel_and_a_class_of_one_case():
    stray, alone = doubts({1: 80, 2: 500}, {1: 80, 7: 1}, {1: 80})
    assert alone[0] == ("pt1",)
    assert alone[1].startswith("class 'label 7': fewer than 10 voxels in all, in case 'pt1'; ")
    assert stray[0] == ("pt0",)
    assert stray[1].startswith("class 'label 2': only in case 'pt0', of 3 with a structure; erase")


@pytest.mark.parametrize(
    "maps",
    [
        ({1: 80}, {1: 80}),
        ({1: 80, 2: 10}, {1: 80}),  # two cases are not several
        ({1: 80, 2: 80}, {1: 80}, {2: 80}),  # together in the first
        ({1: 80, 2: 9}, {1: 80, 2: 9}, {1: 80}),
        ({}, {}),
        (dict.fromkeys(range(1, 300), 50), {1: 80}, {1: 80}),  # an image, which is a problem
    ],
)
def test_what_may_well_be_meant_is_not_doubted(maps):
    assert doubts(*maps) == []


def test_classes_go_by_the_names_of_segments():
    stored = [
        LabelFacts("a", {1: 50, 2: 60}, names={1: "liver", 2: "tumor"}),
        LabelFacts("b", {1: 60, 2: 50}, names={1: "tumor", 2: "liver"}),
        LabelFacts("c", {1: 60}, names={1: "tumor"}),
    ]
    classes = (Label(0, "background"), Label(1, "liver"), Label(2, "tumor"))
    assert found_labels(stored) == classes
    assert list(class_doubts(stored, classes)) == []


def test_classes_that_somebody_declared_are_not_doubted(tmp_path):
    for number in range(4):
        write_scan(tmp_path / "images" / f"pt{number}.nii.gz", scan(number))
        value = 255 if number == 1 else 1
        write_scan(
            tmp_path / "labels" / f"pt{number}.nii.gz", mask(values=(value,)).astype(np.int16)
        )

    def warnings(*settings):
        config = resolve(assignments=["data.validation=0", *settings])
        dataset = find_cases(tmp_path, config.data)
        return audit(dataset, split_cases(dataset, config.data), config).warnings

    assert len(warnings()) == 1
    assert warnings('data.label_names=["one", "other"]') == ()
