"""DEC-Seg (Pattern Recognition 2025, arXiv 2312.16039), adapted from 2D slices to 3D patches.

    sum_j .5 (CE + Dice)(p_j, y)                                       [lb]  j: full, half, fused
    + w(t) ( MSE(p_full, p_half)                                       [lb, ub] scale
           + sum_j MSE(p_j(x), p_j(x'))                                [ub]  perturbation
           + MSE(G0(p_fused(x)), x') + MSE(G1(p_fused(x')), x) )       [ub]  cross-generative

x' is x with other intensities. One encoder reads both scales, CFA feeds the decoders, DCF joins
their features for a third one, which predicts (`networks.dual_scale`).

Adaptations: published in 2D with a pretrained Res2Net; here every part is 3D and the encoder is
that of the run's network, from scratch. CFA gives as many features as its level has (2D code: 64);
the deepest fused features pass no further convolutions. Crops whose half fits no stride are padded
at half scale. The half-scale logits are upsampled and compared with the label at full scale (2D
code: with the halved label). x' changes intensities by `strong_intensity` (2D code: brightness and
hue), the half-scale one is its mean (2D code: jittered on its own). The scale term is one mean over
labeled and unlabeled patches (2D code: the sum of three means, those of x' too). G reads
probabilities (2D code: logits) and has fewer features. w(t) rises like that of our other methods
(2D code: constant 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dycon_engine.data.batch import Batch
from dycon_engine.losses.consistency import mean_squared
from dycon_engine.losses.uncertainty import Posterior, posterior
from dycon_engine.methods.base import Method, MethodConfig
from dycon_engine.methods.collapse import foregrounds
from dycon_engine.methods.perturbations import strong_intensity
from dycon_engine.methods.supervision import Output, Supervision
from dycon_engine.methods.teacher import Logits, require_unlabeled
from dycon_engine.networks.base import Features
from dycon_engine.networks.composing import DUAL_SCALE, BuildNetwork, Composition, compose
from dycon_engine.networks.generator import ImageGenerator
from dycon_engine.schedules import Progress, ramped
from dycon_engine.settings import setting


@dataclass(frozen=True, kw_only=True)
class DecSegConfig(MethodConfig):
    """Settings of DEC-Seg; zero weights and `use_*` are the switches of an ablation."""

    supervised_weight: float = setting(
        0.5, "Weight of CE + Dice of each output. Paper: 0.5.", low=0.0
    )
    consistency_weight: float = setting(
        1.0,
        "w, largest weight of the terms below. Released code: 1, constant.",
        low=0.0,
        main=True,
    )
    rampup: float = setting(
        0.3,
        "w rises as exp(-5 (1 - x)^2) over this share of the steps; 0 = at once.",
        unit="share",
        low=0.0,
        high=1.0,
        main=True,
    )
    scale_weight: float = setting(
        1.0, "Share of w for the agreement of full and half scale. Paper: 1.", low=0.0
    )
    perturbation_weight: float = setting(
        1.0, "Share of w for the agreement on x and on the perturbed x'. Paper: 1.", low=0.0
    )
    generative_weight: float = setting(
        1.0,
        "Share of w for drawing x' from the output of x, and x from that of x'. Paper: 1.",
        low=0.0,
        main=True,
    )
    strong_intensity: float = setting(
        1.0, "Strength of the intensity changes that make x'.", low=0.0, high=2.0
    )
    use_cross_level: bool = setting(True, "CFA, cross-level feature aggregation.")
    use_fusion: bool = setting(
        True, "DCF, dual-scale complementary fusion, and its decoder; off: the full scale predicts."
    )
    generator_features: int = setting(
        8, "Features of the first level of G. Released code: 16.", low=1
    )


class DecSeg(Method):
    """One encoder at two scales; three outputs that must agree; no teacher."""

    Config = DecSegConfig
    config: DecSegConfig

    def __init__(self, build_network: BuildNetwork, config: DecSegConfig) -> None:
        super().__init__(build_network, config)
        self.network = compose(build_network, self.composition())
        self.generators = nn.ModuleList()
        if config.generative_weight > 0.0:
            classes, channels = self.network.classes, self.network.channels
            features = config.generator_features
            self.generators.extend(
                ImageGenerator(classes, channels, features=features) for _ in range(2)
            )
        self.supervision = Supervision(config, self.network)

    def composition(self) -> Composition:
        """Return DEC-Seg's network with the parts that the settings ask for."""
        config = self.config
        return Composition(
            kind=DUAL_SCALE, cross_level=config.use_cross_level, fusion=config.use_fusion
        )

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return cross_entropy and dice; if on scale, perturbation and generative."""
        require_unlabeled(batch.unlabeled, "dec_seg")
        config, count = self.config, len(batch.unlabeled)
        seen = self.network(batch.image)  # before anything that draws for U patches
        known = self._outputs(seen)
        changed = strong_intensity(batch.unlabeled, config.strong_intensity)
        both = self._outputs(self.network(torch.cat((batch.unlabeled, changed))))
        plain = [Posterior(each.log_p[:count], each.p[:count]) for each in both]
        perturbed = [Posterior(each.log_p[count:], each.p[count:]) for each in both]
        weight = ramped(config.consistency_weight, config.rampup, progress)
        terms = self._supervised(known, seen.levels, batch.label)
        if config.scale_weight > 0.0:
            full, half = (torch.cat((known[j].p, plain[j].p)) for j in (-2, -1))
            terms["scale"] = weight * config.scale_weight * mean_squared(full, half)
        if config.perturbation_weight > 0.0:
            agreement = [mean_squared(a.p, b.p) for a, b in zip(plain, perturbed, strict=True)]
            share = weight * config.perturbation_weight
            terms["perturbation"] = share * torch.stack(agreement).sum()
        if config.generative_weight > 0.0:
            drawn, redrawn = (
                make(p)
                for make, p in zip(self.generators, (plain[0].p, perturbed[0].p), strict=True)
            )
            gap = F.mse_loss(drawn, changed) + F.mse_loss(redrawn, batch.unlabeled)
            terms["generative"] = weight * config.generative_weight * gap
        self.diagnostics = foregrounds(batch, plain[0].p) | {"consistency_weight": weight}
        return terms

    def _outputs(self, features: Features) -> list[Posterior]:
        """Return what predicts, the full and the half scale; the first two are one without DCF."""
        scales = [posterior(logits) for logits in features.views.unbind(1)]
        return [posterior(features.logits), *scales] if self.config.use_fusion else scales

    def _supervised(
        self, outputs: list[Posterior], levels: tuple[Tensor, ...], label: Tensor
    ) -> dict[str, Tensor]:
        """Return the weighted supervised terms; `levels` are of the first output's decoder."""
        first, *others = outputs
        terms = self.supervision.terms([Output(first, levels), *map(Output, others)], label)
        return {name: self.config.supervised_weight * term for name, term in terms.items()}

    @property
    def dice_scale(self) -> float:
        """The weight of all outputs together."""
        outputs = 3 if self.config.use_fusion else 2
        return float(outputs * self.config.supervised_weight * self.config.dice_weight)

    def predictor(self) -> nn.Module:
        """Return the network as image -> logits."""
        return Logits(self.network)
