"""The words a person reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from DyCONSegmentationLib import texts
from DyCONSegmentationLib.report import Region, StructureVolume, parse_report

from DyCONLib.evidence import Evidence, Trust
from DyCONLib.models import read_model
from Testing.slicer.segmentation.contents import report_text

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "DyCONSegmentation" / "Resources" / "Models"
MEASURED = Evidence(
    dice=(0.871, 0.941, 0.9),
    hd95_mm=(2.0, 3.41),
    trust=Trust(5.0, 0.0087, 0.86, 0.05),
    limits=("240 mm <b>wide</b>: Dice 0.478", *(f"limit {n}" for n in range(2, 8))),
    page="docs/models/left-atrium.md",
)

OUTSIDE = {"topic": "spacing", "message": "voxel size along z is 9 mm; training scans had 1 mm"}
EMPTY = {"topic": "empty-result", "message": "the segmentation is empty"}
MISSING = {"topic": "empty-label", "message": "'left atrium' was not found in this scan"}
UNKNOWN = {"topic": "range-unknown", "message": "it is not known what scans it was trained on"}


def banner(*flags):
    return texts.banner(parse_report(report_text(flags=list(flags)), "result"))


def test_nothing_to_say_is_no_banner():
    assert banner() == texts.NO_BANNER


def test_an_empty_result_is_an_error_and_names_the_possible_reason():
    shown = banner(OUTSIDE, EMPTY)
    assert shown.kind == "error"
    assert shown.text.startswith("Nothing was found: the segmentation is empty.")
    assert "voxel size along z is 9 mm" in shown.text


def test_outside_the_training_range_is_a_warning_with_every_reason():
    shown = banner(MISSING, OUTSIDE, {"topic": "contrast", "message": "another protocol?"})
    assert shown.kind == "warning"
    assert shown.text.startswith("This scan is unlike those the model was trained on")
    for words in ("'left atrium' was not found", "9 mm", "another protocol?"):
        assert words in shown.text
    assert shown.text.endswith("another protocol?")


def test_a_missing_structure_alone_is_a_warning_and_an_unknown_range_a_note():
    assert banner(MISSING) == ("warning", "'left atrium' was not found in this scan.")
    assert banner(UNKNOWN).kind == "note"
    assert banner(UNKNOWN, MISSING).kind == "warning"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (7.2, "8 s"), (60, "1 min 00 s"), (65, "1 min 05 s"), (7380, "2 h 03 min")],
)
def test_durations(seconds, text):
    assert texts.duration_text(seconds) == text


def test_the_remaining_time_is_only_said_when_it_is_known():
    assert texts.times_text(5, -1) == "5 s elapsed"
    assert texts.times_text(5, 70) == "5 s elapsed, about 1 min 10 s left"


@pytest.mark.parametrize(
    ("ml", "text"),
    [
        (0, "0"),
        (0.0004, "0.000"),
        (0.123, "0.123"),
        (4.214, "4.21"),
        (42.14, "42.1"),
        (421.4, "421"),
    ],
)
def test_volumes_have_three_digits_that_count(ml, text):
    assert texts.volume_text(ml) == text


def test_rows_of_the_tables():
    sure = StructureVolume("liver", 1423.0, 1400.0, 1500.0, 0.21, "")
    assert texts.structure_row(sure) == ("liver", "1423", "1400 - 1500", "0.21", "")
    gone = StructureVolume("liver", 0.0, 0.0, 3.0, None, "not found")
    assert texts.structure_row(gone) == ("liver", "0", "0 - 3.00", "-", "review")
    region = Region(2, (0, 0, 0), 1234.5, 0.876, ())
    assert texts.region_row(region) == ("2", "no structure near", "1.23", "0.88")
    assert texts.region_row(region._replace(labels=("a", "b")))[1] == "a, b"


def test_what_is_left():
    assert texts.left_text(0, 0) == "No uncertain region was found."
    assert texts.left_text(3, 12) == "3 of 12 regions left to review"
    assert texts.left_text(0, 12) == "All 12 regions are reviewed."


def model(package, evidence=MEASURED):
    return dataclasses.replace(read_model(package), evidence=evidence)


def test_the_evidence_is_the_models_own_words_and_figures(package):
    measured = model(package)
    assert texts.evidence_title(measured) == "Evidence and 7 known limits"
    text = texts.evidence_html(measured)
    for words in (
        *("3 validation scans: Dice 0.871 to 0.941", "lies within 2.0 to 3.4 mm"),
        "The 5 % most uncertain voxels hold 86 % of the wrong ones",
        *("240 mm &lt;b&gt;wide&lt;/b&gt;: Dice 0.478", "limit 5", "2 more: see the model's page"),
    ):
        assert words in text
    assert "limit 6" not in text
    near = "Calibrated: within 5 mm of the edge probabilities are off by 0.9 % on average"
    assert near in texts.card_html(measured)
    few = model(package, dataclasses.replace(MEASURED, dice=(0.9,), limits=("one",), trust=None))
    assert texts.evidence_title(few) == "Evidence and 1 known limit"
    assert texts.evidence_html(few).startswith("1 validation scan: Dice 0.900 to 0.900")


def test_a_model_that_says_nothing_of_it_has_no_evidence(package):
    silent = read_model(package)
    assert silent.evidence == Evidence()
    assert texts.evidence_title(silent) == texts.evidence_html(silent) == ""
    assert texts.page_address(silent) == ""


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("docs/models/left-atrium.md", f"{texts.HOMEPAGE}/blob/main/docs/models/left-atrium.md"),
        ("https://example.org/model", "https://example.org/model"),
        *(("file:///etc/passwd", ""), ("docs/../../x.md", ""), ("http://a", ""), ("", "")),
    ],
)
def test_only_pages_of_ours_and_safe_addresses_can_be_opened(package, page, address):
    assert texts.page_address(model(package, Evidence(page=page))) == address


def test_what_the_shipped_model_says_of_itself_is_there():
    shipped = read_model(MODELS / "DyCONLeftAtriumLGE.dycon")
    measured = shipped.raw["evidence"]
    text = texts.evidence_html(shipped)
    worst = min(case["dice"] for case in measured["cases"])
    assert f"{len(measured['cases'])} validation scans: Dice {worst:.3f}" in text
    assert shipped.evidence.limits == tuple(measured["limits"])
    assert texts.page_address(shipped).endswith(measured["page"])
    assert (ROOT / measured["page"]).is_file()
    assert texts.HOMEPAGE in (ROOT / "CMakeLists.txt").read_text()
