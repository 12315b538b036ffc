"""UA-MT (MICCAI 2019, arXiv 1907.07034): Mean Teacher where the teacher is sure of itself."""

from __future__ import annotations

from torch import Tensor

from dycon_engine.data.batch import Batch
from dycon_engine.losses.consistency import masked_mean_squared
from dycon_engine.methods.certainty import CertaintyConfig, certainty
from dycon_engine.methods.teacher import require_unlabeled
from dycon_engine.methods.teaching import TeacherMethod, pass_both, watch
from dycon_engine.schedules import Progress, ramped


class UaMt(TeacherMethod):
    """(CE + Dice)[lb] + w(t) M MSE(p_s, p_t)[ub], M = 1[H(mean of T passes) < h(t) ln 2]."""

    Config = CertaintyConfig
    config: CertaintyConfig

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the terms cross_entropy, dice and consistency."""
        require_unlabeled(batch.unlabeled, "ua_mt")
        config = self.config
        terms, student, teacher, _ = pass_both(self, batch)
        sure = certainty(self.pair.teacher, batch.unlabeled, config, progress)
        weight = ramped(config.consistency_weight, config.rampup, progress)
        terms["consistency"] = weight * masked_mean_squared(student.p, teacher.p, sure.mask)
        self.diagnostics = watch(batch, student, teacher) | {
            "consistency_weight": weight,
            "entropy_teacher": sure.entropy.mean(),
            "confident": sure.mask.float().mean(),
        }
        return terms
