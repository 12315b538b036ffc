"""From settings to a network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.errors import InputError
from dycon_engine.networks.base import Network
from dycon_engine.networks.mednext import MedNeXt
from dycon_engine.networks.unet3d import UNet3D
from dycon_engine.networks.vnet import VNet
from dycon_engine.settings import known


class NetworkClass(Protocol):
    """What makes a network from its settings."""

    def __call__(self, config: NetworkConfig, *, channels: int, classes: int) -> Network:
        """Return the network."""
        ...


NETWORKS: dict[str, NetworkClass] = {  # the names: `config.NETWORK_NAMES`
    "mednext": MedNeXt,
    "resunet3d": partial(UNet3D, residual=True),
    "unet3d": UNet3D,
    "vnet": VNet,
}


def build_network(config: NetworkConfig, *, channels: int, classes: int) -> Network:
    """Return a new network, image (B, `channels`, D, H, W) -> logits of `classes` classes.

    Its weights lie in channels_last_3d, which the convolutions then keep: on CPU and CUDA the
    fastest layout.

    Raises:
        InputError: An unknown name, or settings the architecture does not have.
    """
    name = known(config.name, NETWORKS, "network")
    if len(config.filters) < 2 or min(config.filters) < 1:  # noqa: PLR2004 - an encoder, a decoder
        raise InputError(
            f"network.filters: found {list(config.filters)}; expected at least two positive numbers"
        )
    network = NETWORKS[name](config, channels=channels, classes=classes)
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True)
class NetworkBuilder:
    """Makes new networks of one kind; a method calls it once per network that it owns."""

    config: NetworkConfig
    channels: int
    classes: int

    def __call__(self, *, name: str | None = None) -> Network:
        """Return a new network; `name` chooses another architecture with the same settings."""
        config = dataclasses.replace(self.config, name=name) if name else self.config
        return build_network(config, channels=self.channels, classes=self.classes)
