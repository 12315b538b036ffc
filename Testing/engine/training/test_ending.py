"""What a person at a terminal reads when a training is done."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path

import pytest

from dycon_engine import train
from dycon_engine.package import read_info
from dycon_engine.training.ending import ending
from Testing.engine.training import small_run

SUMMARY = {
    "steps": 4000,
    "package": "package/last.dycon",
    "validation_cases": 4,
    "dice": 0.87193,
    "dice_per_class": {"left atrium": 0.82771, "left ventricle": None},
    "student_dice": 0.8699,
    "best_dice": 0.9,
    "best_step": 2000,
    "temperature": 1.8,
    "ece": 0.0088,
    "steps_per_s": 1.8437,
    "data_wait_share": 0.0372,
    "peak_memory_mib": 500.29296875,
}


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        """Say so."""
        return True


def test_a_few_lines_of_plain_words_with_units():
    assert list(ending(SUMMARY, Path("runs/first"))) == [
        "Training is done: 4000 steps, 1.8 steps per second, at most 500 MiB of memory",
        (
            "Validated on 4 held-out scans: "
            "mean Dice 0.872 (left atrium 0.828, left ventricle not defined); 1 is perfect"
        ),
        "Best on the same scans: Dice 0.900 after step 2000, runs/first/package/best.dycon",
        "Model: runs/first/package/last.dycon",
        (
            "Next: dycon predict --package runs/first/package/last.dycon "
            "--input scan.nii.gz --output mask.nii.gz"
        ),
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"best_step": 4000}, "Validated on 4 held-out scans: mean Dice 0.872"),
        (
            {"validation_cases": 1, "dice_per_class": {"tumor": 0.87193}, "best_step": 4000},
            "Validated on 1 held-out scan: Dice 0.872 (tumor); 1 is perfect",
        ),
        ({"notice": "ORACLE AUDIT: not a model."}, "ORACLE AUDIT: not a model."),
    ],
)
def test_what_is_told_of_other_runs(changes, line):
    told = list(ending(SUMMARY | changes, Path("runs/first")))
    assert any(text.startswith(line) for text in told)
    assert any("best.dycon" in text for text in told) == ("best_step" not in changes)


def test_a_run_without_held_out_scans_says_that_nobody_knows_its_worth():
    told = list(ending({"steps": 1, "package": "package/last.dycon"}, Path("r")))
    assert told[:2] == [
        "Training is done: 1 step",
        "Not validated: no labeled scan was held out, so nobody knows how good the model is",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="quotes of a POSIX shell")
def test_a_person_can_paste_what_a_training_says_next(tmp_path, monkeypatch):
    data = small_run.write_scans(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    chosen = [text.replace("order.txt", str(data / "order.txt")) for text in small_run.SETTINGS]
    sets = [word for text in (*chosen, "data.validation=1") for word in ("--set", text)]
    assert train.main(["--data", "data", "--run-dir", "my runs/first", *sets]) == 0
    monkeypatch.undo()
    assert out.getvalue() == ""
    told = err.getvalue().splitlines()[-4:]
    assert told[1].startswith("Validated on 1 held-out scan: Dice ")
    words = shlex.split(told[-1])
    assert words[:3] == ["Next:", "dycon", "predict"]
    assert read_info(tmp_path / words[words.index("--package") + 1]).classes == 2
    assert "last.dycon" not in "".join(err.getvalue().splitlines()[:-2])
    last = small_run.events(tmp_path / "my runs" / "first")[-1]["summary"]
    assert last["package"] == "package/last.dycon"
    assert {"steps_per_s", "data_wait_share", "student_dice", "validation_cases"} <= set(last)
