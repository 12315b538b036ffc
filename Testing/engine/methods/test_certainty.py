"""Where UA-MT's and UG-MCL's teacher counts as sure."""

from __future__ import annotations

import math

import pytest
import torch

from dycon_engine.methods import certainty as module
from dycon_engine.methods.certainty import CertaintyConfig, certainty
from dycon_engine.schedules import Progress, sigmoid_rampup


@pytest.mark.parametrize("step", [0, 300, 500, 1000])
def test_the_threshold_rises_over_all_steps(step: int, monkeypatch) -> None:
    """As in the released codes: with the weights' shorter ramp every voxel would soon be sure."""
    share = 0.75 + 0.25 * sigmoid_rampup(step / 1000)
    entropy = torch.tensor([share - 1e-3, share + 1e-3]) * math.log(2)
    monkeypatch.setattr(module, "mean_entropy", lambda *_: (entropy, 2))
    config = CertaintyConfig(rampup=0.3)
    sure = certainty(None, torch.zeros(0), config, Progress(step, 1000)).mask
    assert sure.tolist() == [True, False]
