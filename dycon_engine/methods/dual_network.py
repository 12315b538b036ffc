"""Two different networks that teach each other (Lu, Wu, Chaddad et al. 2025, arXiv 2509.13084).

    sum over both of (CE + Dice) + .5 squared error where they disagree surely        [lb]
    + w(t) sum over both of ( mean[exp(-D) CE(p_r, argmax p_v)] + mean D              [ub] cross
                            + CE(p_v, argmax of the mean) where not both are unsure   [ub] filtered
                            + prototype contrast of the unsure voxels )               [ub]

v is the run's network (paper: V-Net), r the same with a residual encoder, D = KL(p_v || p_r); the
mean of the two predicts.

Adaptations: r is our U-Net with nnU-Net's residual blocks (paper: ResNet-34 encoder); the text is
implemented where the released code detaches a term (contrast) or takes the entropy of logits (so
that its percentiles are not a number); each network gets every term (code: only r learns from the
cross pseudo supervision and KL, only the worse one gets the contrast); filtered pseudo labels are
those of the mean (code: the union of the two foregrounds); the share of voxels that counts grows
linearly from `kept_start` to `kept_end`; the terms on unlabeled patches share one ramped weight
(code: 1 from the start, .1 ramped for the contrast); no cosine consistency, which the code adds and
the text does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dycon_engine.config import NETWORK_NAMES
from dycon_engine.data.batch import Batch
from dycon_engine.losses.cross_supervision import (
    cross_pseudo_loss,
    disagreement,
    low_entropy,
    masked_cross_entropy,
    masked_squared_error,
    masked_supervision,
)
from dycon_engine.losses.prototypes import prototype_loss
from dycon_engine.losses.uncertainty import TINY, Posterior, posterior
from dycon_engine.methods.base import Method, MethodConfig
from dycon_engine.methods.cells import block_mean
from dycon_engine.methods.collapse import foregrounds
from dycon_engine.methods.passes import student_passes
from dycon_engine.methods.perturbations import strong_intensity
from dycon_engine.methods.supervision import Output, Supervision
from dycon_engine.methods.teacher import Logits, require_unlabeled
from dycon_engine.networks.base import Features
from dycon_engine.networks.composing import MEAN_OF_TWO, BuildNetwork, Composition
from dycon_engine.networks.mean_of_two import MeanOfTwo
from dycon_engine.schedules import Progress, ramped
from dycon_engine.settings import setting


@dataclass(frozen=True, kw_only=True)
class DualNetworkConfig(MethodConfig):
    """Settings of the dual network; zero weights and `kl_weighting` are its ablation's switches."""

    second_network: str = setting(
        "resunet3d",
        "Architecture of r, with the settings of the run's network. Paper: a residual encoder.",
        choices=NETWORK_NAMES,
    )
    disagreement_weight: float = setting(
        0.5,
        "Weight of the supervision once more where the two disagree surely. Paper: 0.5.",
        low=0.0,
    )
    disagreement_loss: str = setting(
        "squared",
        "What it is there: squared (error of the probabilities, released code) or supervised "
        "(CE + Dice, text; as means over few voxels most of the loss on LA).",
        choices=("squared", "supervised"),
    )
    confidence: float = setting(
        0.6, "Both are sure above this probability. Paper: 0.6.", low=0.0, high=1.0
    )
    consistency_weight: float = setting(
        0.1,
        "w, largest weight of the unlabeled terms. Released code: 0.1 or 1.",
        low=0.0,
        main=True,
    )
    rampup: float = setting(
        0.3,
        "w rises as exp(-5 (1 - x)^2) over this share of the steps; 0 = at once. Code: 100 %.",
        unit="share",
        low=0.0,
        high=1.0,
        main=True,
    )
    cross_weight: float = setting(
        1.0, "Share of w for the cross pseudo supervision. Paper: 1.", low=0.0
    )
    kl_weighting: bool = setting(
        True, "Pseudo labels count exp(-D) and D is minimised; off: plain cross supervision."
    )
    filtered_weight: float = setting(
        1.0, "Share of w for the entropy-filtered supervision. Paper: 1.", low=0.0
    )
    contrast_weight: float = setting(
        0.1,
        "Share of w for the contrast with class prototypes. Released code: 0.1, without a "
        "gradient; at 1 the foreground collapsed on LA.",
        low=0.0,
        main=True,
    )
    kept_start: float = setting(
        0.8,
        "Voxels above this quantile of the entropy in both networks are dropped, at the start.",
        unit="share",
        low=0.0,
        high=1.0,
    )
    kept_end: float = setting(
        0.95, "The same at the end. Released code: 0.2, fixed.", unit="share", low=0.0, high=1.0
    )
    temperature: float = setting(0.1, "Of the similarities with the prototypes.", low=0.01)
    strong_intensity: float = setting(
        0.0, "Strength of intensity changes of unlabeled patches. Paper: 0.", low=0.0, high=2.0
    )


class View(NamedTuple):
    """What one of the two networks says of some patches.

    Attributes:
        belief: Probabilities (B, K, D, H, W).
        decoded: (B, G, d, h, w), its last decoder features.
        levels: Its `Features.levels`.
    """

    belief: Posterior
    decoded: Tensor
    levels: tuple[Tensor, ...]


class DualNetwork(Method):
    """Two networks, no teacher; their mean predicts."""

    Config = DualNetworkConfig
    config: DualNetworkConfig

    def __init__(self, build_network: BuildNetwork, config: DualNetworkConfig) -> None:
        super().__init__(build_network, config)
        self.network = MeanOfTwo(build_network(), build_network(name=config.second_network))
        self.supervision = Supervision(config, *self.network.members)

    def composition(self) -> Composition:
        """Return the mean of the run's network and the second one."""
        return Composition(kind=MEAN_OF_TWO, second=self.config.second_network)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return cross_entropy, dice; if on disagreement, cross_pseudo, filtered, contrast."""
        require_unlabeled(batch.unlabeled, "dual_network")
        config = self.config
        labeled, unlabeled = student_passes(
            self.network,
            batch.image,
            lambda: strong_intensity(batch.unlabeled, config.strong_intensity),
        )
        weight = ramped(config.consistency_weight, config.rampup, progress)
        terms = self._supervised(self._views(labeled), batch.label)
        v, r = self._views(unlabeled)
        if config.cross_weight > 0.0:
            cross = [
                cross_pseudo_loss(a.belief, b.belief, kl_weighting=config.kl_weighting)
                for a, b in ((v, r), (r, v))
            ]
            terms["cross_pseudo"] = weight * config.cross_weight * (cross[0] + cross[1])
        share = config.kept_start + (config.kept_end - config.kept_start) * progress.fraction
        kept = low_entropy(v.belief, r.belief, share)
        mean = (0.5 * (v.belief.p + r.belief.p)).detach()
        if config.filtered_weight > 0.0:
            target = mean.argmax(1)
            both = [masked_cross_entropy(each.belief, target, kept) for each in (v, r)]
            terms["filtered"] = weight * config.filtered_weight * (both[0] + both[1])
        if config.contrast_weight > 0.0:
            contrast = [self._contrast(each, v, r, share) for each in (v, r)]
            terms["contrast"] = weight * config.contrast_weight * (contrast[0] + contrast[1])
        self.diagnostics = foregrounds(batch, mean) | {
            "consistency_weight": weight,
            "kept": kept.float().mean(),
        }
        return terms

    def _views(self, features: Features) -> tuple[View, View]:
        sizes = [part.decoded_features for part in self.network.members]
        decoded = torch.split(features.decoded, sizes, dim=1)
        v, r = features.views.unbind(1)
        half = len(features.levels) // 2  # both members have as many
        return (
            View(posterior(v), decoded[0], features.levels[:half]),
            View(posterior(r), decoded[1], features.levels[half:]),
        )

    def _supervised(self, views: tuple[View, View], label: Tensor) -> dict[str, Tensor]:
        """Return the terms of labeled patches, each the sum over both networks."""
        config = self.config
        terms = self.supervision.terms([Output(view.belief, view.levels) for view in views], label)
        if config.disagreement_weight > 0.0:
            beliefs = [view.belief for view in views]
            mask = disagreement(beliefs[0], beliefs[1], config.confidence)
            squared = config.disagreement_loss == "squared"
            loss = masked_squared_error if squared else masked_supervision
            again = [loss(belief, label, mask) for belief in beliefs]
            terms["disagreement"] = config.disagreement_weight * (again[0] + again[1])
        return terms

    def _contrast(self, view: View, v: View, r: View, share: float) -> Tensor:
        """Return the contrast of a network's features on their own grid."""
        grid = view.decoded.shape[2:]
        with torch.no_grad():
            one, other = (_pooled(each.belief.p, grid) for each in (v, r))
            sure = low_entropy(one, other, share)
        mean = 0.5 * (one.p + other.p)
        return prototype_loss(view.decoded, mean, sure, temperature=self.config.temperature)

    @property
    def dice_scale(self) -> float:
        """The weight of both networks together."""
        return float(2.0 * self.config.dice_weight)

    def predictor(self) -> nn.Module:
        """Return the mean of both as image -> logits."""
        return Logits(self.network)


def _pooled(p: Tensor, grid: torch.Size) -> Posterior:
    """Return probabilities averaged to the voxels of `grid`."""
    mean = block_mean(p, grid)
    return Posterior(mean.clamp_min(TINY).log(), mean)
