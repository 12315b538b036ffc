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
from dycon_engine.networks.normalizing import EPSILON, Affine, fits, normalized
from dycon_engine.networks.rebuilding import remember

LARGEST_GROUP_COUNT = 16


class Style(NamedTuple):
    """What follows every convolution of a network: `norm` and the slope of the activation."""

    norm: str
    negative_slope: float


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` that does not fall off PyTorch's cliffs on CPU.

    PyTorch sends small inputs of batch size 1 and, on one thread, 1x1x1 kernels to a reference
    convolution that is about six times slower than oneDNN. Without gradients oneDNN can be called
    by name. (With gradients its backward pass would take the slow way all the same: train with two
    patches or more.) A 1x1x1 kernel is a matrix product where the features lie side by side.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the base class
        """Return the convolution of `input` (B, C, D, H, W)."""
        return self.with_weights(input, self.weight, self.bias)

    def with_weights(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of `x` with other weights of the same kind."""
        if not _is_single_on_cpu(x, weight):
            return self._convolved(x, weight, bias)
        if weight.shape[2:].numel() == 1 and x.is_contiguous(memory_format=torch.channels_last_3d):
            product = F.linear(x.permute(0, 2, 3, 4, 1), weight.flatten(1), bias)
            return product.permute(0, 4, 1, 2, 3)
        if len(x) == 1 and not torch.is_grad_enabled() and has_mkldnn():
            padding = cast(tuple[int, ...], self.padding)
            return torch.mkldnn_convolution(
                x, weight, bias, padding, self.stride, self.dilation, self.groups
            )
        return self._convolved(x, weight, bias)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = self._conv_forward(x, weight, bias)
        return result


def _is_eager_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _is_single_on_cpu(x: Tensor, weight: Tensor) -> bool:
    return (
        _is_eager_on_cpu(x)
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def has_mkldnn() -> bool:
    """Return whether PyTorch was built with oneDNN and may use it."""
    return bool(torch._C._has_mkldnn and torch.backends.mkldnn.enabled)


class InstanceNorm(nn.Module):
    """Instance normalisation with scale and shift: (B, F, D, H, W) -> the same.

    Runs the batch-norm kernel on one sample at a time (see `normalizing`): a forward and backward
    pass of the 3D U-Net costs a third less on CPU. A single voxel is its own mean, so only the
    shift is left of it.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with mean `bias` and deviation `weight` per sample and feature."""
        if fits(x, self.weight):
            return normalized(x, Affine(self.weight, self.bias, None), whole_batch=False)
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


class BatchNorm(nn.BatchNorm3d):
    """`nn.BatchNorm3d`; a type of its own, whose parts `normalize_and_activate` may rearrange."""


def normalization(norm: str, features: int) -> nn.Module:
    """Return the layer `norm` (instance, batch, group or none) for `features` feature maps."""
    if norm == "instance":
        return InstanceNorm(features)
    if norm == "batch":
        return BatchNorm(features)
    if norm == "group":
        return nn.GroupNorm(math.gcd(LARGEST_GROUP_COUNT, features), features)
    return nn.Identity()


def normalize_and_activate(x: Tensor, norm: nn.Module, slope: float) -> Tensor:
    """Return (leaky) ReLU of `norm(x)`, x (B, F, D, H, W); may overwrite what `norm` gives."""
    if isinstance(norm, InstanceNorm) and fits(x, norm.weight):
        return normalized(x, Affine(norm.weight, norm.bias, slope), whole_batch=False)
    if isinstance(norm, BatchNorm) and norm.training and fits(x, norm.weight):
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        affine = Affine(norm.weight, norm.bias, slope)
        return normalized(x, affine, whole_batch=True, running=norm)
    x = norm(x)
    return F.leaky_relu(x, slope, inplace=True) if slope else F.relu(x, inplace=True)


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

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the activated features of `x`, with those of `beside` in front of its own."""
        if beside is not None:
            x = self._convolved_both(beside, x)
        elif self._folds(x):
            return self._folded(x)
        else:
            x = self.conv(x)
        return normalize_and_activate(x, self.norm, self.negative_slope)

    def _convolved_both(self, first: Tensor, second: Tensor) -> Tensor:
        """Convolve two tensors as if they were one, without joining them in memory (on CPU)."""
        conv = self.conv
        if not isinstance(conv, Conv3d) or not _is_eager_on_cpu(first):
            joined: Tensor = conv(torch.cat((first, second), dim=1))
            return joined
        front, back = torch.split(conv.weight, [first.shape[1], second.shape[1]], dim=1)
        return conv.with_weights(first, front, conv.bias).add_(
            conv.with_weights(second, back, None)
        )

    def _folds(self, x: Tensor) -> bool:
        """Return whether the normalisation is a constant that the convolution can take over."""
        return (
            isinstance(self.norm, BatchNorm)
            and not self.norm.training
            and not torch.is_grad_enabled()
            and _is_single_on_cpu(x, self.norm.weight)
        )

    def _folded(self, x: Tensor) -> Tensor:
        norm, conv = cast(BatchNorm, self.norm), cast(nn.Conv3d, self.conv)
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        scale = norm.weight * (variance + norm.eps).rsqrt()
        shift = norm.bias - mean * scale
        if isinstance(conv, Conv3d):
            x = conv.with_weights(x, conv.weight * scale.view(-1, 1, 1, 1, 1), shift)
        else:
            weight = conv.weight * scale.view(1, -1, 1, 1, 1)
            x = F.conv_transpose3d(x, weight, shift, conv.stride)
        return F.leaky_relu_(x, self.negative_slope) if self.negative_slope else F.relu_(x)


class Stage(nn.Sequential):
    """`depth` 3x3x3 convolutions in a row, the first from `inputs` to `outputs` features."""

    def __init__(self, inputs: int, outputs: int, *, depth: int, style: Style) -> None:
        widths = [inputs] + [outputs] * depth
        super().__init__(*[ConvNormAct(i, o, style=style) for i, o in itertools.pairwise(widths)])

    def forward(self, input: Tensor, beside: Tensor | None = None) -> Tensor:  # noqa: A002 - as in the base class
        """Return the features of `input`, with those of `beside` in front of its own."""
        first, *others = self
        x: Tensor = first(input, beside)
        for part in others:
            x = part(x)
        return x


class ResidualBlock(nn.Module):
    """x -> act(shortcut(x) + norm(conv(ConvNormAct(x)))): (B, I, D, H, W) -> (B, O, D, H, W).

    The shortcut is the identity, or a normalised 1x1x1 convolution where I differs from O.
    """

    def __init__(self, inputs: int, outputs: int, *, style: Style) -> None:
        super().__init__()
        bias = style.norm not in ("instance", "batch")
        self.first = ConvNormAct(inputs, outputs, style=style)
        self.second = nn.Sequential(
            Conv3d(outputs, outputs, 3, padding=1, bias=bias), normalization(style.norm, outputs)
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                Conv3d(inputs, outputs, 1, bias=bias), normalization(style.norm, outputs)
            )
        self.negative_slope = style.negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum."""
        changed, same = self.second(self.first(x)), self.shortcut(x)
        total = remember(changed + same, torch.add, changed, same)
        return F.leaky_relu(total, self.negative_slope)


class ResidualStage(nn.Sequential):
    """`blocks` residual blocks in a row, the first from `inputs` to `outputs` features."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, style: Style) -> None:
        widths = [inputs] + [outputs] * blocks
        super().__init__(*[ResidualBlock(i, o, style=style) for i, o in itertools.pairwise(widths)])


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
