"""A run from files to packages: resume, cancel, refusals, and what lies in its folder."""

from __future__ import annotations

import json

import pytest
import torch

from dycon_engine.package import load_package
from Testing.engine.training import small_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Scans of which scan3, unlabeled or test in every run here, has a label map of nonsense."""
    folder = small_run.write_scans(tmp_path_factory.mktemp("scans") / "data")
    (folder / "labels" / "scan3.nii.gz").write_bytes(b"nonsense")
    return folder


def kinds(run_dir):
    return [event["event"] for event in small_run.events(run_dir)]


def warnings(run_dir):
    return [e["topic"] for e in small_run.events(run_dir) if e["event"] == "warning"]


def test_a_run_leaves_what_is_promised(data, tmp_path):
    run_dir = tmp_path / "run"
    settings = ("data.validation=1", "data.test=2", "training.validate_every=4")
    assert small_run.run(data, run_dir, *settings) == 0
    assert json.loads((run_dir / "split.json").read_text())["test"] == ["scan3", "scan4"]
    found = {str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if p.is_file()}
    assert found - {"log.txt"} == {
        "checkpoints/step-00000000.ckpt",
        "checkpoints/step-00000004.ckpt",
        "checkpoints/step-00000008.ckpt",
        "config.json",
        "events.jsonl",
        "package/best.dycon",
        "package/last.dycon",
        "report/validation.json",
        "split.json",
    }
    validated = [event for event in small_run.events(run_dir) if event["event"] == "validated"]
    assert [event["cases"] for event in validated] == [1, 1]
    assert kinds(run_dir)[-1] == "finished"
    summary = small_run.events(run_dir)[-1]["summary"]
    assert summary["steps"] == 8
    assert 0.0 <= summary["dice"] <= 1.0
    package = load_package(run_dir / "package" / "last.dycon")
    assert package.info.training["validation"]["dice"] == summary["dice"]
    assert package.info.calibration.ece_after is not None
    assert package.info.seen is not None
    weights = small_run.newest(run_dir)["trainer"]["method"]
    for name, value in package.predictor.state_dict().items():
        assert torch.equal(value, weights[f"pair.teacher.module.{name}"])
    for name, value in package.partner.state_dict().items():
        assert torch.equal(value, weights[f"pair.student.{name}"])


def test_case_names_and_paths_stay_in_split_json(data, tmp_path):
    run_dir = tmp_path / "run"
    assert small_run.run(data, run_dir, "data.validation=1", "training.steps=1") == 0
    assert small_run.NAMES[0] in (run_dir / "split.json").read_text()
    for path in run_dir.rglob("*"):
        if path.is_file() and path.name != "split.json":
            content = path.read_bytes()
            assert not any(name.encode() in content for name in small_run.NAMES), path
            assert str(tmp_path).encode() not in content, path


def test_cancel_keeps_a_checkpoint_and_no_pixels_and_resume_is_exact(data, tmp_path, monkeypatch):
    assert small_run.run(data, tmp_path / "whole") == 0
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 3)
        assert small_run.run(data, run_dir) == 3
    assert kinds(run_dir)[-1] == "cancelled"
    assert (run_dir / "checkpoints" / "step-00000003.ckpt").exists()
    assert not (run_dir / "cache").exists()
    assert not (run_dir / "lock").exists()
    assert not (run_dir / "package").exists()
    assert small_run.run(data, run_dir, resume=True) == 0
    assert small_run.fingerprint(run_dir) == small_run.fingerprint(tmp_path / "whole")
    assert kinds(run_dir).count("started") == 2


def test_a_damaged_checkpoint_falls_back_with_a_warning(data, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 5)
        assert small_run.run(data, run_dir, "training.save_every=2") == 3
    newest = run_dir / "checkpoints" / "step-00000005.ckpt"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert small_run.run(data, run_dir, resume=True) == 0
    assert "checkpoint" in warnings(run_dir)
    assert small_run.run(data, tmp_path / "whole") == 0
    assert small_run.fingerprint(run_dir) == small_run.fingerprint(tmp_path / "whole")


def refusal(capsys, data, run_dir, *settings, resume):
    before = {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}
    capsys.readouterr()
    assert small_run.run(data, run_dir, *settings, resume=resume) == 2
    text = capsys.readouterr().err
    assert text.startswith("DyCON: ")
    assert text.count("\n") == 1
    after = {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}
    for path in after.keys() - {run_dir / "events.jsonl", run_dir / "log.txt"}:
        assert before[path] == after[path]
    return text


def test_what_a_second_start_in_the_folder_is_told(data, tmp_path, capsys, monkeypatch):
    run_dir = tmp_path / "run"
    assert small_run.run(data, run_dir, "training.steps=1") == 0
    assert "add --resume" in refusal(capsys, data, run_dir, "training.steps=1", resume=False)
    text = refusal(capsys, data, run_dir, "training.steps=2", "training.seed=5", resume=True)
    assert "training.seed: run has 0, now 5; training.steps: run has 1, now 2" in text
    for path in (run_dir / "checkpoints").iterdir():
        path.unlink()
    text = refusal(capsys, data, run_dir, "training.steps=1", resume=True)
    assert "no checkpoint is left" in text
    assert "no run to resume" in refusal(capsys, data, tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


def test_changed_scans_are_noticed_on_resume(tmp_path, capsys):
    data = small_run.write_scans(tmp_path / "data")
    run_dir = tmp_path / "run"
    assert small_run.run(data, run_dir, "training.steps=1") == 0
    other = small_run.write_scans(tmp_path / "other", seed=1)
    (other / "images" / "scan3.nii.gz").replace(data / "images" / "scan3.nii.gz")
    text = refusal(capsys, data, run_dir, "training.steps=1", resume=True)
    assert "case 'scan3': its voxels changed" in text


def test_a_bad_data_set_is_told_whole_and_nothing_is_written(tmp_path, capsys):
    data = small_run.write_scans(tmp_path / "data")
    for name in ("scan0", "scan4"):
        (data / "images" / f"{name}.nii.gz").write_bytes(b"\x1f\x8bnonsense")
    assert small_run.run(data, tmp_path / "run") == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("DyCON: ") for line in lines)
    assert any("scan0" in line for line in lines)
    assert any("scan4" in line for line in lines)
    assert not (tmp_path / "run").exists()


def test_a_package_can_be_the_start(data, tmp_path):
    assert small_run.run(data, tmp_path / "first", "training.steps=3") == 0
    start = tmp_path / "first" / "package" / "last.dycon"
    code = small_run.run(
        data, tmp_path / "second", "training.steps=1", "training.learning_rate=0.0", package=start
    )
    assert code == 0
    first, second = (
        load_package(tmp_path / name / "package" / "last.dycon").predictor
        for name in ("first", "second")
    )
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_report_counts_undefined_distances_as_null(data, tmp_path):
    run_dir = tmp_path / "run"
    settings = ("data.validation=2", "training.steps=1", "training.learning_rate=0.0")
    assert small_run.run(data, run_dir, *settings) == 0
    report = json.loads((run_dir / "report" / "validation.json").read_text())
    assert [case["case"] for case in report["cases"]] == ["validation 1", "validation 2"]
    for case in report["cases"]:
        (scores,) = case["classes"].values()
        assert (scores["hd95_mm"] is None) == (scores["prediction_voxels"] == 0)
