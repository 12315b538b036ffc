"""Reports: figures that agree in every format, a page that needs nothing else, safe names."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re

import numpy as np
import pytest

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.evaluation import cases as scoring
from dycon_engine.evaluation import report as reports
from dycon_engine.evaluation.calibration import reliability_of, risk_coverage
from dycon_engine.evaluation.cases import score_case, with_classes
from dycon_engine.evaluation.summaries import Calibration, PredictionSet
from dycon_engine.pictures.slices import Picture

EVIL = '<script>alert("x")</script>'
GRID = Geometry.from_parts((8, 8, 8), (2.0, 1.0, 1.0))


def blocks(*sizes):
    """One case per size: a cube of `size` against a cube of 4; 0 = empty prediction."""
    cases = []
    for number, size in enumerate(sizes):
        expected, predicted = np.zeros((2, 8, 8, 8), np.uint8)
        expected[1:5, 1:5, 1:5] = 1
        predicted[1 : 1 + size, 1 : 1 + size, 1 : 1 + size] = 1
        case = score_case(f"case{number}", Volume(predicted, GRID), Volume(expected, GRID))
        cases.append(with_classes(case, (1,)))
    return tuple(cases)


def calibration():
    random = np.random.default_rng(0)
    sure, right = random.uniform(0.5, 1, 500), random.random(500) < 0.8
    curve = reliability_of(sure, right)
    return Calibration(
        everywhere=curve,
        boundary=curve,
        reference=curve,
        risk=risk_coverage(1 - sure, ~right),
        captured=(0.75, float("nan"), 0.85),
        band_mm=5.0,
        cases=3,
    )


def made(**more):
    sets = more.pop(
        "sets", (PredictionSet("A", blocks(4, 3, 0)), PredictionSet("B", blocks(3, 3, 2)))
    )
    standard = {"title": "Test", "created": "2026-01-01", "engine": "0", "names": {1: "atrium"}}
    return reports.Report(**(standard | more), sets=sets)


def test_all_formats_say_the_same(tmp_path):
    report = made()
    reports.write_report(tmp_path, report)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    content = json.loads((tmp_path / "report.json").read_text())
    assert [(r["prediction"], r["case"]) for r in rows] == [
        (s, f"case{n}") for s in "AB" for n in range(3)
    ]
    dice = [1.0, 2 * 27 / (27 + 64), 0.0]
    assert [float(r["dice"]) for r in rows[:3]] == pytest.approx(dice)
    assert content["summary"][0]["metrics"]["dice"]["mean"] == pytest.approx(sum(dice) / 3)
    text = f"{sum(dice) / 3:.3f}"
    assert text in (tmp_path / "report.md").read_text()
    assert text in (tmp_path / "report.html").read_text()


def test_a_name_is_no_formula_in_the_table(tmp_path):
    odd = dataclasses.replace(blocks(4)[0], case="=1+1")
    reports.write_report(tmp_path, made(sets=(PredictionSet("@A", (odd,)),), names={1: "-atrium"}))
    (row,) = csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text()))
    assert (row["prediction"], row["case"], row["name"]) == ("'@A", "'=1+1", "'-atrium")
    assert json.loads((tmp_path / "report.json").read_text())["cases"][0]["case"] == "=1+1"


def test_an_empty_prediction_is_undefined_and_counted_everywhere(tmp_path):
    reports.write_report(tmp_path, made())
    row = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))[2]
    assert (row["hd95_mm"], row["surface_defined"], row["dice"]) == ("", "false", "0.0")
    content = json.loads((tmp_path / "report.json").read_text())
    distance = content["summary"][0]["metrics"]["hd95_mm"]
    assert (distance["defined"], distance["undefined"]) == (2, 1)
    assert content["summary"][0]["one_empty"] == 1
    assert content["cases"][2]["scores"][0]["hd95_mm"] is None
    page = (tmp_path / "report.html").read_text()
    assert "<td>1 of 3</td>" in page
    assert "missed altogether or invented in 1 case" in page


def test_a_structure_never_found_has_dice_0_however_often_it_is_absent(tmp_path):
    """One case holds it and it is missed; three do not and nothing is found."""
    missed, *absent = blocks(0, 4, 4, 4)
    absent = [dataclasses.replace(case, scores=(scoring.absent(1),)) for case in absent]
    report = made(sets=(PredictionSet("A", (missed, *absent)),))
    reports.write_report(tmp_path, report)
    (row,) = json.loads((tmp_path / "report.json").read_text())["summary"]
    dice = row["metrics"]["dice"]
    assert (dice["mean"], dice["defined"], dice["undefined"], row["absent"]) == (0.0, 1, 3, 3)
    assert row["plausible"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    assert [r["dice"] for r in rows] == ["0.0", "", "", ""]
    (said,) = reports.findings(report)
    assert "mean Dice 0.000 (worst 0.000, case case0)" in said
    assert said.endswith("; absent from both in 3 cases, left out.")
    page = (tmp_path / "report.html").read_text()
    assert "4 of 4, 3 absent from both" in page
    assert "VIOLATED" not in page
    assert "4, 3 absent from both" in (tmp_path / "report.md").read_text()


def test_what_no_case_holds_is_undefined_everywhere(tmp_path):
    (case,) = blocks(4)
    nothing = dataclasses.replace(case, scores=(scoring.absent(1),))
    report = made(sets=(PredictionSet("A", (nothing,)), PredictionSet("B", (nothing,))))
    reports.write_report(tmp_path, report)
    assert "A, atrium: Dice undefined; absent from both in 1 case, left out." in (
        reports.findings(report)
    )
    assert not any("minus" in line for line in reports.findings(report))
    rows = json.loads((tmp_path / "report.json").read_text())["summary"]
    assert [row["metrics"]["dice"]["mean"] for row in rows] == [None, None]
    assert "VIOLATED" not in (tmp_path / "report.html").read_text()


def test_differences_are_paired_and_leave_undefined_pairs_out():
    overlap, distance = made().differences()
    a, b = [1, 54 / 91, 0], [54 / 91, 54 / 91, 2 * 8 / (8 + 64)]
    assert overlap.mean == pytest.approx(sum(x - y for x, y in zip(a, b, strict=True)) / 3)
    assert (overlap.better, overlap.worse, overlap.pairs) == (1, 1, 3)
    assert math.isnan(overlap.low)  # three pairs are too few for an interval
    assert (distance.pairs, distance.undefined) == (2, 1)
    assert (distance.better, distance.worse) == (1, 0)  # a smaller distance is better


def test_the_interval_holds_the_mean_and_is_zero_for_equal_sets():
    sets = (PredictionSet("A", blocks(4, 3, 2, 4, 3)), PredictionSet("B", blocks(3, 3, 1, 2, 3)))
    overlap = made(sets=sets).differences()[0]
    assert overlap.low < overlap.mean < overlap.high
    same = made(sets=(sets[0], PredictionSet("C", sets[0].cases))).differences()[0]
    assert (same.low, same.mean, same.high) == (0.0, 0.0, 0.0)


def test_the_interval_holds_95_percent_of_the_means_of_redrawn_cases():
    """Of 40 differences, half of them 0, the mean is a binomial number: 14 to 26 of 40."""
    sets = (PredictionSet("A", blocks(4, 3) * 20), PredictionSet("B", blocks(3, 3) * 20))
    overlap = made(sets=sets).differences()[0]
    step = 2 * overlap.mean / 40
    assert (overlap.low, overlap.high) == (pytest.approx(14 * step), pytest.approx(26 * step))


def test_four_pairs_are_too_few_for_an_interval_and_five_are_not():
    for pairs, known in ((4, False), (5, True)):
        one, other = blocks(4, 3, 2, 4, 3)[:pairs], blocks(3, 3, 1, 2, 3)[:pairs]
        found = made(sets=(PredictionSet("A", one), PredictionSet("B", other))).differences()[0]
        assert math.isfinite(found.low) is known


def test_one_case_far_off_does_not_move_the_distance_that_is_said():
    (said,) = reports.findings(made(sets=(PredictionSet("A", blocks(4, 4, 1)),)))
    assert "median HD95 0.0 mm" in said


def test_the_page_is_self_contained_and_accessible():
    overlay = Picture("Worst: case a", "a picture", b"\x89PNG")
    sets = (PredictionSet("A", blocks(4, 3), calibration()),)
    page = reports.to_html(made(sets=sets, overlays=(overlay,)))
    assert "Research use only; not a medical device" in page
    addresses = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]+)', page)
    assert addresses
    assert all(a.startswith(("data:", "#")) for a in addresses)
    assert "default-src 'none'" in page
    assert re.findall(r'<img alt="([^"]*)"', page) == ["a picture"]
    assert page.count('role="img" aria-label="') == page.count("<svg") == 4
    for heading in ("HD95 [mm]", "ASD [mm]", "HD95 [voxel]"):
        assert heading in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_names_cannot_inject_anything():
    sets = (PredictionSet(EVIL, blocks(4, 3)), PredictionSet("$B_{x", blocks(3, 3)))
    overlay = Picture(EVIL, EVIL, b"x")
    page = reports.to_html(
        made(title=EVIL, names={1: EVIL}, sets=sets, overlays=(overlay,), notes=(EVIL,))
    )
    assert EVIL not in page
    assert page.count("<script>") == 1


def test_a_report_is_not_replaced_unasked(tmp_path):
    reports.write_report(tmp_path, made())
    before = (tmp_path / "report.html").read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        reports.write_report(tmp_path, made(title="Other"))
    assert (tmp_path / "report.html").read_bytes() == before
    reports.write_report(tmp_path, made(title="Other"), overwrite=True)
    assert b"Other" in (tmp_path / "report.html").read_bytes()


@pytest.mark.filterwarnings("error")
def test_a_metric_undefined_for_every_case_is_drawn_as_such():
    sets = (PredictionSet("A", blocks(0, 0)), PredictionSet("B", blocks(4, 0)))
    page = reports.to_html(made(sets=sets))
    assert "2 undefined" in page
    assert "<td>2 of 2</td>" in page


def test_the_same_report_is_the_same_page():
    assert reports.to_html(made()) == reports.to_html(made())


def test_what_the_uncertainty_is_worth_stands_in_every_format(tmp_path):
    sets = (PredictionSet("A", blocks(4, 3, 0), calibration()),)
    reports.write_report(tmp_path, made(sets=sets))
    content = json.loads((tmp_path / "report.json").read_text())["calibration"]["A"]
    found = content["errors_in_most_uncertain"]
    assert (found["share_of_voxels"], found["cases"]) == (0.05, [0.75, None, 0.85])
    assert found["mean"] == pytest.approx(0.8)
    said = "the 5% most uncertain voxels of a scan hold 80% of its errors"
    assert said in (tmp_path / "report.md").read_text()
    assert said in (tmp_path / "report.html").read_text()
    assert "<td>80 %</td>" in (tmp_path / "report.html").read_text()


def test_without_a_reference_surface_nothing_is_said_of_it():
    nothing = reliability_of(np.empty(0), np.empty(0, dtype=bool))
    assert math.isnan(nothing.ece)
    found = dataclasses.replace(calibration(), reference=nothing, captured=(float("nan"),))
    report = made(sets=(PredictionSet("A", blocks(4), found),))
    assert not any("ECE" in line for line in reports.findings(report))
    assert "<td>no errors</td>" in reports.to_html(report)
