"""What a method makes of networks: the description that a model package keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dycon_engine.networks.base import Network
from dycon_engine.networks.dual_scale import DualScale
from dycon_engine.networks.mean_of_two import MeanOfTwo
from dycon_engine.settings import setting

SINGLE, MEAN_OF_TWO, DUAL_SCALE = "single", "mean_of_two", "dual_scale"


class BuildNetwork(Protocol):
    """Makes new networks of one kind."""

    def __call__(self, *, name: str | None = None) -> Network:
        """Return a new network; `name` chooses another architecture with the same settings."""
        ...


@dataclass(frozen=True, kw_only=True)
class Composition:
    """How the network that predicts is made of networks of one kind."""

    kind: str = setting(
        SINGLE,
        "single: one network; mean_of_two: mean of the probabilities of two; dual_scale: DEC-Seg.",
        choices=(DUAL_SCALE, MEAN_OF_TWO, SINGLE),
    )
    second: str = setting("", "mean_of_two: architecture of the second network.")
    cross_level: bool = setting(False, "dual_scale: with cross-level feature aggregation (CFA).")
    fusion: bool = setting(False, "dual_scale: with dual-scale complementary fusion (DCF).")


def compose(build: BuildNetwork, composition: Composition) -> Network:
    """Return the network that `composition` describes, its parts made by `build`.

    Raises:
        InputError: An unknown second architecture, or parts that do not fit together.
    """
    if composition.kind == MEAN_OF_TWO:
        return MeanOfTwo(build(), build(name=composition.second))
    if composition.kind == DUAL_SCALE:
        return DualScale(build, cross_level=composition.cross_level, fusion=composition.fusion)
    return build()
