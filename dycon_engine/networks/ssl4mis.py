"""Weights of the SSL4MIS code family's `VNet` and `unet_3D`, renamed to our networks.

Outputs are equal (up to rounding) in evaluation. Where our convolution has no bias because a
normalisation follows, the imported bias moves into the running mean of a batch norm and is
dropped before an instance norm, which subtracts it anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dycon_engine.config import NetworkConfig
from dycon_engine.errors import InputError
from dycon_engine.networks.build import build_network

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
VNET_STAGES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VNET_LEVELS = UNET_LEVELS = 5
SHOWN = 3
AXES = {"zyx": (0, 1, 2), "xyz": (2, 1, 0)}


class _Source(NamedTuple):
    """Where the tensors of one of our layers lie: prefixes of convolution and normalisation."""

    conv: str
    norm: str | None


def convert_state_dict(
    state: Mapping[str, Any], *, axes: str = "zyx"
) -> tuple[NetworkConfig, int, int, dict[str, Tensor]]:
    """Return the network settings, channels, classes and our state dict of `state`.

    Args:
        state: What the file holds: tensors by name, perhaps with `module.` before each name, or
            inside an entry such as 'state_dict'.
        axes: Order of the array axes the network was trained with: 'zyx', or 'xyz' as the LA and
            Pancreas files of the family have it; the kernels are turned accordingly.

    Raises:
        InputError: Neither of the two networks; names what was found.
    """
    tensors = _unwrapped(state)
    order = AXES.get(axes)
    if order is None:
        raise InputError(f"axes '{axes}': expected one of {', '.join(AXES)}")
    if "block_one.conv.0.weight" in tensors and "out_conv.weight" in tensors:
        config, layers = _vnet(tensors)
    elif "center.conv1.0.weight" in tensors and "final.weight" in tensors:
        config, layers = _unet(tensors)
    else:
        raise InputError(
            f"weights: found {_listed(sorted(tensors))}; expected a VNet (block_one.conv.0.weight, "
            "out_conv.weight) or unet_3D (center.conv1.0.weight, final.weight) of SSL4MIS"
        )
    used: set[str] = set()
    ours: dict[str, Tensor] = {}
    for name, source in layers.items():
        ours |= _layer(tensors, name, source, config.norm, used)
    extra = sorted(set(tensors) - used)
    if extra:
        raise InputError(
            f"weights: besides a {config.name} found {_listed(extra)}; expected that network alone"
        )
    first = "encoder.0.0.conv.weight"
    channels, classes = int(ours[first].shape[1]), int(ours["head.weight"].shape[0])
    ours = {name: _turned(tensor, order) for name, tensor in ours.items()}
    _check_fit(config, channels, classes, ours)
    return config, channels, classes, ours


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Tensor]:
    for name in WRAPPERS:
        inner = state.get(name)
        if isinstance(inner, Mapping):
            return _unwrapped(inner)
    return {
        str(name).removeprefix("module."): value.detach()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def _vnet(tensors: Mapping[str, Tensor]) -> tuple[NetworkConfig, dict[str, _Source]]:
    """Return settings and layers of a VNet: stages one to five down, six to nine up."""
    norm = _vnet_norm(tensors)
    step = 2 if norm == "none" else 3  # convolution, (normalisation,) ReLU
    depths = (1, 2, 3, 3, 3, 3, 3, 2, 1)
    layers: dict[str, _Source] = {}
    for index, (stage, depth) in enumerate(zip(VNET_STAGES, depths, strict=True)):
        part = f"encoder.{index}" if index < VNET_LEVELS else f"decoder.{index - VNET_LEVELS}"
        for place in range(depth):
            prefix = f"block_{stage}.conv"
            layers[f"{part}.{place}"] = _pair(prefix, step * place, norm)
    for index, stage in enumerate(VNET_STAGES[: VNET_LEVELS - 1]):
        layers[f"down.{index}"] = _pair(f"block_{stage}_dw.conv", 0, norm)
    for index, stage in enumerate(VNET_STAGES[VNET_LEVELS - 1 : -1]):
        layers[f"up.{index}"] = _pair(f"block_{stage}_up.conv", 0, norm)
    layers["head"] = _Source("out_conv", None)
    filters = _widths(tensors, [f"block_{stage}.conv.0.weight" for stage in VNET_STAGES[:5]])
    config = NetworkConfig(name="vnet", filters=filters, norm=norm, dropout=0.5, negative_slope=0.0)
    return config, layers


def _vnet_norm(tensors: Mapping[str, Tensor]) -> str:
    """Return the normalisation: by its own tensors, or by the place of the second convolution."""
    if "block_one.conv.1.running_mean" in tensors:
        return "batch"
    if "block_one.conv.1.weight" in tensors:
        return "group"
    return "none" if "block_two.conv.2.weight" in tensors else "instance"


def _unet(tensors: Mapping[str, Tensor]) -> tuple[NetworkConfig, dict[str, _Source]]:
    """Return settings and layers of a unet_3D; its instance norms have no tensors of their own."""
    stages = [f"conv{level}" for level in range(1, UNET_LEVELS)] + ["center"]
    parts = {f"encoder.{index}": stage for index, stage in enumerate(stages)}
    for index in range(UNET_LEVELS - 1):
        parts[f"decoder.{index}"] = f"up_concat{UNET_LEVELS - 1 - index}.conv"
    layers = {
        f"{part}.{place}": _pair(f"{stage}.conv{place + 1}", 0, "instance")
        for part, stage in parts.items()
        for place in range(2)
    }
    layers["head"] = _Source("final", None)
    config = NetworkConfig(
        name="unet3d",
        filters=_widths(tensors, [f"{stage}.conv1.0.weight" for stage in stages]),
        dropout=0.3,
        negative_slope=0.0,
        upsampling="trilinear",
    )
    return config, layers


def _pair(prefix: str, place: int, norm: str) -> _Source:
    return _Source(f"{prefix}.{place}", None if norm == "none" else f"{prefix}.{place + 1}")


def _widths(tensors: Mapping[str, Tensor], names: list[str]) -> tuple[int, ...]:
    return tuple(int(_found(tensors, name).shape[0]) for name in names)


def _found(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise InputError(f"weights: '{name}' is missing; the file is not complete")
    return tensors[name]


def _layer(
    tensors: Mapping[str, Tensor], name: str, source: _Source, norm: str, used: set[str]
) -> dict[str, Tensor]:
    """Return the tensors of our layer `name`; the names taken are added to `used`."""

    def take(key: str) -> Tensor:
        used.add(key)
        return _found(tensors, key)

    weight, bias = take(f"{source.conv}.weight"), take(f"{source.conv}.bias")
    if source.norm is None:
        part = name if name == "head" else f"{name}.conv"
        return {f"{part}.weight": weight, f"{part}.bias": bias}
    layer = {f"{name}.conv.weight": weight}
    if norm == "instance":
        features = bias.shape[0]
        return layer | {
            f"{name}.norm.weight": torch.ones(features),
            f"{name}.norm.bias": torch.zeros(features),
        }
    for part in ("weight", "bias"):
        layer[f"{name}.norm.{part}"] = take(f"{source.norm}.{part}")
    if norm == "group":
        return layer | {f"{name}.conv.bias": bias}
    layer[f"{name}.norm.running_mean"] = take(f"{source.norm}.running_mean") - bias
    layer[f"{name}.norm.running_var"] = take(f"{source.norm}.running_var")
    used.add(f"{source.norm}.num_batches_tracked")
    layer[f"{name}.norm.num_batches_tracked"] = tensors.get(
        f"{source.norm}.num_batches_tracked", torch.tensor(0)
    )
    return layer


def _turned(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    if tensor.dim() != 5:  # noqa: PLR2004 - a kernel has five axes
        return tensor.clone()
    return tensor.permute(0, 1, *(2 + axis for axis in order)).contiguous()


def _check_fit(
    config: NetworkConfig, channels: int, classes: int, ours: Mapping[str, Tensor]
) -> None:
    """Refuse tensors whose shapes are not those of the network they name."""
    with torch.device("meta"):
        expected = build_network(config, channels=channels, classes=classes).state_dict()
    wrong = [
        f"{name} {tuple(ours[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if ours[name].shape != tensor.shape
    ]
    if wrong:
        raise InputError(
            f"weights: not the {config.name} of the SSL4MIS family: found {_listed(wrong)}"
        )


def _listed(names: list[str]) -> str:
    if not names:
        return "no tensors"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
