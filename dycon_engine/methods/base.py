"""The interface of a method: a training recipe, its networks and the loss terms it minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from dycon_engine.data.batch import Batch
from dycon_engine.networks.composing import BuildNetwork, Composition
from dycon_engine.schedules import Progress


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Base of every method's settings; each field has help, unit and equation number."""


class Method(nn.Module, ABC):
    """A training recipe.

    `forward` returns the weighted, named scalar terms whose sum is minimised; the trainer logs
    exactly those. `diagnostics` holds detached scalars of the last forward that are logged but not
    minimised (mean entropy, foreground fraction, beta...).
    """

    Config: ClassVar[type[MethodConfig]]
    needs_unlabeled: ClassVar[bool] = True

    def __init__(self, build_network: BuildNetwork, config: Any) -> None:  # noqa: ARG002
        """Build the networks of this recipe from `config`, an instance of `self.Config`."""
        super().__init__()
        self.config = config
        self.diagnostics: dict[str, Tensor | float] = {}

    @abstractmethod
    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the weighted loss terms of one step by name, each a scalar."""

    @abstractmethod
    def predictor(self) -> nn.Module:
        """Return the module that is validated and shipped: (B, C, D, H, W) -> (B, K, D, H, W)."""

    def composition(self) -> Composition:
        """Return how the network that predicts is made; one network as built by default."""
        return Composition()

    @property
    def sees_hidden_labels(self) -> bool:
        """Whether this is an audit that must be given an `AuditBatch`; no method of a paper is."""
        return False

    @property
    def dice_scale(self) -> float:
        """How many times the Dice loss of its outputs the term `dice` is; 0 where there is none."""
        return float(getattr(self.config, "dice_weight", 0.0))

    def student(self) -> nn.Module:
        """Return the module that gradients train, image -> logits; the predictor by default."""
        return self.predictor()

    def after_step(self, progress: Progress) -> None:
        """Update what no gradient reaches, e.g. an EMA teacher; once per optimizer step."""
