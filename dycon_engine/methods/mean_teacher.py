"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017): the student agrees with its moving average."""

from __future__ import annotations

from torch import Tensor

from dycon_engine.data.batch import Batch
from dycon_engine.losses.consistency import mean_squared
from dycon_engine.methods.teacher import require_unlabeled
from dycon_engine.methods.teaching import (
    LateConfig,
    TeacherMethod,
    changed_view,
    pass_both,
    supervised_step,
    watch,
)
from dycon_engine.schedules import Progress, ramped


class MeanTeacher(TeacherMethod):
    """(CE + Dice)[lb] + w(t) MSE(p_s, p_t)[ub].

    Every supervised term is the same whatever the number of unlabeled patches (see `passes`).
    """

    Config = LateConfig
    config: LateConfig

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the terms cross_entropy, dice and, from `start` on, consistency."""
        require_unlabeled(batch.unlabeled, "mean_teacher")
        config = self.config
        if progress.fraction < config.start:
            self.diagnostics = {}
            return supervised_step(self, batch)
        terms, student, teacher, view = pass_both(self, batch, lambda: changed_view(batch, config))
        weight = ramped(config.consistency_weight, config.rampup, progress, start=config.start)
        terms["consistency"] = weight * mean_squared(student.p, teacher.p)
        self.diagnostics = watch(batch, student, teacher, view) | {"consistency_weight": weight}
        return terms

    def after_step(self, progress: Progress) -> None:
        """Move the teacher, close behind the student until `start`."""
        self.pair.after_step(progress, close=progress.fraction < self.config.start)
