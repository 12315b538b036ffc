"""`dycon audit` says what `train` would refuse, all at once, and touches nothing."""

from __future__ import annotations

import json

import h5py
import numpy as np

from dycon_engine.audit import main
from Testing.tiny_scans import mask, scan, write_pairs, write_scan


def audit(data, run_dir, *more) -> tuple[int, dict]:
    code = main(["--data", str(data), "--run-dir", str(run_dir), *more])
    lines = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    return code, lines[-1]


def snapshot(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_a_good_data_set(tmp_path):
    data = write_pairs(tmp_path / "data", 6, 5)
    before = snapshot(data)
    code, last = audit(data, tmp_path / "run", "--set", "data.validation=1")
    assert (code, last["event"]) == (0, "finished")
    found = last["summary"]
    assert (found["problems"], found["warnings"], found["layout"]) == ([], [], "pairs")
    assert [label["value"] for label in found["labels"]] == [1]
    rows = {row["name"]: row for row in found["cases"]}
    assert [row["role"] for row in rows.values()].count("validation") == 1
    assert rows["pt05"]["role"] == "unlabeled"
    assert rows["pt05"]["label"] is None
    assert rows["pt00"]["images"] == [str(data / "images/pt00.nii.gz")]
    assert rows["pt00"]["size_zyx"] == [6, 7, 8]
    assert snapshot(data) == before


def test_every_problem_at_once_and_exit_code_2(tmp_path, capsys):
    data = write_pairs(tmp_path / "data", 6, 5)
    write_scan(data / "images/pt00.nii.gz", np.full((6, 7, 8), 5, np.float32))
    write_scan(data / "labels/pt01.nii.gz", mask((6, 7, 9)))
    write_scan(data / "images/pt05.nii.gz", scan(5), spacing=(9, 1, 1))
    code, last = audit(data, tmp_path / "run")
    assert (code, last["event"]) == (2, "finished")
    assert len(last["summary"]["problems"]) == 2
    assert len(last["summary"]["warnings"]) == 1
    found = last["summary"]["findings"]
    assert [f["message"] for f in found] == [
        *last["summary"]["problems"],
        *last["summary"]["warnings"],
    ]
    assert {(f["severity"], f["topic"], *f["cases"]) for f in found} == {
        ("problem", "voxels", "pt00"),
        ("problem", "grid", "pt01"),
        ("warning", "spacing", "pt05"),
    }
    said = capsys.readouterr().err
    assert "DyCON: case 'pt00': image is constant" in said
    assert "DyCON: case 'pt01': label is 9x7x6 but image is 8x7x6" in said


def test_supervised_needs_no_unlabeled(tmp_path):
    data = write_pairs(tmp_path / "data", 5, 5)
    code, last = audit(data, tmp_path / "one", "--set", "data.validation=1")
    assert code == 2
    assert "no unlabeled case" in last["summary"]["problems"][0]
    more = ("--method", "supervised", "--set", "data.validation=1")
    assert audit(data, tmp_path / "two", *more)[0] == 0


def test_nothing_there_is_one_line(tmp_path):
    code, last = audit(tmp_path / "absent", tmp_path / "run")
    assert (code, last["event"]) == (2, "failed")
    assert "there is no such folder" in last["message"]


def test_a_person_is_told_how_many_cases_have_which_role(tmp_path, capsys):
    data = write_pairs(tmp_path / "data", 6, 5)
    write_scan(data / "images/pt05.nii.gz", scan(5), spacing=(9, 1, 1))
    assert audit(data, tmp_path / "run")[0] == 0
    warning, *said = capsys.readouterr().err.splitlines()
    assert warning.startswith("Warning: case 'pt05': spacing")
    rows = audit(data, tmp_path / "again")[1]["summary"]["cases"]
    labeled = [row["name"] for row in rows if row["role"] == "labeled"]
    [held_out] = [row["name"] for row in rows if row["role"] == "validation"]
    assert said == [
        f"4 labeled: {', '.join(labeled)}",
        "1 unlabeled: pt05",
        f"1 validation: {held_out}",
        "1 class: 'foreground' (value 1)",
        (
            "normalization: zscore, not taken for CT: nothing below -500, the air of Hounsfield "
            "units, in 6 of 6 scans; set preprocessing.normalization to choose another"
        ),
    ]


def test_many_names_and_cases_without_a_role_are_told_too(tmp_path, capsys):
    data = write_pairs(tmp_path / "data", 16, 2)
    (tmp_path / "order.txt").write_text("\n".join(f"pt{n:02d}" for n in range(15)))
    audit(data, tmp_path / "run", "--set", f"data.order={tmp_path / 'order.txt'}")
    said = capsys.readouterr().err.splitlines()
    names = ", ".join(f"pt{n:02d}" for n in range(2, 14))
    assert f"13 unlabeled: {names}, ..." in said
    assert "1 not used: pt15" in said


def test_it_takes_the_settings_that_train_takes(tmp_path):
    data = write_pairs(tmp_path / "data", 6, 5)
    config = tmp_path / "run.toml"
    config.write_text('profile = "paper"\n[data]\nvalidation = 2\n[method]\nname = "supervised"\n')
    code, last = audit(data, tmp_path / "run", "--config", str(config), "--profile", "laptop")
    roles = [row["role"] for row in last["summary"]["cases"]]
    assert (code, roles.count("validation")) == (0, 2)
    assert audit(data, tmp_path / "two", "--device", "cpu", "--method", "dicon")[0] == 2


def test_values_that_became_classes_by_a_slip_are_told_before_they_are_trained(tmp_path, capsys):
    data = write_pairs(tmp_path / "data", 6, 5)
    write_scan(data / "labels/pt03.nii.gz", mask(values=(255,)))
    code, last = audit(data, tmp_path / "run")
    assert code == 0
    [finding] = last["summary"]["findings"]
    assert (finding["severity"], finding["topic"]) == ("warning", "classes")
    assert finding["cases"] == ["pt03"]
    said = capsys.readouterr().err
    assert "Warning: classes that never occur together: 'label 255' only in case 'pt03'" in said
    assert "2 classes: 'label 1' (value 1), 'label 255' (value 255)" in said


def test_where_all_have_a_label_it_says_what_to_set(tmp_path):
    data = write_pairs(tmp_path / "data", 5, 5)
    problem = audit(data, tmp_path / "all")[1]["summary"]["problems"][0]
    assert "train on fewer labels (data.labeled, now all 4)" in problem
    for number, setting in enumerate(("data.labeled=2", "training.unlabeled_cases=all")):
        assert audit(data, tmp_path / f"run{number}", "--set", setting)[0] == 0


def test_where_validation_takes_all_labels_it_says_so(tmp_path):
    data = write_pairs(tmp_path / "data", 6, 5)
    code, last = audit(data, tmp_path / "run", "--set", "data.validation=5")
    assert code == 2
    assert "all 5 are validation or test; lower" in last["summary"]["problems"][0]


def test_a_spacing_that_files_do_not_carry_is_not_assumed_in_silence(tmp_path):
    for number in range(3):
        with h5py.File(tmp_path / f"case{number}.h5", "w") as file:
            file["image"], file["label"] = scan(number), mask()
    options = ("--set", "data.labeled=2")
    warnings = audit(tmp_path, tmp_path / "run1", *options)[1]["summary"]["warnings"]
    assert ["1x1x1 mm is assumed" in line for line in warnings] == [True]
    given = (*options, "--set", "data.spacing_mm=[2, 2, 2]")
    assert audit(tmp_path, tmp_path / "run2", *given)[1]["summary"]["warnings"] == []
