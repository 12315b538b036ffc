"""A run from files to packages: resume, cancel, refusals, and what lies in its folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import warnings as warnings_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from dycon_engine.config import TrainingConfig
from dycon_engine.data.cases import Label
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.networks import NetworkBuilder
from dycon_engine.networks.base import Network
from dycon_engine.package import load_package, read_info, save_package
from dycon_engine.package.info import LICENSE
from dycon_engine.sources import source_digest
from dycon_engine.train import main
from dycon_engine.training import determinism, versions
from dycon_engine.training.distributed import configure
from Testing import tiny_package
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
        "versions.json",
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
    started = [event for event in small_run.events(run_dir) if event["event"] == "started"]
    assert [event["device"] for event in started] == ["", "cpu", "", "cpu"]


def of_its_end(run_dir):
    """Return the bytes of everything that the end of a run writes."""
    paths = [*run_dir.glob("package/*"), *run_dir.glob("report/*"), *run_dir.glob("events.out*")]
    return {path.relative_to(run_dir): path.read_bytes() for path in paths}


def test_a_finished_run_that_is_resumed_says_so_and_does_nothing_again(data, tmp_path, capsys):
    run_dir, settings = tmp_path / "run", ("data.validation=1", "training.tensorboard=true")
    assert small_run.run(data, run_dir, *settings) == 0
    before, first = of_its_end(run_dir), small_run.events(run_dir)
    times = {path: (run_dir / path).stat().st_mtime_ns for path in before}
    capsys.readouterr()
    assert small_run.run(data, run_dir, *settings, resume=True) == 0
    words = "All 8 steps are done; for more start a new run with --package and"
    assert words in capsys.readouterr().err
    again = small_run.events(run_dir)[len(first) :]
    assert [event["event"] for event in again] == ["started", "finished"]
    assert again[-1]["summary"] == first[-1]["summary"]
    assert of_its_end(run_dir) == before
    assert {path: (run_dir / path).stat().st_mtime_ns for path in before} == times


@pytest.mark.parametrize("gone", ["package/last.dycon", "report/validation.json", "damaged"])
def test_what_is_missing_of_a_finished_run_is_made_again(data, tmp_path, gone):
    run_dir, settings = tmp_path / "run", ("data.validation=1", "training.steps=1")
    assert small_run.run(data, run_dir, *settings) == 0
    before = of_its_end(run_dir)
    if gone == "damaged":
        (run_dir / "package" / "last.dycon").write_bytes(b"PK")
    else:
        (run_dir / gone).unlink()
    assert small_run.run(data, run_dir, *settings, resume=True) == 0
    assert of_its_end(run_dir) == before
    assert kinds(run_dir).count("step") == 1


def test_the_license_of_a_model_is_stated_also_afterwards(data, tmp_path):
    run_dir, settings = tmp_path / "run", ("data.validation=1", "training.steps=1")
    path = run_dir / "package" / "last.dycon"
    stated = "training.license=CC BY 4.0, J. Doe"
    assert small_run.run(data, run_dir, *settings) == 0
    assert read_info(path).license == LICENSE
    assert small_run.run(data, run_dir, *settings, stated, resume=True) == 0
    assert read_info(path).license == "CC BY 4.0, J. Doe"
    assert "## License\n\nCC BY 4.0, J. Doe\n" in tiny_package.read_card(path)
    before = of_its_end(run_dir)
    assert small_run.run(data, run_dir, *settings, resume=True) == 0
    assert of_its_end(run_dir) == before


def test_a_run_that_was_killed_before_it_said_its_end_validates_again(data, tmp_path):
    run_dir, settings = tmp_path / "run", ("data.validation=1", "training.steps=1")
    assert small_run.run(data, run_dir, *settings) == 0
    lines = (run_dir / "events.jsonl").read_text().splitlines()
    (run_dir / "events.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert small_run.run(data, run_dir, *settings, resume=True) == 0
    assert kinds(run_dir).count("validated") == 2
    assert kinds(run_dir)[-1] == "finished"


def test_a_run_can_be_watched_and_stopped_while_scans_are_read(data, tmp_path, monkeypatch):
    """In a folder that is there, as a panel makes it, before anything else is written."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    emit, seen = Reporter.emit, []

    def stop_at_once(self, event):
        emit(self, event)
        if event.kind == "stage":
            seen.append((event.name, kinds(run_dir), (run_dir / "lock").exists()))
            (run_dir / "cancel").touch()

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "emit", stop_at_once)
        assert small_run.run(data, run_dir) == 3
    assert seen == [("audit", ["started", "stage"], True)]
    assert kinds(run_dir)[-1] == "cancelled"
    assert {path.name for path in run_dir.iterdir()} <= {"events.jsonl", "log.txt"}
    assert small_run.run(data, run_dir, "training.steps=1") == 0  # it is free for another start


def test_a_bad_data_set_is_told_in_the_folder_where_it_is_there(tmp_path):
    data = small_run.write_scans(tmp_path / "data")
    (data / "images" / "scan0.nii.gz").write_bytes(b"\x1f\x8bnonsense")
    (tmp_path / "run").mkdir()
    assert small_run.run(data, tmp_path / "run") == 2
    (last,) = small_run.events(tmp_path / "run")[-1:]
    assert (last["event"], last["exit_code"]) == ("failed", 2)
    assert "case 'scan0': 'data/images/scan0.nii.gz': not a whole" in last["message"]
    assert str(tmp_path) not in (tmp_path / "run" / "events.jsonl").read_text()
    assert not (tmp_path / "run" / "lock").exists()


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


def again(data, first, second, *more):
    """Do as docs/reference/run-directory.md says: two files, and --resume."""
    second.mkdir()
    for name in ("config.json", "split.json"):
        shutil.copy(first / name, second / name)
    return main(["--data", str(data), "--run-dir", str(second), "--resume", *map(str, more)])


def test_a_run_can_be_done_again_from_its_settings_and_its_split(data, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert small_run.run(data, first, "training.steps=2", "data.validation=1") == 0
    assert again(data, first, second) == 0
    assert small_run.fingerprint(second) == small_run.fingerprint(first)
    packages = [(run / "package" / "last.dycon").read_bytes() for run in (first, second)]
    assert packages[0] == packages[1]
    (said,) = (e["message"] for e in small_run.events(second) if e.get("topic") == "resume")
    assert (
        "or its config.json and split.json were copied to do it again; starting at step 0" in said
    )


def test_a_run_done_again_starts_from_the_same_package_or_not_at_all(data, tmp_path, start, capsys):
    first, other = tmp_path / "first", tmp_path / "other" / "last.dycon"
    settings = ("training.steps=2", "data.validation=1")
    assert small_run.run(data, first, *settings, package=start) == 0
    assert again(data, first, tmp_path / "second", "--package", start) == 0
    assert small_run.fingerprint(tmp_path / "second") == small_run.fingerprint(first)
    other.parent.mkdir()
    shutil.copy(first / "package" / "last.dycon", other)
    assert again(data, first, tmp_path / "third", "--package", other) == 2
    assert "package 'last.dycon': is not the one that the run started from" in (
        capsys.readouterr().err
    )


def test_the_versions_of_a_run_are_noted_where_they_change(data, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 1)
        assert small_run.run(data, run_dir) == 3
    (noted,) = json.loads((run_dir / "versions.json").read_text())
    assert noted == versions.versions()
    assert noted["torch"] == torch.__version__
    assert noted["engine_sources"] == source_digest()
    monkeypatch.setattr(versions, "source_digest", lambda: "0123456789ab")
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 2)
        assert small_run.run(data, run_dir, resume=True) == 3
    assert small_run.run(data, run_dir, resume=True) == 0  # other sources decide nothing
    noted = json.loads((run_dir / "versions.json").read_text())
    assert [each["engine_sources"] for each in noted] == [source_digest(), "0123456789ab"]
    info = read_info(run_dir / "package" / "last.dycon")
    assert info.training["engine_sources"] == source_digest()
    assert f"- engine sources: {source_digest()}" in tiny_package.read_card(
        run_dir / "package" / "last.dycon"
    )


@pytest.mark.parametrize("text", ["", "{", "5", "[NaN]", '[{"torch": NaN}]', '{"a": 1}'])
def test_damaged_versions_are_written_anew(tmp_path, text):
    path = tmp_path / "versions.json"
    path.write_text(text)
    versions.note_versions(path)
    assert json.loads(path.read_text()) == [versions.versions()]


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


def test_a_patch_that_the_network_cannot_take_is_refused_before_a_run_is_there(
    data, tmp_path, capsys
):
    run_dir = tmp_path / "run"
    assert small_run.run(data, run_dir, "training.patch_size=[9, 8, 8]") == 2
    words = "found [9, 8, 8], expected multiples of [2, 2, 2] for this network; take e.g. [8, 8, 8]"
    assert words in capsys.readouterr().err
    assert small_run.run(data, run_dir, "training.steps=1") == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("network.stem=2", "network 'vnet' has no stem"),
        ("method.fecl_scope=oracle", "unlock it with method.unlock_oracle=true"),
    ],
)
def test_settings_that_fit_nothing_are_refused_before_a_scan_is_read(
    tmp_path, capsys, setting, words
):
    choice = ("network.name=vnet", "network.upsampling=transposed", "method.name=dycon")
    assert small_run.run(tmp_path / "no data", tmp_path / "run", *choice, setting) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [(r"left\natrium", r"control characters in a text ('left\natrium')"), ("x" * 1001, "too long")],
)
def test_what_no_package_can_hold_is_told_before_the_first_step(
    data, tmp_path, capsys, name, words
):
    run_dir = tmp_path / "run"
    assert small_run.run(data, run_dir, f'data.label_names=["{name}"]') == 2
    text = capsys.readouterr().err
    assert "no model could be made of this run: " in text
    assert words in text
    assert {path.name for path in run_dir.iterdir()} <= {"events.jsonl", "log.txt"}
    assert kinds(run_dir)[-1] == "failed"


def test_voxels_of_five_micrometres_make_a_model(data, tmp_path):
    fine = ("preprocessing.spacing_mm=[0.005, 0.005, 0.005]", "training.steps=1")
    scans = tmp_path / "scans"
    shutil.copytree(data, scans)
    for path in scans.glob("*/scan[0-2].nii.gz"):
        image = nib.load(path)
        nib.Nifti1Image(np.asanyarray(image.dataobj), np.diag([0.005] * 3 + [1])).to_filename(path)
    for path in scans.glob("*/scan[3-5].nii.gz"):
        path.unlink()
    (scans / "order.txt").write_text("scan0\nscan1\nscan2\n")
    assert small_run.run(scans, tmp_path / "run", *fine) == 0
    info = read_info(tmp_path / "run" / "package" / "last.dycon")
    assert info.preprocessing.spacing_mm == (0.005, 0.005, 0.005)


def test_a_place_that_cannot_be_written_is_refused_before_the_data_is_read(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert small_run.run(tmp_path / "no data", tmp_path / "file" / "run") == 2
    assert "is no folder that may be written to" in capsys.readouterr().err


def test_changed_scans_are_noticed_on_resume(tmp_path, capsys, monkeypatch):
    data = small_run.write_scans(tmp_path / "data")
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 1)
        assert small_run.run(data, run_dir, "training.steps=2") == 3
    other = small_run.write_scans(tmp_path / "other", seed=1)
    (other / "images" / "scan3.nii.gz").replace(data / "images" / "scan3.nii.gz")
    text = refusal(capsys, data, run_dir, "training.steps=2", resume=True)
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


@pytest.fixture(scope="module")
def start(data, tmp_path_factory):
    """A package of three steps."""
    run_dir = tmp_path_factory.mktemp("start") / "first"
    assert small_run.run(data, run_dir, "training.steps=3") == 0
    return run_dir / "package" / "last.dycon"


def test_student_and_teacher_begin_with_the_weights_of_a_package(data, tmp_path, start):
    settings = ("training.steps=1", "training.learning_rate=0.0", "training.weight_decay=0.0")
    assert small_run.run(data, tmp_path / "second", *settings, package=start) == 0
    found = load_package(tmp_path / "second" / "package" / "last.dycon")
    weights = dict(load_package(start).predictor.named_parameters())
    for network in (found.predictor, found.partner):
        for name, value in network.named_parameters():
            assert torch.equal(value, weights[name]), name


def test_what_a_run_started_from_is_recorded_without_its_path(data, tmp_path, start):
    run_dir = tmp_path / "second"
    assert small_run.run(data, run_dir, "training.steps=1", package=start) == 0
    sha256 = hashlib.sha256(start.read_bytes()).hexdigest()
    stored = json.loads((run_dir / "config.json").read_text())
    assert stored["config"]["training"]["start_from"] == "last.dycon"
    assert stored["data"]["started_from"] == sha256
    package = load_package(run_dir / "package" / "last.dycon")
    assert package.info.training["started_from"] == sha256
    assert str(start.parent) not in (run_dir / "config.json").read_text()


def test_resuming_goes_on_from_the_checkpoint_and_remembers_the_start(
    data, tmp_path, start, monkeypatch
):
    """Also where the package is gone and its option is left out."""
    moved = tmp_path / "moved.dycon"
    moved.write_bytes(start.read_bytes())
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert small_run.run(data, whole, "training.steps=4", package=moved) == 0
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 2)
        assert small_run.run(data, parts, "training.steps=4", package=moved) == 3
    moved.unlink()
    assert small_run.run(data, parts, "training.steps=4", resume=True) == 0
    assert small_run.fingerprint(parts) == small_run.fingerprint(whole)
    packages = [load_package(run / "package" / "last.dycon") for run in (whole, parts)]
    assert packages[0].info.training == packages[1].info.training
    assert packages[1].info.training["started_from"]


def test_resuming_from_another_package_is_refused(data, tmp_path, start, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 2)
        small_run.run(data, tmp_path / "run", "training.steps=4", package=start)
    other = tmp_path / "other.dycon"
    other.write_bytes(start.read_bytes())
    capsys.readouterr()
    code = small_run.run(data, tmp_path / "run", "training.steps=4", resume=True, package=other)
    assert code == 2
    assert "training.start_from: run has last.dycon, now other.dycon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("network.filters=[4, 12]", "filters is [4, 8], here [4, 12]); add --set "),
        ("network.norm=group", "norm is batch, here group); add --set network.norm=batch\n"),
    ],
)
def test_a_package_of_another_network_is_refused_with_what_to_set(
    data, tmp_path, start, capsys, setting, words
):
    assert small_run.run(data, tmp_path / "run", setting, package=start) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("DyCON:") == 1
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs a POSIX shell")
def test_what_to_set_for_a_package_can_be_pasted_into_a_shell(data, tmp_path, start, capsys):
    """Also where files of the folder would match its brackets."""
    others = ("network.filters=[4, 12]", "network.stem=2")
    assert small_run.run(data, tmp_path / "run", *others, package=start) == 2
    hint = capsys.readouterr().err.partition("; add ")[2].strip()
    (tmp_path / "network.filters=4").touch()
    printed = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\\n' {hint}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert printed == ["--set", "network.filters=[4,8]", "--set", "network.stem=1"]
    assert small_run.run(data, tmp_path / "run", *printed[1::2], package=start) == 0


def test_a_package_of_other_channels_or_labels_is_refused(data, tmp_path, start, capsys):
    package = load_package(start)
    for name, changes, words in (
        (
            "channels",
            {"channels": ("a", "b"), "seen": None},
            "takes 2 channels (a, b), the data has 1",
        ),
        ("labels", {"labels": (Label(0, "bg"), Label(7, "x"))}, "labels are [0, 7], the data has"),
    ):
        info = dataclasses.replace(package.info, **changes)
        builder = NetworkBuilder(info.network, len(info.channels), info.classes)
        save_package(tmp_path / f"{name}.dycon", info, builder().state_dict(), None)
        assert small_run.run(data, tmp_path / "run", package=tmp_path / f"{name}.dycon") == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("DyCON:") == 1


def test_a_package_prepared_otherwise_is_a_warning(data, tmp_path, start):
    settings = ("training.steps=1", "preprocessing.spacing_mm=[2.5, 2, 2]")
    assert small_run.run(data, tmp_path / "run", *settings, package=start) == 0
    (line,) = (e for e in small_run.events(tmp_path / "run") if e.get("topic") == "start")
    assert (
        "was trained with spacing_mm [2.0, 2.0, 2.0], this run has [2.5, 2.0, 2.0]"
        in (line["message"])
    )


def test_the_report_counts_undefined_distances_as_null(data, tmp_path):
    run_dir = tmp_path / "run"
    settings = ("data.validation=2", "training.steps=1", "training.learning_rate=0.0")
    assert small_run.run(data, run_dir, *settings) == 0
    report = json.loads((run_dir / "report" / "validation.json").read_text())
    assert [case["case"] for case in report["cases"]] == ["validation 1", "validation 2"]
    for case in report["cases"]:
        (scores,) = case["classes"].values()
        assert (scores["hd95_mm"] is None) == (scores["prediction_voxels"] == 0)


def compiled_as(monkeypatch, call):
    """Have `Module.compile` put `call(module)` in the place of the compiled forward pass."""

    def pretend(module):
        module._compiled_call_impl = call(module)

    monkeypatch.setattr(torch.nn.Module, "compile", pretend)


def test_compiling_changes_nothing_of_a_run_or_of_what_it_resumes(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Network, "rebuilds", False)  # compiled ones never do
    assert small_run.run(data, tmp_path / "plain") == 0
    passes = []

    def watched(module):
        def call(*arguments):
            passes.append((torch.is_grad_enabled(), module.training))
            return module._call_impl(*arguments)

        return call

    compiled_as(monkeypatch, watched)
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 3)
        assert small_run.run(data, run_dir, "training.compile=true") == 3
    assert passes[:2] == [(True, True), (False, False)]  # both networks, the student as in a step
    assert small_run.run(data, run_dir, "training.compile=true", resume=True) == 0
    assert small_run.fingerprint(run_dir) == small_run.fingerprint(tmp_path / "plain")
    assert warnings(run_dir) == warnings(tmp_path / "plain")


@pytest.mark.parametrize("where", ["gradients", "teacher"])
def test_a_network_that_cannot_be_compiled_is_told_and_trained_without(
    data, tmp_path, monkeypatch, where
):
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x.clone()

        @staticmethod
        def backward(_ctx, _grad):
            raise RuntimeError("no compiler\nat all")

    def failing(module):
        def call(*arguments):
            if where == "teacher" and not module.training:
                raise RuntimeError("no compiler\nat all")
            found = module._call_impl(*arguments)
            if where == "gradients":
                found = found._replace(logits=Fails.apply(found.logits))
            return found

        return call

    assert small_run.run(data, tmp_path / "plain") == 0
    compiled_as(monkeypatch, failing)
    assert small_run.run(data, tmp_path / "run", "training.compile=true") == 0
    told = [e for e in small_run.events(tmp_path / "run") if e["event"] == "warning"]
    assert (
        "does not work here (no compiler); going on"
        in {e["topic"]: e for e in told}["compile"]["message"]
    )
    assert small_run.fingerprint(tmp_path / "run") == small_run.fingerprint(tmp_path / "plain")


def test_what_resuming_elsewhere_changes_is_told_or_refused(data, tmp_path, capsys, monkeypatch):
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        small_run.cancel_after(patch, 1)
        assert small_run.run(data, run_dir, "training.steps=2") == 3
    path = run_dir / "config.json"
    content = json.loads(path.read_text())
    assert (content["data"]["processes"], content["data"]["precision"]) == (1, "fp32")
    content["data"]["processes"] = 2
    path.write_text(json.dumps(content))
    text = refusal(capsys, data, run_dir, "training.steps=2", resume=True)
    assert "with 1 training processes, the run has 2" in text
    content["data"] |= {"processes": 1, "precision": "bf16"}
    path.write_text(json.dumps(content))
    assert small_run.run(data, run_dir, "training.steps=2", resume=True) == 0
    (told,) = [e for e in small_run.events(run_dir) if e.get("topic") == "precision"]
    assert "started in bf16 and goes on in fp32" in told["message"]


def test_what_is_not_reproducible_on_a_gpu_is_told_once(recwarn):
    warnings_module.simplefilter("always")
    told = []
    values, where = torch.tensor([1.0, 2.0]), torch.tensor([0, 1])
    determinism.switch(on=True)
    try:
        with determinism.tolerant(torch.device("cuda"), told.append):
            for _ in range(2):
                torch.zeros(5).put_(where, values)  # has no reproducible form on any device
        with determinism.tolerant(torch.device("cpu"), told.append), pytest.raises(RuntimeError):
            torch.zeros(5).put_(where, values)
    finally:
        torch.use_deterministic_algorithms(False)
    (sentence,) = told
    assert "'put_' has no bit-reproducible form on cuda" in sentence
    assert not recwarn.list


def test_fp32_is_without_tf32_on_cuda():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    try:
        found = {}
        for precision in ("fp32", "auto", "bf16"):
            configure(TrainingConfig(precision=precision, threads=1))
            found[precision] = torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before
    assert found == {"fp32": False, "auto": True, "bf16": True}
