"""Two networks that predict together."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dycon_engine.errors import InputError
from dycon_engine.networks.base import Features, Network


class MeanOfTwo(Network):
    """The mean of the probabilities of two networks, as log-probabilities.

    `Features.embedding` and `decoded` hold the features of the first, then of the second;
    `Features.views` their logits, `Features.levels` the levels of the first, then of the second.

    Raises:
        InputError: They do not fit together.
    """

    has_views = True

    def __init__(self, first: Network, second: Network) -> None:
        super().__init__()
        if first.stride != second.stride:
            raise InputError(
                f"two networks with strides {first.stride} and {second.stride} cannot predict "
                "together; choose architectures with the same levels and stem"
            )
        self.first, self.second = first, second
        self.channels, self.classes, self.stride = first.channels, first.classes, first.stride
        self.embedding_features = first.embedding_features + second.embedding_features
        self.decoded_features = first.decoded_features + second.decoded_features
        self.level_features = first.level_features

    @property
    def members(self) -> tuple[Network, Network]:
        """The two networks."""
        return self.first, self.second

    @property
    def between_features(self) -> tuple[int, ...]:
        """G_i of `Features.levels`: those of the first, then of the second."""
        return self.first.between_features + self.second.between_features

    def forward(self, image: Tensor) -> Features:
        """Return the features of `image` (B, C, D, H, W)."""
        one, other = self.first(image), self.second(image)
        logs = [F.log_softmax(part.logits.float(), dim=1) for part in (one, other)]
        return Features(
            torch.logaddexp(logs[0], logs[1]) - math.log(2.0),
            torch.cat((one.embedding, other.embedding), dim=1),
            torch.cat((one.decoded, other.decoded), dim=1),
            torch.stack((one.logits, other.logits), dim=1),
            one.levels + other.levels,
        )

    def embed(self, image: Tensor) -> Tensor:
        """Return `Features.embedding` of `image` by the encoders alone."""
        return torch.cat((self.first.embed(image), self.second.embed(image)), dim=1)
