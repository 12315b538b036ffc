"""The layers of the SSL4MIS family's networks, with their names, to compare imported weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NORMS = {
    "batch": nn.BatchNorm3d,
    "instance": nn.InstanceNorm3d,
    "group": lambda features: nn.GroupNorm(16, features),
}


def _sequence(convolutions: list[nn.Module], norm: str) -> nn.Module:
    layers: list[nn.Module] = []
    for convolution in convolutions:
        layers.append(convolution)
        if norm != "none":
            layers.append(NORMS[norm](convolution.out_channels))
        layers.append(nn.ReLU())
    holder = nn.Module()
    holder.conv = nn.Sequential(*layers)
    return holder


def vnet_twin(channels: int, classes: int, norm: str, *, width: int = 16) -> nn.Module:
    """Return a V-Net with attribute names block_one ... block_nine, out_conv."""
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    depths = (1, 2, 3, 3, 3, 3, 3, 2, 1)
    widths = [width * 2**level for level in (0, 1, 2, 3, 4, 3, 2, 1, 0)]
    net = nn.Module()
    for index, (word, depth, w) in enumerate(zip(words, depths, widths, strict=True)):
        first = channels if index == 0 else w
        convs = [nn.Conv3d(first if i == 0 else w, w, 3, padding=1) for i in range(depth)]
        setattr(net, f"block_{word}", _sequence(convs, norm))
        if index < 4:
            setattr(net, f"block_{word}_dw", _sequence([nn.Conv3d(w, 2 * w, 2, 2)], norm))
        elif index < 8:
            up = nn.ConvTranspose3d(w, w // 2, 2, 2)
            setattr(net, f"block_{word}_up", _sequence([up], norm))
    net.out_conv = nn.Conv3d(width, classes, 1)
    return net


def run_vnet(net: nn.Module, x: Tensor) -> Tensor:
    """Return the logits of `vnet_twin`."""
    skips = []
    for word in ("one", "two", "three", "four"):
        x = getattr(net, f"block_{word}").conv(x)
        skips.append(x)
        x = getattr(net, f"block_{word}_dw").conv(x)
    x = net.block_five.conv(x)
    for below, word in (("five", "six"), ("six", "seven"), ("seven", "eight"), ("eight", "nine")):
        x = getattr(net, f"block_{below}_up").conv(x) + skips.pop()
        x = getattr(net, f"block_{word}").conv(x)
    return net.out_conv(x)


def _double(inputs: int, outputs: int) -> nn.Module:
    block = nn.Module()
    for name, first in (("conv1", inputs), ("conv2", outputs)):
        convolution = nn.Conv3d(first, outputs, 3, padding=1)
        setattr(block, name, nn.Sequential(convolution, nn.InstanceNorm3d(outputs), nn.ReLU()))
    return block


def unet_twin(channels: int, classes: int, *, width: int = 16) -> nn.Module:
    """Return a 3D U-Net with attribute names conv1..4, center, up_concat4..1, final."""
    net = nn.Module()
    widths = [width * 2**level for level in range(5)]
    for index, name in enumerate(("conv1", "conv2", "conv3", "conv4", "center")):
        setattr(net, name, _double(widths[index - 1] if index else channels, widths[index]))
    for index in (4, 3, 2, 1):
        up = nn.Module()
        up.conv = _double(widths[index] + widths[index - 1], widths[index - 1])
        setattr(net, f"up_concat{index}", up)
    net.final = nn.Conv3d(width, classes, 1)
    return net


def run_unet(net: nn.Module, x: Tensor) -> Tensor:
    """Return the logits of `unet_twin`."""
    upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
    skips = []
    for name in ("conv1", "conv2", "conv3", "conv4"):
        block = getattr(net, name)
        x = block.conv2(block.conv1(x))
        skips.append(x)
        x = nn.functional.max_pool3d(x, 2)
    x = net.center.conv2(net.center.conv1(x))
    for index in (4, 3, 2, 1):
        block = getattr(net, f"up_concat{index}").conv
        x = block.conv2(block.conv1(torch.cat([skips.pop(), upsample(x)], 1)))
    return net.final(x)
