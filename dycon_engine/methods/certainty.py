"""Where a teacher is sure of itself: the entropy of the mean of stochastic passes (UA-MT)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dycon_engine.losses.uncertainty import TINY, posterior
from dycon_engine.methods.perturbations import add_noise
from dycon_engine.methods.teacher import Teacher
from dycon_engine.methods.teaching import TeachingConfig
from dycon_engine.schedules import Progress, sigmoid_rampup
from dycon_engine.settings import setting


@dataclass(frozen=True, kw_only=True)
class CertaintyConfig(TeachingConfig):
    """Settings of a teacher and of where it counts."""

    passes: int = setting(
        8,
        "T, random teacher passes whose mean gives the uncertainty. Paper: 8.",
        low=1,
        main=True,
    )
    pass_noise: float = setting(
        0.1, "sd of the noise on each of these passes, clipped at 2 sd. Paper: 0.1.", low=0.0
    )
    threshold_start: float = setting(
        0.75,
        "Voxels count where the entropy is below this share of ln 2, at the start. Paper: 0.75.",
        unit="share",
        low=0.0,
    )
    threshold_end: float = setting(
        1.0, "The same at the last step. Paper: 1.", unit="share", low=0.0
    )


class Certainty(NamedTuple):
    """What the stochastic passes say.

    Attributes:
        mask: (B, D, H, W) bool, where the teacher is sure.
        entropy: (B, D, H, W) in nats.
    """

    mask: Tensor
    entropy: Tensor


def certainty(
    teacher: Teacher, image: Tensor, config: CertaintyConfig, progress: Progress
) -> Certainty:
    """Return 1[H(mean of T noisy passes with dropout) < h(t) ln 2] and that entropy H.

    ln 2, the entropy of the toss of a coin between two classes, for any number of classes: of
    ln K with K >= 3 it would count as sure. SSL4MIS keeps ln 2 with four classes as well.

    Args:
        teacher: Image -> a named tuple with `logits`.
        image: (B, C, D, H, W).
        config: T, noise, h at the first and at the last step.
        progress: Where training stands.
    """
    entropy = mean_entropy(teacher, image, config)
    ramp = sigmoid_rampup(progress.fraction)  # over all steps, as in the released codes
    share = config.threshold_start + (config.threshold_end - config.threshold_start) * ramp
    return Certainty(entropy < share * math.log(2.0), entropy)


@torch.no_grad()
def mean_entropy(teacher: Teacher, image: Tensor, config: CertaintyConfig) -> Tensor:
    """Return H of the mean over T passes, (B, D, H, W) in nats."""
    total = torch.zeros(())
    for index in range(config.passes):
        noisy = add_noise(image, config.pass_noise)
        p = posterior(teacher(noisy, dropout=True).logits).p
        total = p if index == 0 else total.add_(p)
    mean = total / config.passes
    return -(mean * mean.clamp_min(TINY).log()).sum(1)
