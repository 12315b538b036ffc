"""From a trained method to a package, and from a package to a method's starting point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dycon_engine.config import NetworkConfig, RunConfig
from dycon_engine.data.cases import Label
from dycon_engine.errors import InputError
from dycon_engine.methods.base import Method
from dycon_engine.networks.base import Network
from dycon_engine.package import PackageInfo, load_package, save_package
from dycon_engine.settings import as_table


def networks_of(module: nn.Module) -> list[Network]:
    """Return the networks inside `module`, outermost ones only, each once."""
    return list(_networks(module))


def ship(path: Path, info: PackageInfo, method: Method) -> None:
    """Write the predictor of `method`, and its partner where it has an equal one, as a package."""
    predictor = networks_of(method.predictor())[0]
    weights = _weights(predictor)
    partner: Mapping[str, Tensor] | None = None
    for other in networks_of(method):
        candidate = _weights(other)
        if other is not predictor and _shapes(candidate) == _shapes(weights):
            partner = candidate
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    save_package(path, info, weights, partner, overwrite=True)


def start_from(path: Path, method: Method, *, config: RunConfig, labels: tuple[Label, ...]) -> None:
    """Load the weights of the package at `path` into every network of `method`.

    Raises:
        InputError: The package has another network or other labels than this run.
    """
    package = load_package(path)
    if (package.info.network, package.info.composition) != (config.network, method.composition()):
        raise InputError(
            f"package '{path}': its network is {_words(package.info.network)} "
            f"({package.info.composition.kind}), this run has {_words(config.network)} "
            f"({method.composition().kind}); set the [network] section and the method alike"
        )
    values = [label.value for label in package.info.labels]
    if values != [label.value for label in labels]:
        raise InputError(
            f"package '{path}': its labels are {values}, the data has "
            f"{[label.value for label in labels]}; use data with the same labels"
        )
    weights = package.predictor.state_dict()
    for network in networks_of(method):
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(
                f"package '{path}': does not fit this run's network (channels?); start without it"
            ) from error


def _words(network: NetworkConfig) -> str:
    return ", ".join(f"{name} {value}" for name, value in as_table(network).items())


def _networks(module: nn.Module) -> Iterator[Network]:
    if isinstance(module, Network):
        yield module
        return
    for child in module.children():
        yield from _networks(child)


def _weights(network: Network) -> dict[str, Tensor]:
    state = network.state_dict()
    return {
        name: value.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, value in state.items()
    }


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}
