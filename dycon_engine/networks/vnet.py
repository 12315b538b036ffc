"""The V-Net as the semi-supervised literature uses it."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dycon_engine.config import NetworkConfig
from dycon_engine.errors import InputError
from dycon_engine.networks.base import Features, Network
from dycon_engine.networks.blocks import Conv3d, ConvNormAct, Stage, Style, check_input
from dycon_engine.networks.rebuilding import remember

DEEPEST_STAGE = 3


class VNet(Network):
    """V-Net (Milletari et al., 3DV 2016) with additive skips, 1-2-3-3-3 convolutions per level.

    Strided convolutions down, transposed ones up, whole feature maps dropped behind the deepest
    and the last level. With filters 16-32-64-128-256, slope 0 and dropout .5 it is the `VNet` of
    the SSL4MIS code family: `dycon_engine.networks.ssl4mis` imports those weights.
    """

    def __init__(self, config: NetworkConfig, *, channels: int, classes: int) -> None:
        super().__init__()
        if config.stem != 1 or config.upsampling != "transposed":
            raise InputError(
                "network 'vnet' has no stem and learns its upsampling; "
                "set network.stem=1 and network.upsampling=transposed, or network.name=unet3d"
            )
        filters = config.filters
        levels = len(filters)
        style = Style(config.norm, config.negative_slope)
        self.channels, self.classes = channels, classes
        self.stride = (2 ** (levels - 1),) * 3
        self.embedding_features, self.decoded_features = filters[-1], filters[0]
        self.level_features = tuple(filters)
        self.dropout = config.dropout

        depths = [min(level + 1, DEEPEST_STAGE) for level in range(levels)]
        inputs = (channels, *filters[1:])
        self.encoder = nn.ModuleList(
            Stage(i, o, depth=depth, style=style)
            for i, o, depth in zip(inputs, filters, depths, strict=True)
        )
        self.down = nn.ModuleList(
            ConvNormAct(shallow, deep, style=style, factor=2)
            for shallow, deep in itertools.pairwise(filters)
        )
        self.up = nn.ModuleList(
            ConvNormAct(deep, shallow, style=style, factor=2, transposed=True)
            for deep, shallow in itertools.pairwise(filters[::-1])
        )
        self.decoder = nn.ModuleList(
            Stage(width, width, depth=depth, style=style)
            for width, depth in zip(filters[-2::-1], depths[-2::-1], strict=True)
        )
        self.head = Conv3d(filters[0], classes, 1)

    def forward(self, image: Tensor) -> Features:
        """Return the features of `image` (B, C, D, H, W); raises InputError on a wrong size."""
        decoded = self.decode(self.encode(image))
        return Features(
            self.classify(decoded[-1]), decoded[0], decoded[-1], levels=self.between(decoded)
        )

    def embed(self, image: Tensor) -> Tensor:
        """Return `Features.embedding` of `image` by the encoder alone."""
        return F.dropout3d(self.encode(image)[-1], self.dropout, self.training)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the encoder's features of `image` per level, shallow to deep."""
        check_input(self, image)
        levels: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            levels.append(block(self.down[level - 1](levels[-1]) if level else image))
        return levels

    def decode(self, levels: list[Tensor]) -> list[Tensor]:
        """Return the decoder's features per level, deep to shallow, using up the list `levels`."""
        decoded = [F.dropout3d(levels.pop(), self.dropout, self.training)]
        for up, block in zip(self.up, self.decoder, strict=True):
            larger, skip = up(decoded[-1]), levels.pop()
            decoded.append(block(remember(larger + skip, torch.add, larger, skip)))
            del larger, skip
        return decoded

    def without_encoder(self) -> VNet:
        """Return this network with nothing left but what `decode` and `classify` need."""
        del self.encoder, self.down
        return self

    def classify(self, decoded: Tensor) -> Tensor:
        """Return the logits (B, K, D, H, W) of `Features.decoded`: dropout and the last layer."""
        logits: Tensor = self.head(F.dropout3d(decoded, self.dropout, self.training))
        return logits
