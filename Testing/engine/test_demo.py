"""The demo, tiny: every command in its own process, one report at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dycon_engine import demo
from dycon_engine.errors import DyconError
from dycon_engine.jobs.reporter import Reporter

ROOT = Path(__file__).resolve().parents[2]


def test_the_whole_way_with_few_steps(tmp_path, monkeypatch):
    """Two steps on tiny phantoms; the figures mean nothing, the way is the real one."""
    monkeypatch.setattr(demo, "UNLABELED", 2)
    monkeypatch.setattr(demo, "TEST", 2)
    monkeypatch.setattr(demo, "VALIDATION", 1)
    monkeypatch.setattr(
        demo, "SETTINGS",
        ("preprocessing.spacing_mm=[8,8,8]", "network.filters=[4, 8, 8, 8]",
         "training.patch_size=[16, 16, 16]", "data.validation=1", "training.threads=1"),
    )  # fmt: skip
    monkeypatch.chdir(ROOT)
    output = tmp_path / "demo"
    assert demo.main(["--output", str(output), "--steps", "2", "--size", "16"]) == 0
    content = json.loads((output / "report" / "report.json").read_text())
    assert {row["prediction"] for row in content["summary"]} == set(demo.METHODS)
    assert len(content["cases"]) == 4
    assert len(content["differences"]) == 4
    assert set(content["calibration"]) == set(demo.METHODS)
    page = (output / "report" / "report.html").read_text()
    assert "Both methods: 2 steps" in page
    assert "not which method is better" in page
    for method in demo.METHODS.values():
        assert len(list((output / method / "uncertainty").glob("*.nii.gz"))) == 2


def test_a_used_folder_is_left_alone(tmp_path):
    used = tmp_path / "demo-run"
    used.mkdir()
    assert demo.free_folder(used) == used  # empty is free
    (used / "mine.txt").write_text("keep")
    assert demo.free_folder(used) == tmp_path / "demo-run-2"
    (tmp_path / "demo-run-2").write_text("a file")
    assert demo.free_folder(used) == tmp_path / "demo-run-3"


def test_steps_below_one_are_refused(tmp_path, capsys):
    assert demo.main(["--output", str(tmp_path / "x"), "--steps", "0"]) == 2
    assert "--steps 0: expected 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_failing_command_ends_the_demo_with_its_name(tmp_path, monkeypatch, capsys):
    for name in ("VALIDATION", "UNLABELED", "TEST"):
        monkeypatch.setattr(demo, name, 1)
    monkeypatch.setattr(demo, "SETTINGS", ("training.no_such_setting=1",))
    code = demo.main(["--output", str(tmp_path / "x"), "--steps", "1", "--size", "16"])
    assert code == 1
    assert "demo: train ended with exit code 2" in capsys.readouterr().err


def test_both_trainings_run_at_once_and_one_that_fails_ends_the_other(tmp_path, monkeypatch):
    """A child that waits for its sibling never ends where they run one after the other."""
    script = tmp_path / "meet.py"
    script.write_text(
        """
import sys, time
from pathlib import Path
own, other, code = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
own.touch()
while not other.exists():
    time.sleep(0.01)
time.sleep(60 * (code == 9))
sys.exit(code)
"""
    )
    popen = subprocess.Popen

    def start(command, **options):
        return popen([command[0], str(script), *command[3:]], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    demo._run("train", [[a, b, "0"], [b, a, "0"]], Reporter("demo"))
    with pytest.raises(DyconError, match="train ended with exit code 2"):
        demo._run("train", [[a, b, "9"], [b, a, "2"]], Reporter("demo"))


@pytest.mark.slow
def test_the_demo_as_the_readme_runs_it(tmp_path):
    """The real demo: both methods must find the chambers; minutes long."""
    command = [sys.executable, "-m", "dycon_engine.demo", "--output", str(tmp_path / "demo")]
    subprocess.run(command, cwd=ROOT, check=True)
    content = json.loads((tmp_path / "demo" / "report" / "report.json").read_text())
    for row in content["summary"]:
        assert row["metrics"]["dice"]["mean"] > 0.5
