"""MedNeXt, a U-Net of blocks with large kernels; its blocks come from MONAI, an optional part."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dycon_engine.config import NetworkConfig
from dycon_engine.errors import DyconError, InputError
from dycon_engine.networks.base import Features, Network
from dycon_engine.networks.blocks import check_input, normalization

KERNEL = 5
BLOCKS = 2
EXPANSION = 2


class MedNeXt(Network):
    """MedNeXt (Roy et al., MICCAI 2023, arXiv 2303.09975): depthwise 5x5x5 kernels all the way.

    Filters 32-64-128-256-512 are its size S, kernel 5. Every level has two blocks: depthwise
    convolution, normalisation, expansion by 2, GELU, compression, residual; strided and transposed
    ones of the same kind in between, additive skips. Deviations: any number of levels, the
    normalisation of the run, dropout where our other networks have it.

    Raises:
        InputError: Settings that the architecture does not have.
        DyconError: MONAI is missing or too old.
    """

    def __init__(self, config: NetworkConfig, *, channels: int, classes: int) -> None:
        super().__init__()
        _require_fitting(config)
        filters, depth = config.filters, len(config.filters) - 1
        self.channels, self.classes = channels, classes
        self.stride = (2**depth,) * 3
        self.embedding_features, self.decoded_features = filters[-1], filters[0]
        self.level_features = tuple(filters)
        self.dropout = config.dropout
        body = _from_monai(
            init_filters=filters[0],
            in_channels=channels,
            out_channels=classes,
            encoder_expansion_ratio=EXPANSION,
            decoder_expansion_ratio=EXPANSION,
            bottleneck_expansion_ratio=EXPANSION,
            kernel_size=KERNEL,
            use_residual_connection=True,
            blocks_down=(BLOCKS,) * depth,
            blocks_bottleneck=BLOCKS,
            blocks_up=(BLOCKS,) * depth,
        )
        for part in body.modules():
            if isinstance(getattr(part, "norm", None), nn.GroupNorm):
                part.norm = normalization(config.norm, part.norm.num_channels)
        self.stem: nn.Module = body.stem
        self.encoder: nn.ModuleList = body.enc_stages.append(body.bottleneck)
        self.down: nn.ModuleList = body.down_blocks
        self.up: nn.ModuleList = body.up_blocks
        self.decoder: nn.ModuleList = body.dec_stages
        self.head: nn.Module = body.out_0

    def forward(self, image: Tensor) -> Features:
        """Return the features of `image` (B, C, D, H, W); raises InputError on a wrong size."""
        decoded = self.decode(self.encode(image))
        return Features(
            self.classify(decoded[-1]), decoded[0], decoded[-1], levels=self.between(decoded)
        )

    def embed(self, image: Tensor) -> Tensor:
        """Return `Features.embedding` of `image` by the encoder alone."""
        return F.dropout(self.encode(image)[-1], self.dropout, self.training)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the encoder's features of `image` per level, shallow to deep."""
        check_input(self, image)
        levels: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            levels.append(stage(self.down[level - 1](levels[-1]) if level else self.stem(image)))
        return levels

    def decode(self, levels: list[Tensor]) -> list[Tensor]:
        """Return the decoder's features per level, deep to shallow, using up the list `levels`."""
        decoded = [F.dropout(levels.pop(), self.dropout, self.training)]
        for up, stage in zip(self.up, self.decoder, strict=True):
            decoded.append(stage(torch.add(up(decoded[-1]), levels.pop())))
        return decoded

    def without_encoder(self) -> MedNeXt:
        """Return this network with nothing left but what `decode` and `classify` need."""
        del self.stem, self.encoder, self.down
        return self

    def classify(self, decoded: Tensor) -> Tensor:
        """Return the logits (B, K, D, H, W) of `Features.decoded`: dropout and the last layer."""
        logits: Tensor = self.head(F.dropout(decoded, self.dropout, self.training))
        return logits


def _require_fitting(config: NetworkConfig) -> None:
    if config.stem != 1 or config.upsampling != "transposed":
        raise InputError(
            "network 'mednext' has no stem and learns its upsampling; "
            "set network.stem=1 and network.upsampling=transposed, or network.name=unet3d"
        )
    if any(deep != 2 * shallow for shallow, deep in itertools.pairwise(config.filters)):
        raise InputError(
            f"network.filters: found {list(config.filters)}; the filters of 'mednext' double from "
            f"level to level, e.g. {[config.filters[0] * 2**n for n in range(len(config.filters))]}"
        )


def _from_monai(**settings: Any) -> Any:
    """Return MONAI's MedNeXt.

    Raises:
        DyconError: MONAI is not installed, or older than 1.5. No fault of the settings or of a
            package, so no InputError.
    """
    try:
        from monai.networks.nets import MedNeXt as Body  # noqa: PLC0415 - an optional part
    except ImportError:
        raise DyconError(
            "network 'mednext' needs MONAI 1.5 or later, to train and to predict, and it is not "
            "installed: pip install 'monai>=1.5'; the other networks do without"
        ) from None
    return Body(spatial_dims=3, **settings)
