"""`dycon collect` copies scans under neutral names, strictly read, all of them or none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dycon_engine.collect import main
from dycon_engine.data.formats.readers import read_image, read_label
from Testing.tiny_files import dicom_folder, voxels
from Testing.tiny_scans import mask, scan, write_scan


def collect(tmp_path, cases, run="run") -> tuple[int, dict]:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"cases": cases}))
    line = ["--plan", plan, "--output", tmp_path / "set", "--run-dir", tmp_path / run]
    code = main([str(word) for word in line])
    lines = (tmp_path / run / "events.jsonl").read_text().splitlines()
    return code, json.loads(lines[-1])


def row(name, images, label=None, **more):
    to = [f"images/{name}-{number}.nii.gz" for number in range(len(images))]
    found = {"name": name, "images": [str(path) for path in images], "to": to, **more}
    return found | ({"label": str(label), "label_to": f"labels/{name}.nii.gz"} if label else {})


def files(tmp_path):
    return sorted(p.name for p in (tmp_path / "set").rglob("*") if p.is_file())


def test_voxels_and_grid_are_kept_and_label_values_mapped(tmp_path):
    image = write_scan(tmp_path / "a.nii.gz", scan(1), spacing=(2, 1.5, 1), origin=(3, 4, 5))
    label = write_scan(
        tmp_path / "m.nii.gz", mask(values=(1, 7)), spacing=(2, 1.5, 1), origin=(3, 4, 5)
    )
    series = dicom_folder(tmp_path / "series", voxels())
    cases = [row("case-001", [image], label, values={"7": 2}), row("case-002", [series, image])]
    code, last = collect(tmp_path, [*cases, row("case-003", [], label)])
    assert (code, last["summary"]) == (0, {"cases": 3, "files": 5})
    copy, source = read_image(tmp_path / "set/images/case-001-0.nii.gz"), read_image(image)
    np.testing.assert_array_equal(copy.array, source.array)
    assert copy.geometry.corner_distance_voxels(source.geometry) < 1e-3
    stored = read_label(tmp_path / "set/labels/case-001.nii.gz").array
    np.testing.assert_array_equal(stored, np.where(mask(values=(1, 7)) == 7, 2, 0))
    raw = read_image(tmp_path / "set/images/case-002-0.nii.gz").array
    np.testing.assert_array_equal(raw, read_image(series).array)


@pytest.mark.parametrize("high", [255, 256, 70000])
def test_label_values_may_be_large(tmp_path, high):
    label = write_scan(tmp_path / "m.nii.gz", mask(values=(1, 7)))
    code, _ = collect(tmp_path, [row("case-001", [], label, values={"1": 2, "7": high})])
    assert code == 0
    stored = read_label(tmp_path / "set/labels/case-001.nii.gz").array
    source = mask(values=(1, 7)).astype(int)
    np.testing.assert_array_equal(stored, np.where(source == 7, high, source * 2))


@pytest.mark.parametrize("value", [-1, 2**32, 2**70])
def test_a_label_value_that_cannot_be_stored_is_refused_before_anything_is_written(tmp_path, value):
    label = write_scan(tmp_path / "m.nii.gz", mask(values=(1, 7)))
    cases = [row("case-001", [], label), row("case-002", [], label, values={"7": value})]
    code, last = collect(tmp_path, cases)
    assert code == 2
    assert f"case 'case-002': label value {value} in the data set, expected 0 to" in last["message"]
    assert not (tmp_path / "set").exists()


def test_where_one_case_fails_nothing_is_left_and_every_failure_is_told(tmp_path):
    good = write_scan(tmp_path / "good.nii.gz", scan(1))
    cut = write_scan(tmp_path / "cut.nii.gz", scan(2))
    cut.write_bytes(cut.read_bytes()[:90])
    spoiled = scan(3)
    spoiled[0, 0, 0] = np.nan
    nan = write_scan(tmp_path / "nan.nii.gz", spoiled)
    cases = [row("case-001", [good]), row("case-002", [cut]), row("case-003", [nan])]
    code, last = collect(tmp_path, cases)
    assert code == 1
    assert "2 of 3 cases cannot be copied (case-002, case-003)" in last["message"]
    assert files(tmp_path) == []
    said = (tmp_path / "run/events.jsonl").read_text()
    assert said.count('"error": "\'') == 2


def test_an_existing_file_is_never_overwritten(tmp_path):
    first, second = (write_scan(tmp_path / f"{n}.nii.gz", scan(n)) for n in (1, 2))
    assert collect(tmp_path, [row("case-001", [first])])[0] == 0
    before = (tmp_path / "set/images/case-001-0.nii.gz").read_bytes()
    cases = [row("case-002", [second]), row("case-001", [second])]
    code, last = collect(tmp_path, cases, "again")
    assert code == 1
    assert "case-001" in last["message"]
    assert (tmp_path / "set/images/case-001-0.nii.gz").read_bytes() == before
    assert files(tmp_path) == ["case-001-0.nii.gz"]


@pytest.mark.parametrize(
    "change",
    [
        {"to": ["../out.nii.gz"]},
        {"to": ["/tmp/out.nii.gz"]},
        {"to": []},
        {"label": "/m.nii.gz"},
        {"images": None},
    ],
)
def test_a_bad_plan_is_one_line(tmp_path, change):
    image = write_scan(tmp_path / "a.nii.gz", scan(1))
    code, last = collect(tmp_path, [row("case-001", [image]) | change])
    assert (code, last["event"]) == (2, "failed")
    assert "plan" in last["message"]
    assert "\n" not in last["message"]
