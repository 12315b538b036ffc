"""UA-MT (MICCAI 2019, arXiv 1907.07034): Mean Teacher where the teacher is sure of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dycon_engine.data.batch import Batch
from dycon_engine.losses.consistency import masked_mean_squared
from dycon_engine.losses.uncertainty import TINY, posterior
from dycon_engine.methods.perturbations import add_noise
from dycon_engine.methods.teacher import require_unlabeled
from dycon_engine.methods.teaching import TeacherMethod, TeachingConfig, pass_both, ramped, watch
from dycon_engine.schedules import Progress, sigmoid_rampup
from dycon_engine.settings import setting


@dataclass(frozen=True, kw_only=True)
class UaMtConfig(TeachingConfig):
    """Settings of UA-MT."""

    passes: int = setting(
        8, "T, random teacher passes whose mean gives the uncertainty. Paper: 8.", low=1
    )
    pass_noise: float = setting(
        0.1, "sd of the noise on each of these passes, clipped at 2 sd. Paper: 0.1.", low=0.0
    )
    threshold_start: float = setting(
        0.75,
        "Voxels count where the entropy is below this share of ln K, at the start. Paper: 0.75.",
        unit="share",
        low=0.0,
    )
    threshold_end: float = setting(
        1.0, "The same at the end of the ramp. Paper: 1.", unit="share", low=0.0
    )


class UaMt(TeacherMethod):
    """(CE + Dice)[lb] + w(t) M MSE(p_s, p_t)[ub], M = 1[H(mean of T passes) < h(t) ln K]."""

    Config = UaMtConfig
    config: UaMtConfig

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the terms cross_entropy, dice and consistency."""
        require_unlabeled(batch.unlabeled, "ua_mt")
        config = self.config
        terms, student, teacher = pass_both(self.pair, batch, config)
        uncertainty = self._uncertainty(batch.unlabeled)
        threshold = self._threshold(progress) * math.log(student.p.shape[1])
        mask = uncertainty < threshold
        weight = ramped(config.consistency_weight, config.rampup, progress)
        terms["consistency"] = weight * masked_mean_squared(student.p, teacher.p, mask)
        self.diagnostics = watch(batch, student, teacher) | {
            "consistency_weight": weight,
            "entropy_teacher": uncertainty.mean(),
            "confident": mask.float().mean(),
        }
        return terms

    @torch.no_grad()
    def _uncertainty(self, unlabeled: Tensor) -> Tensor:
        """Return H of the mean over T noisy passes with dropout, (U, D, H, W), in nats."""
        config = self.config
        total = torch.zeros(())
        for index in range(config.passes):
            noisy = add_noise(unlabeled, config.pass_noise)
            p = posterior(self.pair.teacher(noisy, dropout=True).logits).p
            total = p if index == 0 else total.add_(p)
        mean = total / config.passes
        return -(mean * mean.clamp_min(TINY).log()).sum(1)

    def _threshold(self, progress: Progress) -> float:
        """Return h(t) = start + (end - start) * ramp, a share of the largest entropy."""
        config = self.config
        ramp = sigmoid_rampup(progress.fraction / config.rampup) if config.rampup > 0.0 else 1.0
        return config.threshold_start + (config.threshold_end - config.threshold_start) * ramp
