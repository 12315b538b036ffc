"""Where UA-MT's and UG-MCL's teacher counts as sure."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dycon_engine.methods import certainty as module
from dycon_engine.methods.certainty import CertaintyConfig, certainty
from dycon_engine.methods.teacher import Teacher
from dycon_engine.schedules import Progress, sigmoid_rampup

NO_NOISE = CertaintyConfig(pass_noise=0.0)


def _says(logits: torch.Tensor) -> Teacher:
    """Return a teacher that always answers the same."""
    return Teacher(_Answer(logits))


class _Answer(nn.Module):
    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: torch.Tensor) -> SimpleNamespace:
        """Return the same for every image."""
        return SimpleNamespace(logits=self.logits)


@pytest.mark.parametrize("step", [0, 300, 500, 1000])
def test_the_threshold_rises_over_all_steps(step: int, monkeypatch) -> None:
    """As in the released codes: with the weights' shorter ramp every voxel would soon be sure."""
    share = 0.75 + 0.25 * sigmoid_rampup(step / 1000)
    entropy = torch.tensor([share - 1e-3, share + 1e-3]) * math.log(2)
    monkeypatch.setattr(module, "mean_entropy", lambda *_: entropy)
    config = CertaintyConfig(rampup=0.3)
    sure = certainty(None, torch.zeros(0), config, Progress(step, 1000)).mask
    assert sure.tolist() == [True, False]


@pytest.mark.parametrize("classes", [2, 3, 4, 14])
@pytest.mark.parametrize("step", [0, 900])
def test_a_coin_toss_between_two_classes_is_never_sure(classes: int, step: int) -> None:
    """However many other classes there are; p = .9 and .1 is sure from the start."""
    logits = torch.full((1, classes, 1, 1, 2), -30.0)
    logits[0, :2] = torch.tensor([[0.0, math.log(9.0)], [0.0, 0.0]])[:, None, None]
    found = certainty(_says(logits), torch.zeros(1, 1, 1, 1, 2), NO_NOISE, Progress(step, 1000))
    assert found.mask.flatten().tolist() == [False, True]
