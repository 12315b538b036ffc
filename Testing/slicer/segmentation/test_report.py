"""The engine's report as the panel reads it: checked, because it may come from anywhere."""

from __future__ import annotations

import json

import pytest
from DyCONSegmentationLib.report import Region, parse_report

from dycon_engine.errors import InputError
from Testing.slicer.segmentation.contents import REASON, report_table, report_text


def test_a_report_is_read_whole():
    report = parse_report(report_text(), "result")
    assert [v.name for v in report.volumes] == ["left atrium", "left ventricle"]
    assert report.volumes[0].low_ml == pytest.approx(76.14)
    assert [v.review for v in report.volumes] == ["", REASON]
    assert report.regions[1] == Region(2, (20.0, 5.0, 2.0), 950.0, 0.85, ("left atrium",))
    assert parse_report(report.text(), "again") == report


def test_how_many_regions_there_were_is_read_where_it_is_said():
    assert parse_report(report_text(regions_found=36), "result").regions_found == 36
    assert parse_report(report_text(), "of an older engine").regions_found == 3
    with pytest.raises(InputError, match="no readable report"):
        parse_report(report_text(regions_found=float("inf")), "result")


def test_an_unknown_edge_is_none():
    table = report_table()
    table["volumes"][0]["boundary_uncertainty"] = None
    assert parse_report(json.dumps(table), "result").volumes[0].boundary_uncertainty is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "indices must be"),
        ("[" * 100_000, "no readable report"),
        ("x" * (5 << 20), "larger than"),
        (report_text(schema_version=1), "schema version 1, expected 2"),
        (report_text(volumes=[{"name": "a"}]), "'boundary_uncertainty' is missing"),
        (report_text(regions=[{"id": 1, "centroid_ras_mm": [1, 2]}]), "not enough values"),
        (report_text(flags=["x"]), "no readable report"),
        (report_text().replace("4200.0", "NaN"), "nan is no number"),
        (report_text().replace("4200.0", "1e999"), "inf is no number"),
    ],
)
def test_what_is_no_report_is_refused_in_one_sentence(text, reason):
    with pytest.raises(InputError, match="result: no readable report") as caught:
        parse_report(text, "result")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_region_is_where_one_of_its_voxels_is():
    region = dict(report_table()["regions"][0])
    assert parse_report(report_text(regions=[region]), "r").regions[0].point_ras == (10.0, 5.0, 2.0)
    region["point_ras_mm"] = [11.0, 7.0, 3.0]
    assert parse_report(report_text(regions=[region]), "r").regions[0].point_ras == (11.0, 7.0, 3.0)
