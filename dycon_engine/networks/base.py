"""What every network gives: logits, and the features that methods build on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dycon_engine.errors import InputError
from dycon_engine.networks.rebuilding import rebuilt_activations


class Features(NamedTuple):
    """One forward pass.

    Attributes:
        logits: (B, K, D, H, W), the input's spatial size.
        embedding: (B, F, D/s, H/s, W/s), the deepest features; s is `Network.stride`.
        decoded: (B, G, D/t, H/t, W/t), the last decoder features, before `Network.classify`;
            t is 1 but for a network with a strided stem.
        views: (B, V, K, D, H, W), logits of the V parts that a composed network predicts with;
            without elements where there are none.
        levels: (B, G_i, D/s_i, H/s_i, W/s_i) each, the decoder features between `embedding` and
            `decoded`, coarse to fine; while training only.
    """

    logits: Tensor
    embedding: Tensor
    decoded: Tensor
    views: Tensor = torch.empty(0)
    levels: tuple[Tensor, ...] = ()


class Network(nn.Module, ABC):
    """image (B, C, D, H, W) -> `Features`; D, H and W are multiples of `stride`.

    `forward` is enough for most methods. One that makes another network of its parts, such as
    DEC-Seg, needs `encode`, `decode`, `without_encoder` and `classify` too: they raise InputError
    where an architecture has none.

    Attributes:
        channels: C, input channels.
        classes: K, output classes, background included.
        stride: Factor (z, y, x) between input and deepest features.
        embedding_features: F.
        decoded_features: G.
        level_features: Features per level of `encode`, shallow to deep.
        has_views: Whether `viewed` gives `Features.views`.
        rebuilds: Whether training on CPU saves memory by `networks.rebuilding`.
    """

    channels: int
    classes: int
    stride: tuple[int, int, int]
    embedding_features: int
    decoded_features: int
    level_features: tuple[int, ...]
    has_views: bool = False
    rebuilds: bool = True

    @property
    def between_features(self) -> tuple[int, ...]:
        """G_i of `Features.levels`, coarse to fine."""
        return self.level_features[-2:0:-1]

    def between(self, decoded: list[Tensor]) -> tuple[Tensor, ...]:
        """Return `Features.levels` of what `decode` gave; nothing in evaluation mode."""
        return tuple(decoded[1:-1]) if self.training else ()

    @abstractmethod
    def forward(self, image: Tensor) -> Features:
        """Return the features of `image` (B, C, D, H, W)."""

    def viewed(self, image: Tensor) -> Features:
        """Return the features of `image` with `Features.views`, where the network has them."""
        return self(image)

    def encode(self, image: Tensor) -> list[Tensor]:  # noqa: ARG002 - an architecture's own
        """Return the encoder's features of `image` per level, shallow to deep."""
        raise self._lacks("encode")

    def decode(self, levels: list[Tensor]) -> list[Tensor]:  # noqa: ARG002 - the same
        """Return the decoder's features per level, deep to shallow, using up the list `levels`.

        The first is `Features.embedding`, the last `Features.decoded`.
        """
        raise self._lacks("decode")

    def without_encoder(self) -> Network:
        """Return this network with nothing left but what `decode` and `classify` need."""
        raise self._lacks("without_encoder")

    def classify(self, decoded: Tensor) -> Tensor:  # noqa: ARG002 - the same
        """Return the logits (B, K, D, H, W) of `Features.decoded`: dropout and the last layer."""
        raise self._lacks("classify")

    def embed(self, image: Tensor) -> Tensor:
        """Return `Features.embedding` of `image` alone; cheaper where the rest is not needed."""
        return self(image).embedding

    def __call__(self, image: Tensor) -> Features:
        """Typed `nn.Module.__call__`; on CPU activations are rebuilt in backward, not kept."""
        with rebuilt_activations() if self._rebuilds(image) else nullcontext():
            features: Features = super().__call__(image)
        return features

    def _lacks(self, part: str) -> InputError:
        """Return the error of a part that an architecture need not have."""
        return InputError(
            f"network {type(self).__name__}: has no `{part}`, which this method needs; choose "
            f"another network.name or method.name, or write `{part}` (networks/base.py)"
        )

    def _rebuilds(self, image: Tensor) -> bool:
        return (
            self.rebuilds
            and image.device.type == "cpu"
            and torch.is_grad_enabled()
            and self._compiled_call_impl is None
            and not torch.compiler.is_compiling()
        )
