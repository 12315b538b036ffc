"""What all recipes with a student and its EMA teacher share: settings, passes, who predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dycon_engine.data.batch import Batch
from dycon_engine.losses.uncertainty import Posterior, foreground_fraction, posterior
from dycon_engine.methods.base import Method, MethodConfig
from dycon_engine.methods.collapse import foregrounds
from dycon_engine.methods.passes import viewed_passes
from dycon_engine.methods.perturbations import add_noise, strong_intensity
from dycon_engine.methods.supervision import Output, Supervision
from dycon_engine.methods.teacher import Pair
from dycon_engine.methods.views import View, mixed, turned
from dycon_engine.networks.base import Network
from dycon_engine.networks.composing import BuildNetwork
from dycon_engine.schedules import Progress
from dycon_engine.settings import setting


@dataclass(frozen=True, kw_only=True)
class TeachingConfig(MethodConfig):
    """Settings of Mean Teacher; the methods with a teacher add theirs."""

    consistency_weight: float = setting(
        0.1,
        "w, largest weight of the consistency MSE(p_s, p_t). Paper: 0.1.",
        low=0.0,
        main=True,
    )
    rampup: float = setting(
        0.3,
        "The weights of the unlabeled terms rise as exp(-5 (1 - x)^2) over this share of the "
        "steps; 0 = at once. Papers: 40 to 100 % of theirs.",
        unit="share",
        low=0.0,
        high=1.0,
        main=True,
    )
    ema_decay: float = setting(
        0.99,
        "a, largest decay of the teacher: min(1 - 1/(k+1), a). Paper: 0.99.",
        low=0.0,
        high=1.0,
    )
    student_noise: float = setting(
        0.0, "sd of the noise on the student's unlabeled patches. Paper: 0.", unit="sd", low=0.0
    )
    teacher_noise: float = setting(
        0.05, "sd of the noise on the teacher's patches, clipped at 2 sd. Paper: 0.1.", low=0.0
    )
    strong_intensity: float = setting(
        1.0,
        "Strength of the intensity changes of the student's unlabeled patches; 0 = off. Paper: 0.",
        low=0.0,
        high=2.0,
    )
    predict_with: str = setting(
        "teacher",
        "Which of the two is validated and shipped. Paper: student.",
        choices=("teacher", "student"),
    )


@dataclass(frozen=True, kw_only=True)
class LateConfig(TeachingConfig):
    """Settings of recipes that can begin supervised and turn or mix what the student sees."""

    start: float = setting(
        0.0,
        "The first share of the steps is supervised only; the terms of unlabeled patches, and "
        "their ramp, begin after it. Papers: 0.",
        unit="share",
        low=0.0,
        high=0.99,
    )
    strong_geometry: float = setting(
        0.0,
        "Strength of the rotation and zoom of the student's unlabeled patches, which the "
        "teacher's answer follows; 0 = off, both see the same geometry. Paper: 0.",
        low=0.0,
        high=2.0,
    )
    mixing: float = setting(
        0.0,
        "Chance that a box of a student's unlabeled patch, or all around it, comes from a labeled "
        "one with its label (copy-paste as in BCP); 0 = off. Paper: 0.",
        unit="share",
        low=0.0,
        high=1.0,
        main=True,
    )


class TeacherMethod(Method):
    """A recipe with a student that gradients train and a teacher that follows it.

    A subclass writes `forward`; one whose student is more than a network writes `build_student`.
    """

    Config = TeachingConfig

    def __init__(self, build_network: BuildNetwork, config: TeachingConfig) -> None:
        super().__init__(build_network, config)
        network = build_network()
        self.pair = Pair(
            self.build_student(network),
            maximum_decay=config.ema_decay,
            predict_with=config.predict_with,
        )
        self.supervision = Supervision(config, network)

    def build_student(self, network: Network) -> nn.Module:
        """Return the module that learns, with `network` as itself or as a direct part.

        It returns a named tuple with at least `logits` and `levels`, as of `Features`.
        """
        return network

    def predictor(self) -> nn.Module:
        """Return teacher or student, as the setting `predict_with` says."""
        return self.pair.predictor()

    def student(self) -> nn.Module:
        """Return the student as image -> logits."""
        return self.pair.partner()

    def after_step(self, progress: Progress) -> None:
        """Move the teacher."""
        self.pair.after_step(progress)


def supervised_step(method: TeacherMethod, batch: Batch) -> dict[str, Tensor]:
    """Return the supervised terms of a step that leaves the unlabeled patches unseen."""
    found = method.pair.student(batch.image)
    return method.supervision.terms([Output(posterior(found.logits), found.levels)], batch.label)


def student_view(unlabeled: Tensor, config: TeachingConfig) -> Tensor:
    """Return the student's version of unlabeled patches (U, C, D, H, W)."""
    return add_noise(strong_intensity(unlabeled, config.strong_intensity), config.student_noise)


def changed_view(batch: Batch, config: LateConfig) -> View:
    """Return `student_view` of the unlabeled patches, turned, zoomed and mixed before."""
    view = turned(batch.unlabeled, config.strong_geometry)
    view = mixed(view, batch.image, batch.label, config.mixing)
    return view._replace(image=student_view(view.image, config))


def watch(
    batch: Batch, student: Posterior, teacher: Posterior, view: View | None = None
) -> dict[str, Tensor | float]:
    """Return the foreground fractions that tell a collapse; detached scalars.

    What the `view` mixed in is left out: the student knows the labeled patches by heart.
    """
    where = view.unknown if view is not None else None
    with torch.no_grad():
        return foregrounds(batch, student.p, where) | {
            "foreground_teacher": foreground_fraction(teacher.p, where)
        }


class Passes(NamedTuple):
    """One step's passes of a student and its teacher.

    Attributes:
        terms: The supervised terms.
        student: Probabilities (U, K, D, H, W) on the student's view of the unlabeled patches.
        teacher: The same shape, of the teacher on its own view.
        view: What the student saw.
    """

    terms: dict[str, Tensor]
    student: Posterior
    teacher: Posterior
    view: View


def pass_both(
    method: TeacherMethod, batch: Batch, view: Callable[[], View] | None = None
) -> Passes:
    """Return the passes that Mean Teacher and its variants without further features need.

    Args:
        method: The recipe.
        batch: B labeled and U unlabeled patches.
        view: Makes the student's view of the unlabeled patches; default: `student_view`.
    """
    pair, config = method.pair, method.config
    make = view or (lambda: View(student_view(batch.unlabeled, config)))
    labeled, unlabeled, seen = viewed_passes(pair.student, batch.image, make)
    known = Output(posterior(labeled.logits), labeled.levels)
    terms = method.supervision.terms([known], batch.label)
    taught = pair.teacher(add_noise(batch.unlabeled, config.teacher_noise))
    student = posterior(unlabeled.logits)
    return Passes(terms, student, seen.follow(posterior(taught.logits), student), seen)
