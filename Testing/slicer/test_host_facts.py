"""The host holds the facts that run_in_slicer.py checks in the real application."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.slicer.facts import FACTS


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_fact(slicer_qt, fact):
    fact()


USE = """
from Testing.slicer.host import qt as host_qt, views
host_qt.start_qt()
import numpy as np, qt, slicer
node = slicer.util.addVolumeFromArray(np.zeros((9, 9, 9), "f4"))
slicer.util.setSliceViewerLayers(background=node)
views.SliceView("Red").render()
selector = slicer.qMRMLNodeComboBox()
selector.setMRMLScene(slicer.mrmlScene)
timer = qt.QTimer()
timer.connect("timeout()", lambda: None)
timer.start(10)
"""


def test_a_process_that_used_everything_ends_quietly(slicer_views):
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", USE], cwd=root, capture_output=True, text=True, check=False
    )
    drivers = ("MESA", "libEGL")  # what a machine's graphics driver says is not ours
    said = [line for line in ended.stderr.splitlines() if not line.startswith(drivers)]
    assert (ended.returncode, said, ended.stdout) == (0, [], "")


def test_the_runner_for_the_real_application_counts_and_ends_it(slicer_qt, monkeypatch, capsys):
    import slicer

    ended = []
    monkeypatch.setattr(slicer.util, "exit", ended.append)
    runpy.run_path(str(Path(__file__).with_name("run_in_slicer.py")))
    said = capsys.readouterr().out
    assert "FAILED  DyCONSegmentation" in said  # no module is loaded here
    assert f"{len(FACTS)} passed, 2 failed" in said
    assert ended == [1]
