"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017): the student agrees with its moving average."""

from __future__ import annotations

from torch import Tensor

from dycon_engine.data.batch import Batch
from dycon_engine.losses.consistency import mean_squared
from dycon_engine.methods.teacher import require_unlabeled
from dycon_engine.methods.teaching import TeacherMethod, TeachingConfig, pass_both, watch
from dycon_engine.schedules import Progress, ramped


class MeanTeacher(TeacherMethod):
    """(CE + Dice)[lb] + w(t) MSE(p_s, p_t)[ub].

    Every supervised term is the same whatever the number of unlabeled patches (see `passes`).
    """

    config: TeachingConfig

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the terms cross_entropy, dice and consistency."""
        require_unlabeled(batch.unlabeled, "mean_teacher")
        config = self.config
        terms, student, teacher = pass_both(self.pair, batch, config)
        weight = ramped(config.consistency_weight, config.rampup, progress)
        terms["consistency"] = weight * mean_squared(student.p, teacher.p)
        self.diagnostics = watch(batch, student, teacher) | {"consistency_weight": weight}
        return terms
