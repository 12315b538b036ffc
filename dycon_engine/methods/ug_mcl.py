"""UG-MCL (AIIM 2022, arXiv 2112.02508): two tasks that must agree where the teacher is sure.

    .5 (CE + Dice)(p_s, y) + .5 Dice(T^-1(d), y) + .3 MSE(d, d_gt)                    [lb]
    + w(t) (.5 mean_M |p_s - p_t|^2 + mean_M |T^-1(d) - p_s|^2)                       [all]

d is the signed distance map of a second head, T^-1(d) = sigmoid(-1500 d), M as in UA-MT.

Adaptations: the second head is a 1x1x1 convolution on the last decoder features, upsampled where
the network has a strided stem; d_gt is computed from the patch's label on the training device
(`losses.signed_distance`: never 0, so T^-1(d_gt) is the label); the student's unlabeled patches get
the intensity changes of all our methods, `strong_intensity` = 0 turns them off. With
`distance_head` = false, `distance_weight` = 0 and `mask_cross_task` = false d is the tanh of the
segmentation's own logits, without regression and mask, as in the released code, whose cross-task
term takes the background's channel too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dycon_engine.data.batch import Batch
from dycon_engine.losses.consistency import masked_mean_squared
from dycon_engine.losses.segmentation import dice_loss
from dycon_engine.losses.signed_distance import signed_distance, to_probability
from dycon_engine.losses.uncertainty import Posterior, posterior
from dycon_engine.methods.certainty import CertaintyConfig, certainty
from dycon_engine.methods.passes import student_passes
from dycon_engine.methods.perturbations import add_noise
from dycon_engine.methods.supervision import Output
from dycon_engine.methods.teacher import require_unlabeled
from dycon_engine.methods.teaching import TeacherMethod, student_view, watch
from dycon_engine.networks.base import Network
from dycon_engine.networks.blocks import Conv3d
from dycon_engine.schedules import Progress, ramped
from dycon_engine.settings import setting


@dataclass(frozen=True, kw_only=True)
class UgMclConfig(CertaintyConfig):
    """Settings of UG-MCL."""

    supervised_weight: float = setting(
        0.5, "Weight of CE + Dice and of the Dice of T^-1(d). Paper: 0.5.", low=0.0
    )
    distance_weight: float = setting(
        0.3,
        "Weight of MSE(d, d_gt). Paper: 0.3, released code: 0.",
        low=0.0,
        main=True,
    )
    intra_weight: float = setting(
        0.5, "Share of w(t) for the consistency with the teacher. Paper: 0.5.", low=0.0
    )
    cross_weight: float = setting(
        1.0,
        "Share of w(t) for the agreement of both tasks. Paper: 1.",
        low=0.0,
        main=True,
    )
    steepness: float = setting(1500.0, "k of T^-1(d) = sigmoid(-k d). Paper: 1500.", low=1.0)
    distance_head: bool = setting(
        True, "d from a head of its own; off: tanh of the logits, as in the released code."
    )
    mask_cross_task: bool = setting(
        True, "The tasks must agree only where the teacher is sure. Released code: false."
    )


class TwoTasks(NamedTuple):
    """One pass of network and distance head.

    Attributes:
        logits: (B, K, D, H, W).
        distance: (B, K - 1, D, H, W) float32 in [-1, 1], one map per foreground class.
        levels: `Features.levels`.
    """

    logits: Tensor
    distance: Tensor
    levels: tuple[Tensor, ...] = ()


class TwoHeaded(nn.Module):
    """A network with a head for signed distances on its last decoder features."""

    def __init__(self, network: Network, *, distance_head: bool) -> None:
        super().__init__()
        self.network = network
        self.head: nn.Module | None = None
        if distance_head:
            self.head = Conv3d(network.decoded_features, network.classes - 1, 1)

    def forward(self, image: Tensor) -> TwoTasks:
        """Return logits and signed distances of `image` (B, C, D, H, W)."""
        features = self.network(image)
        if self.head is None:
            distance = features.logits[:, 1:].float().tanh()
            return TwoTasks(features.logits, distance, features.levels)
        distance = self.head(features.decoded).float().tanh()
        if distance.shape[2:] != image.shape[2:]:
            distance = F.interpolate(distance, size=image.shape[2:], mode="trilinear")
        return TwoTasks(features.logits, distance, features.levels)


class UgMcl(TeacherMethod):
    """Student and EMA teacher, each with a segmentation and a signed-distance head."""

    Config = UgMclConfig
    config: UgMclConfig

    def build_student(self, network: Network) -> TwoHeaded:
        """Return `network` with the distance head."""
        return TwoHeaded(network, distance_head=self.config.distance_head)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return cross_entropy, dice, shape_dice, distance, consistency and cross_task."""
        require_unlabeled(batch.unlabeled, "ug_mcl")
        config, count = self.config, len(batch.image)
        labeled, unlabeled = student_passes(
            self.pair.student, batch.image, lambda: student_view(batch.unlabeled, config)
        )
        everything = torch.cat((batch.image, batch.unlabeled))
        taught = self.pair.teacher(add_noise(everything, config.teacher_noise))
        sure = certainty(self.pair.teacher, everything, config, progress)
        known, student = posterior(labeled.logits), posterior(unlabeled.logits)
        teacher = posterior(taught.logits)
        p = torch.cat((known.p, student.p))
        shape = to_probability(torch.cat((labeled.distance, unlabeled.distance)), config.steepness)
        weight = ramped(config.consistency_weight, config.rampup, progress)
        seen = Output(known, labeled.levels)
        terms = self._supervised(seen, labeled.distance, shape[:count], batch.label)
        intra = masked_mean_squared(p, teacher.p, sure.mask)
        terms["consistency"] = weight * config.intra_weight * intra
        counted = sure.mask if config.mask_cross_task else torch.ones_like(sure.mask)
        cross = masked_mean_squared(shape, p[:, 1:], counted)
        terms["cross_task"] = weight * config.cross_weight * cross
        ours = Posterior(*(part[count:] for part in teacher))
        self.diagnostics = watch(batch, student, ours) | {
            "consistency_weight": weight,
            "entropy_teacher": sure.entropy.mean(),
            "confident": sure.mask.float().mean(),
        }
        return terms

    @property
    def dice_scale(self) -> float:
        """The weight of the task that segments."""
        return float(self.config.supervised_weight * self.config.dice_weight)

    def _supervised(
        self, known: Output, distance: Tensor, shape: Tensor, label: Tensor
    ) -> dict[str, Tensor]:
        """Return the weighted terms of labeled patches: both tasks against label (B, D, H, W)."""
        config = self.config
        terms = self.supervision.terms([known], label)
        background = 1.0 - shape.amax(1, keepdim=True)
        terms["shape_dice"] = dice_loss(torch.cat((background, shape), dim=1), label)
        terms = {name: config.supervised_weight * term for name, term in terms.items()}
        if config.distance_weight > 0.0:
            target = signed_distance(label, shape.shape[1] + 1)
            terms["distance"] = config.distance_weight * F.mse_loss(distance, target)
        return terms
