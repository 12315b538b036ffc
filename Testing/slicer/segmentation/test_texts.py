"""The words a person reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from DyCONSegmentationLib import model_words, texts
from DyCONSegmentationLib.report import Region, StructureVolume, parse_report
from DyCONSegmentationLib.review import review_list

from dycon_engine.package.info import NOTICE
from DyCONLib.evidence import Evidence, Trust
from DyCONLib.models import Channel, read_model
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

OUTSIDE = {
    "topic": "spacing",
    "message": "voxels measure 9 mm head to foot; in training scans 1 mm",
}
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
    first, lead, reason = shown.text.splitlines()
    assert first.startswith("Nothing was found: the segmentation is empty.")
    assert lead == "Possible reasons:"
    assert reason == "\u2022 Voxels measure 9 mm head to foot; in training scans 1 mm."
    assert banner(EMPTY).text == first


def test_outside_the_training_range_is_a_warning_with_a_line_for_every_reason():
    """What is missing is no reason to call the scan unlike the training scans."""
    other = {"topic": "spacing", "message": "voxels measure 8 mm front to back"}
    protocol = {"topic": "contrast", "message": "another protocol?"}
    shown = banner(OUTSIDE, other, MISSING, protocol)
    assert shown.kind == "warning"
    assert shown.text.splitlines() == [
        "'left atrium' was not found in this scan.",
        "This scan is unlike those the model was trained on; the result may be wrong:",
        "\u2022 Voxels measure 9 mm head to foot; in training scans 1 mm.",
        "\u2022 Voxels measure 8 mm front to back.",
        "\u2022 Another protocol?",
    ]
    advised = texts.with_advice(shown).text.splitlines()
    assert advised[-1] == texts.REGION_ADVICE


def test_the_row_of_a_batch_stays_one_line():
    report = parse_report(report_text(flags=[OUTSIDE, MISSING]), "result")
    words, asks = texts.report_text(report)
    assert asks
    assert "\n" not in words
    assert words.endswith("may be wrong: Voxels measure 9 mm head to foot; in training scans 1 mm.")


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


def left(marks, **changes):
    report = parse_report(report_text(**changes), "result")
    review = review_list(report.regions, json.dumps(marks))
    return texts.left_text(review, report), texts.advice_text(review, report)


def test_what_is_left_of_the_list_and_of_all_that_was_found():
    assert left({}) == ("3 of 3 regions left to review", "")
    assert left({"1": "fixed"}, regions_found=36) == (
        "2 of 3 regions left to review (the 3 most important of 36)",
        "",
    )


def test_the_end_of_the_list_is_no_all_clear():
    done = {"1": "fixed", "2": "accepted", "3": "accepted"}
    assert left(done)[0] == "All 3 uncertain regions are reviewed."
    words, advice = left(done, regions_found=36)
    assert words == "The 3 most important of 36 uncertain regions are reviewed."
    assert advice == (
        "Look through the whole scan all the same: a model can be sure and wrong. "
        "Next: Export, or Add to training set."
    )
    assert left({}, regions=[]) == ("The list is empty: no region is uncertain enough.", advice)


def test_an_empty_segmentation_is_not_called_certain():
    words, advice = left({}, regions=[], flags=[EMPTY])
    assert words == "The list is empty: nothing was segmented."
    assert "whole scan" in advice
    assert "Export" not in advice


def model(package, evidence=MEASURED):
    return dataclasses.replace(read_model(package), evidence=evidence)


def test_the_evidence_is_the_models_own_words_and_figures(package):
    measured = model(package)
    assert model_words.evidence_title(measured) == "Evidence: 7 known limits"
    text = model_words.evidence_html(measured)
    for words in (
        "3 held-out scans: Dice 0.871 to 0.941",
        "95 % of the edge lies within 2.0 to 3.4 mm of the expert's edge",
        "The 5 % most uncertain voxels hold 86 % of the wrong ones",
        *("240 mm &lt;b&gt;wide&lt;/b&gt;: Dice 0.478", "limit 5", "2 more: see the model's page"),
    ):
        assert words in text
    assert "limit 6" not in text
    near = "on average a probability is 0.9 percentage points off, within 5 mm of the edge"
    assert near in model_words.card_html(measured)
    few = model(package, dataclasses.replace(MEASURED, dice=(0.9,), limits=("one",), trust=None))
    assert model_words.evidence_title(few) == "Evidence: 1 known limit"
    assert "1 held-out scan: Dice 0.900 to 0.900" in model_words.evidence_html(few)


def test_caveats_come_before_the_figures_and_citations_last(package):
    said = (
        "B. Author, A title, 2019.",
        "The figures are <optimistic>.",
        "No real chest in 2 scans.",
    )
    measured = model(package, dataclasses.replace(MEASURED, source=said))
    assert model_words.evidence_title(measured) == "Evidence: 2 caveats, 7 known limits"
    text = model_words.evidence_html(measured)
    order = [text.index(words) for words in ("&lt;optimistic&gt;", "2 scans", "3 held-out", "2019")]
    assert order == sorted(order)
    assert model_words.evidence_html(model(package, Evidence(source=said[1:2]))).count("<br>") == 1


@pytest.mark.parametrize(
    ("channels", "modality", "words"),
    [
        (("LGE MR",), "MR", " in LGE MR<"),
        (("t1_mri",), "MR", " in t1_mri<"),
        (("image",), "CT", " in CT<"),  # told by its intensity window
        (("T1 MR", "FLAIR"), "MR", " in MR<"),
        (("image",), "", "</b><br>"),
    ],
)
def test_the_card_names_the_kind_of_scans_as_the_model_does(package, channels, modality, words):
    made = tuple(Channel(name, "") for name in channels)
    shown = dataclasses.replace(read_model(package), channels=made, modality=modality)
    assert words in model_words.card_html(shown)


def test_what_a_model_says_of_its_use_beyond_research_stands_first(package):
    plain = read_model(package)
    assert texts.RESEARCH == NOTICE
    assert model_words.card_html(plain).startswith("<b>ball</b>")
    odd = dataclasses.replace(plain, notice=f"Only <for> feet. {texts.RESEARCH}")
    assert model_words.card_html(odd).startswith("<b>Only &lt;for&gt; feet.</b><br><b>ball</b>")
    card = model_words.card_html(read_model(MODELS / "DyCONPhantomHeart.dycon"))
    assert card.startswith("<b>For the sample scan only: learned from generated images.</b>")


def test_a_model_that_says_nothing_of_it_has_no_evidence(package):
    silent = read_model(package)
    assert silent.evidence == Evidence()
    assert model_words.evidence_title(silent) == model_words.evidence_html(silent) == ""
    assert model_words.page_address(silent) == ""


@pytest.mark.parametrize(
    ("page", "address"),
    [
        (
            "docs/models/left-atrium.md",
            f"{model_words.HOMEPAGE}/blob/main/docs/models/left-atrium.md",
        ),
        ("https://example.org/model", "https://example.org/model"),
        *(("file:///etc/passwd", ""), ("docs/../../x.md", ""), ("http://a", ""), ("", "")),
    ],
)
def test_only_pages_of_ours_and_safe_addresses_can_be_opened(package, page, address):
    assert model_words.page_address(model(package, Evidence(page=page))) == address


def test_what_the_shipped_model_says_of_itself_is_there():
    shipped = read_model(MODELS / "DyCONLeftAtriumLGE.dycon")
    measured = shipped.raw["evidence"]
    text = model_words.evidence_html(shipped)
    worst = min(case["dice"] for case in measured["cases"])
    assert f"{len(measured['cases'])} held-out scans: Dice {worst:.3f}" in text
    assert "may show a patient of the training set" in text[: text.index("<b>Measured</b>")]
    assert "the figures are optimistic" in text[: text.index("<b>Measured</b>")]
    unusable = [limit.startswith("unusable") for limit in shipped.evidence.limits]
    assert unusable == sorted(unusable)
    assert "(same 4 scans unchanged: 0.925)" in text
    assert " in LGE MR<" in model_words.card_html(shipped)
    assert shipped.evidence.limits == tuple(measured["limits"])
    assert model_words.page_address(shipped).endswith(measured["page"])
    assert (ROOT / measured["page"]).is_file()
    assert model_words.HOMEPAGE in (ROOT / "CMakeLists.txt").read_text()
