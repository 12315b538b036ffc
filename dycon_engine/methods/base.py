"""The interface of a method: a training recipe, its networks and the loss terms it minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from dycon_engine.data.batch import Batch
from dycon_engine.networks.composing import BuildNetwork, Composition
from dycon_engine.schedules import Progress
from dycon_engine.settings import setting

if TYPE_CHECKING:
    from dycon_engine.methods.supervision import Supervision


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What every method has: the settings of its supervised terms (`methods.supervision`).

    Each field has help, unit and equation number.
    """

    dice_weight: float = setting(
        1.0, "Weight of the Dice loss beside the cross-entropy. Paper: 1.", low=0.0
    )
    boundary_weight: float = setting(
        0.0,
        "Weight of the boundary loss (Kervadec et al. 2019) on labeled patches: voxels on the "
        "wrong side count by their distance to the boundary; 0 = off. Paper: not there, 0.",
        low=0.0,
    )
    boundary_reach_mm: float = setting(
        10.0, "The distance of the boundary loss grows up to here.", unit="mm", low=0.1
    )
    deep_supervision: int = setting(
        0,
        "So many coarser levels of the decoder, as far as there are, are supervised too, with "
        "weights 1/2, 1/4, ...; 0 = off. Paper: not there, 0; nnU-Net: all.",
        unit="levels",
        low=0,
        high=8,
    )


class Method(nn.Module, ABC):
    """A training recipe.

    `forward` returns the weighted, named scalar terms whose sum is minimised; the trainer logs
    exactly those. `diagnostics` holds detached scalars of the last forward that are logged but not
    minimised (mean entropy, foreground fraction, beta...). `supervision`, which a subclass makes
    after its networks, gives the terms of labeled patches.
    """

    Config: ClassVar[type[MethodConfig]]
    needs_unlabeled: ClassVar[bool] = True
    supervision: Supervision

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
        """Return the module that is validated and shipped: (B, C, D, H, W) -> (B, K, D, H, W).

        Validation scores what this module returns; the package holds the first `Network` found in
        it and builds that anew from `composition`. So it must give that network's logits and
        nothing more (`teacher.Logits` does). What computes more, such as a mean of two networks or
        a head of its own, has to be a `Network` that `networks.composing` can build. A run checks
        it on a random patch before it reads a scan, and refuses a method where the two differ.
        """

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
        return float(self.config.dice_weight)

    def student(self) -> nn.Module:
        """Return the module that gradients train, image -> logits; the predictor by default."""
        return self.predictor()

    def after_step(self, progress: Progress) -> None:
        """Update what no gradient reaches, e.g. an EMA teacher; once per optimizer step."""
