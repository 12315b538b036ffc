"""Heads that turn the deepest features into embeddings for contrastive learning (DyCON)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dycon_engine.networks.blocks import Conv3d, InstanceNorm

ASPP_DILATIONS = (1, 6, 12, 18)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., 2017): (B, I, d, h, w) -> (B, O, d, h, w).

    One branch per dilation (1 is a 1x1x1 convolution) and one for the mean of the whole patch,
    joined by a 1x1x1 convolution. A branch has `branch_features` feature maps.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        branch_features: int,
        dilations: tuple[int, ...] = ASPP_DILATIONS,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                Conv3d(inputs, branch_features, 1, bias=False)
                if dilation == 1
                else Conv3d(
                    inputs, branch_features, 3, padding=dilation, dilation=dilation, bias=False
                ),
                InstanceNorm(branch_features),
                nn.ReLU(inplace=True),
            )
            for dilation in dilations
        )
        # A mean over the patch is one voxel: an instance normalisation would leave nothing of it.
        self.whole = nn.Sequential(Conv3d(inputs, branch_features, 1), nn.ReLU(inplace=True))
        self.join = nn.Sequential(
            Conv3d(branch_features * (len(dilations) + 1), outputs, 1, bias=False),
            InstanceNorm(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the pyramid features of `x` (B, I, d, h, w)."""
        whole = self.whole(x.mean(dim=(2, 3, 4), keepdim=True)).expand(-1, -1, *x.shape[2:])
        joined: Tensor = self.join(torch.cat([*(branch(x) for branch in self.branches), whole], 1))
        return joined


class ProjectionHead(nn.Module):
    """Deepest features (B, F, d, h, w) -> unit embeddings (B, E, u d, u h, u w), float32.

    DyCON: optional ASPP, trilinear upsampling by `upsample` (1/16 -> 1/8), 1x1x1 convolution to
    `hidden`, normalisation, ReLU, 1x1x1 convolution to `embedding`, L2 normalisation. The
    released widths are 512 and 256; a small network wants smaller ones.

    Args:
        inputs: F.
        hidden: Features between the two convolutions.
        embedding: E.
        aspp: Features per ASPP branch; 0 leaves the ASPP out.
        upsample: u.
    """

    def __init__(
        self,
        inputs: int,
        *,
        hidden: int = 512,
        embedding: int = 256,
        aspp: int = 0,
        upsample: int = 2,
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.aspp = ASPP(inputs, inputs, branch_features=aspp) if aspp else nn.Identity()
        self.project = nn.Sequential(
            Conv3d(inputs, hidden, 1, bias=False),
            InstanceNorm(hidden),
            nn.ReLU(inplace=True),
            Conv3d(hidden, embedding, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings of length 1 along dim 1."""
        x = self.aspp(x)
        if self.upsample > 1:
            x = F.interpolate(x, scale_factor=self.upsample, mode="trilinear", align_corners=False)
        return F.normalize(self.project(x).float(), dim=1, eps=1e-6)
