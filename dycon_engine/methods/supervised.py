"""Supervised only: cross-entropy and Dice on the labeled patches; the baseline of all others."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dycon_engine.data.batch import Batch
from dycon_engine.losses.uncertainty import posterior
from dycon_engine.methods.base import Method, MethodConfig
from dycon_engine.methods.supervision import Output, Supervision
from dycon_engine.methods.teacher import Logits
from dycon_engine.networks.composing import BuildNetwork
from dycon_engine.schedules import Progress
from dycon_engine.settings import setting


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(MethodConfig):
    """Settings of the supervised baseline."""

    dice_weight: float = setting(
        1.0,
        "Weight of the Dice loss beside the cross-entropy. Paper: 1.",
        low=0.0,
        main=True,
    )


class Supervised(Method):
    """CE + Dice [lb]. Unlabeled patches are ignored; U = 0 is the normal case."""

    Config = SupervisedConfig
    needs_unlabeled = False

    def __init__(self, build_network: BuildNetwork, config: SupervisedConfig) -> None:
        super().__init__(build_network, config)
        self.network = build_network()
        self.supervision = Supervision(config, self.network)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the terms cross_entropy and dice."""
        features = self.network(batch.image)
        self.diagnostics = {"foreground_labeled": (batch.label > 0).float().mean()}
        return self.supervision.terms(
            [Output(posterior(features.logits), features.levels)], batch.label
        )

    def predictor(self) -> nn.Module:
        """Return the network as image -> logits."""
        return Logits(self.network)
