"""From a trained method to a package, and from a package to a method's starting point."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dycon_engine.config import RunConfig
from dycon_engine.data.audit import Audit
from dycon_engine.errors import InputError
from dycon_engine.jobs.terminal import shell_word
from dycon_engine.methods.base import Method
from dycon_engine.networks.base import Network
from dycon_engine.package import PackageInfo, load_package, save_package
from dycon_engine.settings import as_table


def networks_of(module: nn.Module) -> list[Network]:
    """Return the networks inside `module`, outermost ones only, each once."""
    return list(_networks(module))


def predicting_network(method: Method, name: str) -> Network:
    """Return the network in `predictor()` of the method called `name`: what a package holds.

    Raises:
        InputError: There is none.
    """
    found = networks_of(method.predictor())
    if not found:
        raise InputError(
            f"method '{name}': no Network is found in predictor(), so there is nothing to ship; "
            "keep the network as an attribute of the module that predictor() returns, e.g. Logits"
        )
    return found[0]


def ship(path: Path, info: PackageInfo, method: Method) -> None:
    """Write the predictor of `method`, and its partner where it has an equal one, as a package."""
    predictor = predicting_network(method, str(info.training.get("method", "")))
    weights = _weights(predictor)
    partner: Mapping[str, Tensor] | None = None
    for other in networks_of(method):
        candidate = _weights(other)
        if other is not predictor and _shapes(candidate) == _shapes(weights):
            partner = candidate
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    save_package(path, info, weights, partner, overwrite=True)


class Start(NamedTuple):
    """What training started from: the package's sha256, and what to know about it."""

    sha256: str
    notes: tuple[str, ...]


def start_from(path: Path, method: Method, *, config: RunConfig, found: Audit) -> Start:
    """Load the weights of the package at `path` into every network of `method`, teachers included.

    Args:
        path: Of the package.
        method: Of which every network is built like that of the package.
        config: The run.
        found: Channels and labels of the data.

    Raises:
        InputError: The package has another network, other channels or other labels than this run,
            or comes from the audit of the label leak.
    """
    package = load_package(path)
    info, where = package.info, f"package '{path.name}'"
    if "oracle" in info.training:
        raise InputError(
            f"{where}: is an ORACLE AUDIT, trained with the labels of unlabeled cases; nothing may "
            "be trained from it, start from another package or from scratch"
        )
    _require_alike(info, method, config, where)
    if len(info.channels) != len(found.channels):
        raise InputError(
            f"{where}: its network takes {len(info.channels)} channels "
            f"({', '.join(info.channels)}), the data has {len(found.channels)}; use data with the "
            "same channels, or start from scratch"
        )
    values = [label.value for label in info.labels]
    if values != [label.value for label in found.labels]:
        raise InputError(
            f"{where}: its labels are {values}, the data has "
            f"{[label.value for label in found.labels]}; use data with the same labels"
        )
    weights = package.predictor.state_dict()
    for network in networks_of(method):
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(
                f"{where}: does not fit method '{config.method.name}'; take the method it was "
                "trained with, or start from scratch"
            ) from error
    return Start(package.sha256, tuple(_notes(info, config, found, where)))


def _require_alike(info: PackageInfo, method: Method, config: RunConfig, where: str) -> None:
    """Check that the networks are built alike.

    Raises:
        InputError: Naming every setting that differs.
    """
    theirs, ours = as_table(info.network), as_table(config.network)
    apart = [name for name in theirs if theirs[name] != ours[name]]
    if apart:
        said = "; ".join(f"{name} is {theirs[name]}, here {ours[name]}" for name in apart)
        wanted = " ".join(f"--set {_pasted(name, theirs[name])}" for name in apart)
        raise InputError(f"{where}: its network is another ({said}); add {wanted}")
    if info.composition != method.composition():
        raise InputError(
            f"{where}: it is made of networks in another way ({info.composition.kind}, here "
            f"{method.composition().kind}); take the method it was trained with"
        )


def _pasted(name: str, value: object) -> str:
    """Return a setting of the network as one word of a command line."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return shell_word(f"network.{name}={text}")


def _notes(info: PackageInfo, config: RunConfig, found: Audit, where: str) -> Iterator[str]:
    """Yield what may make the weights fit badly, one sentence each."""
    ours = found.preprocessing(config).as_table()
    for name, theirs in info.preprocessing.as_table().items():
        if theirs != ours.get(name, True):  # `excludes_blank` is left out where it is True
            yield f"{where}: was trained with {name} {theirs}, this run has {ours.get(name, True)}"
    for one, other in zip(info.labels, found.labels, strict=True):
        if one.name.casefold() != other.name.casefold():
            yield f"{where}: calls label {one.value} '{one.name}', the data '{other.name}'"


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
