"""The command line of train: settings, refusals, exit codes; one run in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dycon_engine import config as settings
from dycon_engine import train
from dycon_engine.errors import InputError
from dycon_engine.jobs.client import EventTail, RunState, run_state
from dycon_engine.networks import devices
from dycon_engine.training import options
from Testing.engine.training import small_run

ROOT = Path(__file__).resolve().parents[2]


def parsed(*arguments):
    return train._parser().parse_args(["--data", "d", "--run-dir", "r", *arguments])


def test_later_sources_win(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("[training]\nsteps = 5\nseed = 6\n")
    arguments = parsed("--profile", "paper", "--config", str(config), "--method", "ua_mt",
                       "--device", "cpu", "--set", "training.seed=7")  # fmt: skip
    chosen = options.choose_config(arguments, None)
    assert chosen.network.name == "vnet"
    assert (chosen.training.steps, chosen.training.seed) == (5, 7)
    assert (chosen.method.name, chosen.training.device) == ("ua_mt", "cpu")


def test_a_resumed_run_keeps_its_settings_and_takes_new_ones_over_them():
    stored = settings.resolve("paper", (), ["training.steps=9"])
    assert options.choose_config(parsed("--resume"), stored) == stored
    changed = options.choose_config(parsed("--resume", "--set", "training.threads=1"), stored)
    assert (changed.training.steps, changed.training.threads) == (9, 1)


def test_the_default_profile_follows_the_device():
    assert options.default_profile("cpu") == "laptop"
    assert options.default_profile("cuda:1") == "gpu"


@pytest.mark.parametrize("source", ["--device", "--set", "file"])
def test_the_default_profile_follows_the_device_wherever_it_is_set(tmp_path, monkeypatch, source):
    monkeypatch.setattr(devices, "present", lambda: ("cuda",))
    monkeypatch.setattr(devices, "works", lambda _device: True)
    config = tmp_path / "run.toml"
    config.write_text('[training]\ndevice = "cpu"\n')
    arguments = {
        "--device": ("--device", "cpu"),
        "--set": ("--set", "training.device=cpu"),
        "file": ("--config", str(config)),
    }[source]
    gpu, laptop = settings.resolve("gpu"), settings.resolve("laptop")
    assert options.choose_config(parsed(), None) == gpu
    assert options.choose_config(parsed(*arguments), None).network == laptop.network
    explicit = options.choose_config(parsed("--profile", "gpu", *arguments), None)
    assert explicit.network == gpu.network


def test_a_gpu_that_runs_no_kernel_is_no_gpu_for_the_default_profile(monkeypatch):
    monkeypatch.setattr(devices, "present", lambda: ("cuda",))
    monkeypatch.setattr(devices, "works", lambda device: device.type == "cpu")
    assert options.choose_config(parsed(), None) == settings.resolve("laptop")


def test_a_file_may_name_the_profile(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('profile = "paper"\n')
    assert options.choose_config(parsed("--config", str(config)), None).network.name == "vnet"


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_the_profile_of_the_command_line_wins_over_that_of_a_file(tmp_path, more):
    config = tmp_path / "run.toml"
    config.write_text('profile = "paper"\n[training]\nsteps = 5\n')
    arguments = parsed("--profile", "laptop", "--config", str(config), *more)
    chosen = options.choose_config(arguments, settings.resolve("gpu") if more else None)
    assert chosen == settings.resolve("laptop", (), ["training.steps=5"])


def test_of_several_files_later_ones_win(tmp_path):
    first, second, third = (tmp_path / f"{number}.toml" for number in range(3))
    first.write_text('profile = "laptop"\n[training]\nsteps = 5\nseed = 1\n')
    second.write_text('profile = "paper"\n')
    third.write_text("[training]\nseed = 2\n")
    files = [word for path in (first, second, third) for word in ("--config", str(path))]
    chosen = options.choose_config(parsed(*files), None)
    assert chosen == settings.resolve("paper", (), ["training.steps=5", "training.seed=2"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "training.stps=4"], "did you mean 'steps'"),
        (["--method", "dicon"], "did you mean 'dycon'"),
        (["--set", "training.steps=many"], "expected"),
        (["--set", "training.autosave_minutes=inf"], "expected a finite number, found inf"),
        (["--config", "absent.toml"], "absent.toml"),
    ],
)
def test_a_wrong_setting_is_one_line_and_writes_nothing(tmp_path, capsys, arguments, words):
    data = small_run.write_scans(tmp_path / "data")
    run_dir = tmp_path / "run"
    base = ["--data", str(data), "--run-dir", str(run_dir), "--device", "cpu"]
    assert train.main([*base, *arguments]) == 2
    text = capsys.readouterr().err
    assert text.startswith("DyCON: ")
    assert words in text
    assert text.count("\n") == 1
    assert not run_dir.exists()


def test_data_that_is_not_there(tmp_path, capsys):
    code = train.main(["--data", str(tmp_path / "no"), "--run-dir", str(tmp_path / "run")])
    assert code == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_unknown_arguments_are_bad_usage():
    with pytest.raises(SystemExit) as caught:
        train.main(["--data", "d"])
    assert caught.value.code == 2
    with pytest.raises(InputError):
        options.choose_config(parsed("--set", "nonsense"), None)


def test_a_process_of_its_own_in_odd_places(tmp_path):
    data = small_run.write_scans(tmp_path / "data \u60a3\u8005 ' %")
    run_dir = tmp_path / "run \u00fc \U0001f600"
    assignments = [
        text.replace("order.txt", str(data / "order.txt")) for text in small_run.SETTINGS
    ]
    sets = [part for text in (*assignments, "training.steps=2") for part in ("--set", text)]
    result = subprocess.run(
        [sys.executable, "-m", "dycon_engine.train", "--data", data, "--run-dir", run_dir, *sets],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout == (run_dir / "events.jsonl").read_bytes()
    events = EventTail(run_dir / "events.jsonl").read()
    assert [e.kind for e in events if e.kind in ("started", "step", "finished")] == [
        "started",
        "started",
        "step",
        "step",
        "finished",
    ]
    assert run_state(run_dir) is RunState.FINISHED
