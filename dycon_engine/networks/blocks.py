"""Parts that the networks share: convolution, normalisation, activation, and the input check."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dycon_engine.errors import InputError
from dycon_engine.networks.base import Network

EPSILON = 1e-5
LARGEST_GROUP_COUNT = 16


class Style(NamedTuple):
    """What follows every convolution of a network: `norm` and the slope of the activation."""

    norm: str
    negative_slope: float


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` that does not fall off a cliff when one patch is predicted on CPU.

    PyTorch sends small inputs of batch size 1 to a reference convolution that is about six times
    slower than oneDNN; without gradients oneDNN can be called by name. (With gradients its
    backward pass would take the slow way all the same: train with two patches or more.)
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the base class
        """Return the convolution of `input` (B, C, D, H, W)."""
        if _is_slow_case(input, self.weight):
            padding = cast(tuple[int, ...], self.padding)
            return torch.mkldnn_convolution(
                input, self.weight, self.bias, padding, self.stride, self.dilation, self.groups
            )
        return super().forward(input)


def _is_slow_case(x: Tensor, weight: Tensor) -> bool:
    return bool(
        x.shape[0] == 1
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and torch._C._has_mkldnn
        and torch.backends.mkldnn.enabled
    )


class InstanceNorm(nn.Module):
    """Instance normalisation with scale and shift: (B, F, D, H, W) -> the same.

    Runs the batch-norm kernel on one sample at a time. That is the same mathematics, but this
    kernel keeps channels_last_3d, where the instance-norm kernel copies to contiguous and back
    (a forward and backward pass of the 3D U-Net costs a third less on CPU). A single voxel is
    its own mean, so only the shift is left of it.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with mean `bias` and deviation `weight` per sample and feature."""
        if x.shape[2:].numel() == 1:
            return (x - x) * self._per_feature(self.weight) + self._per_feature(self.bias)
        samples = [
            F.batch_norm(sample, None, None, self.weight, self.bias, True, 0.0, EPSILON)
            for sample in torch.split(x, 1)
        ]
        return samples[0] if len(samples) == 1 else torch.cat(samples)

    @staticmethod
    def _per_feature(values: Tensor) -> Tensor:
        return values.view(1, -1, 1, 1, 1)


def normalization(norm: str, features: int) -> nn.Module:
    """Return the layer `norm` (instance, batch, group or none) for `features` feature maps."""
    if norm == "instance":
        return InstanceNorm(features)
    if norm == "batch":
        return nn.BatchNorm3d(features)
    if norm == "group":
        return nn.GroupNorm(math.gcd(LARGEST_GROUP_COUNT, features), features)
    return nn.Identity()


class ConvNormAct(nn.Module):
    """Convolution, normalisation, (leaky) ReLU: (B, I, D, H, W) -> (B, O, D, H, W) / `factor`.

    With `factor` 1 the kernel is 3x3x3; a larger `factor` is kernel and stride at once, and
    `transposed` makes it a learned upsampling instead. The convolution has no bias where the
    normalisation would subtract it again.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        style: Style,
        factor: int = 1,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        bias = style.norm not in ("instance", "batch")
        if factor == 1:
            self.conv: nn.Module = Conv3d(inputs, outputs, 3, padding=1, bias=bias)
        else:
            kind = nn.ConvTranspose3d if transposed else Conv3d
            self.conv = kind(inputs, outputs, factor, factor, bias=bias)
        self.norm = normalization(style.norm, outputs)
        self.negative_slope = style.negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated features; the activation overwrites its input."""
        x = self.norm(self.conv(x))
        if self.negative_slope:
            return F.leaky_relu(x, self.negative_slope, inplace=True)
        return F.relu(x, inplace=True)


def stage(inputs: int, outputs: int, *, depth: int, style: Style) -> nn.Module:
    """Return `depth` 3x3x3 convolutions in a row, the first from `inputs` to `outputs`."""
    widths = [inputs] + [outputs] * depth
    return nn.Sequential(*[ConvNormAct(i, o, style=style) for i, o in itertools.pairwise(widths)])


def check_input(network: Network, image: Tensor) -> None:
    """Refuse an image (B, C, D, H, W) that `network` cannot take.

    Raises:
        InputError: Wrong number of channels, or a size that is not a multiple of the stride.
    """
    if image.dim() != 5 or image.shape[1] != network.channels:  # noqa: PLR2004 - B C D H W
        raise InputError(
            f"network input has shape {tuple(image.shape)}; expected (B, {network.channels}, D, H, "
            "W); check the number of channels"
        )
    if any(size % step for size, step in zip(image.shape[2:], network.stride, strict=True)):
        found = "x".join(str(size) for size in image.shape[2:])
        stride = "x".join(str(step) for step in network.stride)
        raise InputError(
            f"network input is {found} voxels; expected multiples of {stride}; "
            "pad it or change training.patch_size"
        )
