"""Segments find their label by name or term; the rest is the person's choice, made once."""

from __future__ import annotations

import pytest

LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
REGION = "Anatomic codes - DICOM master list~^^~^^"
TISSUE = f"{LIST}~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~{REGION}"
ATRIUM = f"{LIST}~SCT^123037004^Anatomical Structure~SCT^82471001^Left atrium~^^~{REGION}"
ATRIUM_ELSEWHERE = ATRIUM.replace(LIST, "DICOM master list").replace("^Left atrium", "^Atrium")
KIDNEY = "{}~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^{}^side~" + REGION


def test_segments_of_one_name_or_one_term_are_one_label():
    from DyCONTrainingLib.labels import Segment, proposed

    mapping = proposed(
        [
            Segment("Left atrium", ATRIUM),
            Segment("left_atrium", TISSUE),
            Segment("LA", ATRIUM_ELSEWHERE),
            Segment("wall", TISSUE),
        ]
    )
    assert [(c.value, c.name) for c in mapping.classes] == [(1, "Left atrium"), (2, "wall")]
    assert dict(mapping.values) == {"Left atrium": 1, "left_atrium": 1, "LA": 1, "wall": 2}


def test_the_default_term_tissue_says_nothing():
    from DyCONTrainingLib.labels import Segment, proposed

    mapping = proposed([Segment("a", TISSUE), Segment("b", TISSUE)])
    assert len(mapping.classes) == 2


def test_the_side_of_a_kidney_is_part_of_its_term():
    from DyCONTrainingLib.labels import Segment, proposed

    left, right = (KIDNEY.format(LIST, code) for code in ("7771000", "24028007"))
    mapping = proposed([Segment("l", left), Segment("r", right), Segment("again", left)])
    assert dict(mapping.values) == {"l": 1, "r": 2, "again": 1}


def test_a_choice_of_the_person_stays_when_cases_are_added():
    from DyCONTrainingLib.labels import Segment, proposed

    first = proposed([Segment("scar"), Segment("atrium")]).assigned("scar", 0).renamed(2, "LA")
    again = proposed([Segment("scar"), Segment("atrium"), Segment("la")], first)
    assert dict(again.values) == {"scar": 0, "atrium": 2, "la": 2}
    assert [c.name for c in again.classes] == ["scar", "LA"]


def test_values_of_an_existing_data_set_are_kept():
    from DyCONTrainingLib.labels import LabelClass, LabelMapping, Segment, proposed

    there = LabelMapping((LabelClass(3, "liver"),), {"liver": 3})
    mapping = proposed([Segment("Liver"), Segment("tumor")], there)
    assert (mapping.value_of("Liver"), mapping.value_of("tumor")) == (3, 4)


def test_the_preview_counts_cases_and_shows_what_is_left_out_last():
    from DyCONTrainingLib.labels import Segment, preview, proposed

    mapping = proposed([Segment("a"), Segment("b"), Segment("c")]).assigned("a", 0)
    rows = preview(mapping.assigned("c", 2), {"a": 4, "b": 3, "c": 1})
    assert rows == [("b", "b", 2, 3), ("c", "b", 2, 1), ("a", "left out", 0, 4)]


def test_raising_a_label_orders_all():
    from DyCONTrainingLib.labels import Segment, proposed

    mapping = proposed([Segment("a"), Segment("b"), Segment("c")])
    assert mapping.raised(2).on_top == (2, 1, 3)
    assert mapping.raised(2).raised(3).on_top == (3, 2, 1)


@pytest.mark.parametrize("term", ["", "~", "liver", "a~b", "~^^~^^~^^"])
def test_odd_terms_are_no_term(term):
    from DyCONTrainingLib.labels import term_code

    assert term_code(term) == ""


def test_names_lose_line_breaks_and_control_characters():
    from DyCONTrainingLib.labels import Segment, proposed

    assert proposed([Segment("left\n\tatrium\x00")]).classes[0].name == "left atrium"
    assert proposed([Segment("\n")]).classes[0].name == "structure"
