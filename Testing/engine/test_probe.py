"""The probe command: real steps, figures that fit them, nothing left behind."""

from __future__ import annotations

import json
import time

import pytest
import torch

from dycon_engine import probe
from dycon_engine.training import probing
from dycon_engine.training.trainer import Trainer
from Testing.engine.training import small_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_run.write_scans(tmp_path_factory.mktemp("scans") / "data")


@pytest.fixture
def measure(data, capsys):
    """Run the probe on the small scans; return exit code, its JSON and standard error."""

    def run(*more, seconds="0.05", root=data):
        settings = [
            text.replace("order.txt", str(data / "order.txt")) for text in small_run.SETTINGS
        ]
        sets = [word for text in settings for word in ("--set", text)]
        line = ["--data", str(root), "--seconds", seconds, "--json", *sets, *map(str, more)]
        code = probe.main(line)
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else {}, err

    return run


@pytest.fixture
def slow_steps(monkeypatch):
    """Every step takes .03 s; returns the step numbers and the kinds of batches that were done."""
    seen = []
    plain = Trainer.step

    def step(self, batch):
        seen.append((self.step_count, len(batch.unlabeled)))
        time.sleep(0.03)
        return plain(self, batch)

    monkeypatch.setattr(Trainer, "step", step)
    return seen


def test_figures_fit_the_steps_that_were_done(measure, slow_steps):
    code, found, _ = measure("--set", "training.steps=1000", "--minutes", 5, seconds="0.3")
    assert code == 0
    assert 0.03 <= found["step_s"] < 0.2
    assert found["steps_measured"] == len(slow_steps) - probing.WARM_UP_STEPS
    assert slow_steps[0] == (500, 2)  # in the middle of the run, with unlabeled patches
    assert found["steps"] == 1000
    seconds = found["overhead_s"] + 1000 * found["step_s"]
    assert found["expected_minutes"] == pytest.approx(seconds / 60)
    left = 300 - found["overhead_s"]
    assert found["steps_in_minutes"] == pytest.approx(left / found["step_s"], abs=1)
    assert 0 < found["memory_gib"] < found["available_gib"] * 10
    assert found["device"] == "cpu"
    assert found["device_name"]


def test_little_is_prepared_however_many_cases_there_are(measure, monkeypatch):
    read = []
    plain = probing.prepare

    def watching(plan, cache, reporter):
        read.extend(case.name for case in plan.dataset.cases)
        return plain(plan, cache, reporter)

    monkeypatch.setattr(probing, "prepare", watching)
    code, many, _ = measure("--set", "data.validation=1")
    assert code == 0
    assert sorted(read) == ["scan0", "scan1", "scan2", "scan3"]
    code, fewer, _ = measure("--set", "data.validation=0", "--method", "supervised")
    assert sorted(read[4:]) == ["scan0", "scan1"]
    assert many["overhead_s"] > 0
    assert fewer["overhead_s"] > 0


def test_nothing_is_left_behind(measure, tmp_path, monkeypatch, data):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(probing.tempfile, "tempdir", None)
    before = sorted(data.rglob("*"))
    assert measure()[0] == 0
    assert list(tmp_path.iterdir()) == []
    run_dir = tmp_path / "run"
    assert measure("--run-dir", run_dir)[0] == 0
    assert {path.name for path in run_dir.iterdir()} <= {"events.jsonl", "log.txt"}
    assert sorted(data.rglob("*")) == before


def test_cancelling_leaves_nothing_either(measure, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    plain = Trainer.step

    def step(self, batch):
        (run_dir / "cancel").touch()
        return plain(self, batch)

    monkeypatch.setattr(Trainer, "step", step)
    assert measure("--run-dir", run_dir, seconds="60")[0] == 3
    assert {path.name for path in run_dir.iterdir()} <= {"events.jsonl", "log.txt"}


def test_events_say_the_same_as_the_object(measure, tmp_path):
    _, found, _ = measure("--run-dir", tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").open()]
    assert events[-1]["event"] == "finished"
    assert events[-1]["summary"] == found
    stages = [event["name"] for event in events if event["event"] == "stage"]
    assert stages == ["audit", "prepare", "measure"]


def test_classes_that_the_first_cases_lack_do_not_stop_it(tmp_path, measure):
    """`train` reads all label maps; the probe must not judge by two."""
    root = small_run.write_scans(tmp_path / "data")
    manifest = ['channels = ["MR"]', "[labels]", "ball = 1", "cube = 2"]
    for number, name in enumerate(small_run.NAMES):
        role = "labeled" if number < 2 else "unlabeled"
        manifest += ["[[case]]", f'name = "{name}"', f'image = "images/{name}.nii.gz"']
        manifest += [f'role = "{role}"', f'label = "labels/{name}.nii.gz"' if number < 2 else ""]
    (root / "data.toml").write_text("\n".join(manifest))
    settings = ("--set", "data.order=none", "--set", "data.labeled=none")
    code, found, error = measure(*settings, root=root / "data.toml")
    assert code == 0, error
    assert found["step_s"] > 0


def test_what_is_free_is_asked_before_the_probe_takes_any_of_it(measure, monkeypatch):
    done = []
    plain = probing.Trainer
    monkeypatch.setattr(probing, "Trainer", lambda *a: done.append("trainer") or plain(*a))
    monkeypatch.setattr(
        probing, "device_available_bytes", lambda _device: done.append("free") or 3 * 2**30
    )
    code, found, _ = measure()
    assert code == 0
    assert done == ["free", "trainer"]
    assert found["available_gib"] == 3.0


def test_on_cuda_all_that_the_process_holds_is_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _device: 3 * 2**30)
    assert probing._peak_gib(torch.device("cuda", 0)) == 3.5


@pytest.fixture
def whole_scans():
    """Return whether networks outside of training ran in half precision, once they did."""
    seen = set()

    def watch(_module, _arguments):
        if torch.is_inference_mode_enabled():
            seen.add(torch.is_autocast_enabled("cpu"))

    with torch.nn.modules.module.register_module_forward_pre_hook(watch):
        yield seen


def test_a_window_is_timed_in_the_number_format_of_validation(measure, whole_scans, monkeypatch):
    """On the CPU validation is in float32 whatever the steps are in."""
    assert measure("--set", "training.precision=bf16")[0] == 0
    assert whole_scans == {False}
    whole_scans.clear()
    monkeypatch.setattr(probing, "whole_scan_dtype", lambda *_: torch.bfloat16)
    assert measure()[0] == 0
    assert whole_scans == {True}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--method", "dicon"], "did you mean 'dycon'"),
        (["--minutes", "0"], "--minutes 0.0: expected a number above 0"),
        (["--seconds", "nan"], "--seconds nan: expected a number above 0"),
        (["--package", "absent.dycon"], "absent.dycon"),
    ],
)
def test_bad_usage_is_one_line(measure, more, words):
    code, found, error = measure(*more)
    assert code == 2
    assert found == {}
    assert words in error
    assert error.count("DyCON:") == 1
