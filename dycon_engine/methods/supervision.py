"""What labeled patches teach, the same in every recipe: cross-entropy, Dice, and two options.

    CE + dice_weight Dice + boundary_weight L_B + sum_i 2^-i (CE + dice_weight Dice)(p_i, y_i)

L_B is the boundary loss. p_i comes from a head on the decoder's features i levels coarser, y_i is
the label at that size: deep supervision as in nnU-Net (Isensee et al., Nature Methods 2021), whose
weights halve alike. Deviation: the weights are not divided by their sum, so that the other terms
mean the same with and without. The heads belong to the recipe: neither the teacher nor the package
has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dycon_engine.losses.boundary import boundary_distance, boundary_loss
from dycon_engine.losses.segmentation import cross_entropy, dice_loss
from dycon_engine.losses.signed_distance import Spacing
from dycon_engine.losses.uncertainty import Posterior, posterior
from dycon_engine.methods.base import MethodConfig
from dycon_engine.networks.base import Network
from dycon_engine.networks.blocks import Conv3d


class Output(NamedTuple):
    """What one decoder says of labeled patches.

    Attributes:
        belief: Probabilities (B, K, D, H, W).
        levels: Its `Features.levels`, where coarser ones are supervised too.
    """

    belief: Posterior
    levels: tuple[Tensor, ...] = ()


class Supervision(nn.Module):
    """The supervised terms of a recipe, and the heads that the coarser levels need.

    A network with fewer levels between its deepest and its last than are asked for has fewer heads.

    Args:
        config: The recipe's settings.
        networks: Those whose decoders have `levels`, in the order of the outputs.

    Attributes:
        spacing_mm: Of the patches (z, y, x); `build_method` sets it.
    """

    def __init__(self, config: MethodConfig, *networks: Network) -> None:
        super().__init__()
        self.config = config
        self.spacing_mm: Spacing = (1.0, 1.0, 1.0)
        self.heads = nn.ModuleList()
        if config.deep_supervision:
            self.heads.extend(_heads(network, config.deep_supervision) for network in networks)

    def terms(self, outputs: Sequence[Output], label: Tensor) -> dict[str, Tensor]:
        """Return cross_entropy, dice; if on boundary and deep: each the sum over the outputs.

        Args:
            outputs: At least one.
            label: (B, D, H, W) int64 class index.
        """
        each = [self._plain(output.belief, label) for output in outputs]
        if self.config.boundary_weight > 0.0:
            distance = boundary_distance(
                label,
                outputs[0].belief.p.shape[1],
                spacing_mm=self.spacing_mm,
                reach_mm=self.config.boundary_reach_mm,
            )
            for terms, output in zip(each, outputs, strict=True):
                loss = boundary_loss(output.belief.p, label, distance)
                terms["boundary"] = self.config.boundary_weight * loss
        total = {name: _sum([terms[name] for terms in each]) for name in each[0]}
        pairs = zip((list(heads.children()) for heads in self.heads), outputs, strict=False)
        deep = [self._deep(heads, found.levels, label) for heads, found in pairs if heads]
        if deep:
            total["deep"] = _sum(deep)
        return total

    def _plain(self, belief: Posterior, label: Tensor) -> dict[str, Tensor]:
        return {
            "cross_entropy": cross_entropy(belief.log_p, label),
            "dice": self.config.dice_weight * dice_loss(belief.p, label),
        }

    def _deep(self, heads: Sequence[nn.Module], levels: Sequence[Tensor], label: Tensor) -> Tensor:
        terms = []
        for place, (head, features) in enumerate(
            zip(heads, levels[len(levels) - len(heads) :], strict=True)
        ):
            belief = posterior(head(features))
            both = self._plain(belief, coarser(label, belief.p.shape[2:]))
            terms.append(0.5 ** (len(heads) - place) * _sum(list(both.values())))
        return _sum(terms)


def coarser(label: Tensor, size: Sequence[int]) -> Tensor:
    """Return `label` (B, D, H, W) at a smaller `size` (z, y, x), each voxel that of its middle."""
    small = F.interpolate(label.unsqueeze(1).float(), size=tuple(size), mode="nearest-exact")
    return small.squeeze(1).to(label.dtype)


def _heads(network: Network, count: int) -> nn.ModuleList:
    widths = network.between_features[-count:]
    return nn.ModuleList(Conv3d(width, network.classes, 1) for width in widths)


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return terms[0] if len(terms) == 1 else torch.stack(list(terms)).sum()
