"""DEC-Seg's network in 3D: one encoder at two scales, three decoders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dycon_engine.networks.base import Features, Network
from dycon_engine.networks.blocks import Conv3d, ConvNormAct, Style, check_input
from dycon_engine.networks.upsampling import doubled

STYLE = Style("instance", 0.0)
SQUEEZE = 4


class CrossLevel(nn.Module):
    """CFA: the features of a level joined with those of the next deeper one.

    (B, F, D, H, W) and (B, G, d, h, w) -> (B, F, D, H, W): 1x1x1 convolution of each, the deeper
    one upsampled, 3x3x3 convolution of both, x + x * SE(x), 3x3x3 convolution.

    Args:
        features: F.
        deeper: G.
    """

    def __init__(self, features: int, deeper: int) -> None:
        super().__init__()
        self.own = Conv3d(features, features, 1)
        self.below = Conv3d(deeper, features, 1)
        self.join = ConvNormAct(2 * features, features, style=STYLE)
        squeezed = max(1, features // SQUEEZE)
        self.excite = nn.Sequential(
            nn.Linear(features, squeezed), nn.ReLU(), nn.Linear(squeezed, features), nn.Sigmoid()
        )
        self.out = ConvNormAct(features, features, style=STYLE)

    def forward(self, own: Tensor, deeper: Tensor) -> Tensor:
        """Return the joined features, of the size of `own`."""
        below = F.interpolate(self.below(deeper), size=own.shape[2:], mode="trilinear")
        x = self.join(self.own(own), below)
        weight = self.excite(x.mean(dim=(2, 3, 4)))[:, :, None, None, None]
        result: Tensor = self.out(x + x * weight)
        return result


class Fusion(nn.Module):
    """DCF: features of two scales, each completed by the other, mixed by a gate per voxel.

    a1 = x1 + sigmoid(x2) x2, a2 = x2 + sigmoid(x1) x1, (g1, g2) = softmax of a 1x1x1 convolution,
    out = g1 a1 + g2 a2; 3x3x3 convolutions before and behind the sums. All (B, F, D, H, W).
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        before, behind = (
            [ConvNormAct(features, features, style=STYLE) for _ in range(2)] for _ in range(2)
        )
        self.before, self.behind = nn.ModuleList(before), nn.ModuleList(behind)
        self.gate = Conv3d(2 * features, 2, 1)

    def forward(self, full: Tensor, half: Tensor) -> Tensor:
        """Return the fused features of both scales, at one size."""
        x1, x2 = self.before[0](full), self.before[1](half)
        a1 = self.behind[0](x1 + x2.sigmoid() * x2)
        a2 = self.behind[1](x2 + x1.sigmoid() * x1)
        g = self.gate(torch.cat((a1, a2), dim=1)).softmax(1)
        return torch.add(g[:, :1] * a1, g[:, 1:] * a2)


class DualScale(Network):
    """Full and half scale through one encoder; a decoder each, and one that reads both.

    The half-scale image is padded at its end to a size that the encoder can take, its features are
    cropped again, so `stride` is that of the network it is made of. `Features.views` holds the
    logits of the full and the half scale; the latter are upsampled. `Features.levels` are those of
    the decoder that predicts.

    Args:
        build: Makes a network with `encode` and `decode`.
        cross_level: Whether CFA feeds the decoders; else the encoder's own features do.
        fusion: Whether DCF and the third decoder predict; else the full scale does.
    """

    has_views = True

    def __init__(
        self, build: Callable[[], Network], *, cross_level: bool = True, fusion: bool = True
    ) -> None:
        super().__init__()
        self.full_scale = build()
        self.half_scale = build().without_encoder()
        self.fusing = build().without_encoder() if fusion else None
        self.channels, self.classes, self.stride = (
            self.full_scale.channels,
            self.full_scale.classes,
            self.full_scale.stride,
        )
        self.embedding_features = self.full_scale.embedding_features
        self.decoded_features = self.full_scale.decoded_features
        self.level_features = widths = self.full_scale.level_features
        pairs = itertools.pairwise(widths) if cross_level else ()
        self.cross_levels = nn.ModuleList(CrossLevel(own, deeper) for own, deeper in pairs)
        self.fusions = nn.ModuleList(Fusion(width) for width in widths[::-1] if fusion)

    def forward(self, image: Tensor) -> Features:
        """Return the features of `image` (B, C, D, H, W); with views while training only."""
        return self._features(image, views=self.training)

    def viewed(self, image: Tensor) -> Features:
        """Return the features of `image` with the logits of both scales."""
        return self._features(image, views=True)

    def _features(self, image: Tensor, *, views: bool) -> Features:
        check_input(self, image)
        full = self.full_scale.decode(self._levels(image))
        half = (
            self.half_scale.decode(self._levels(self._halved(image)))
            if views or self.fusing
            else []
        )
        decoded = full
        if self.fusing is not None:
            levels = [
                fuse(x1, _upsampled(x2, x1.shape[2:]))
                for fuse, x1, x2 in zip(self.fusions, full, half, strict=True)
            ]
            decoded = self.fusing.decode(levels[::-1])
        logits = (self.fusing or self.full_scale).classify(decoded[-1])
        if not views:
            return Features(logits, decoded[0], decoded[-1], levels=self.between(decoded))
        larger = _upsampled(self.half_scale.classify(half[-1]), image.shape[2:])
        first = logits if self.fusing is None else self.full_scale.classify(full[-1])
        both = torch.stack((first, larger), dim=1)
        return Features(logits, decoded[0], decoded[-1], both, self.between(decoded))

    def _levels(self, image: Tensor) -> list[Tensor]:
        """Return the encoder's features, shallow to deep, after CFA."""
        levels = self.full_scale.encode(image)
        for index, join in enumerate(self.cross_levels):
            levels[index] = join(levels[index], levels[index + 1])
        return levels

    def _halved(self, image: Tensor) -> Tensor:
        """Return `image` at half scale, padded at its end to multiples of the stride."""
        half = F.avg_pool3d(image, 2)
        missing = [
            math.ceil(size / step) * step - size
            for size, step in zip(half.shape[2:], self.stride, strict=True)
        ]
        return F.pad(half, [n for end in reversed(missing) for n in (0, end)], mode="replicate")


def _upsampled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return `x` (B, F, d, h, w) at twice its size, cropped at the end to `size`."""
    return doubled(x)[:, :, : size[0], : size[1], : size[2]]
