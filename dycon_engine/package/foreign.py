"""Weights that another code family trained, turned into a package without executing anything."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.data.cases import Label
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.errors import InputError
from dycon_engine.networks.ssl4mis import convert_state_dict
from dycon_engine.package.info import PackageInfo
from dycon_engine.package.model import save_package


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """What the file itself does not say.

    Attributes:
        weights: State dict, .pth.
        network: vnet, unet3d or auto.
        labels: Names, background first; the index is the value.
        spacing_mm: Voxel size (z, y, x) of training.
        patch_size: Window (z, y, x) of training.
        axes: Order of the array axes in training, zyx or xyz.
        normalization: zscore, window or none.
        window: Of a CT window.
    """

    weights: Path
    network: str
    labels: tuple[str, ...]
    spacing_mm: tuple[float, ...]
    patch_size: tuple[float, ...]
    axes: str
    normalization: str
    window: tuple[float, ...]


def import_weights(request: Foreign, output: Path, *, overwrite: bool = False) -> PackageInfo:
    """Write the package of `request` to `output` and return its description.

    Raises:
        InputError: The file holds more than tensors, or not one of the known networks; or what was
            said of it does not fit.
    """
    state = read_state(request.weights)
    config, channels, classes, tensors = convert_state_dict(state, axes=request.axes)
    _check(request, config, classes)
    z, y, x = (int(n) for n in request.patch_size)
    mm_z, mm_y, mm_x = request.spacing_mm
    low, high = request.window
    info = PackageInfo(
        network=config,
        channels=tuple(f"channel {index}" for index in range(channels)),
        labels=tuple(Label(index, name) for index, name in enumerate(request.labels)),
        preprocessing=Preprocessing((mm_z, mm_y, mm_x), request.normalization, (low, high)),
        patch_size=(z, y, x),
        training={"method": "imported from a state dict of the SSL4MIS family"},
    )
    return save_package(output, info, tensors, overwrite=overwrite)


def read_state(path: Path) -> Mapping[str, Any]:
    """Return the tensors by name in a .pth file; nothing but tensors is ever unpickled.

    Raises:
        InputError: Not readable, or it holds other objects.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(
            f"weights '{path}': cannot be read ({error.strerror}); check the path"
        ) from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        raise InputError(
            f"weights '{path}': not a plain state dict ({reason}); save model.state_dict() and "
            "give that"
        ) from None
    if not isinstance(state, Mapping):
        raise InputError(f"weights '{path}': holds no state dict; save model.state_dict()")
    return state


def numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    """Return `count` numbers of a text such as 1.25,1,1.

    Raises:
        InputError: Other than that.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise InputError(f"{option} '{text}': expected {count} numbers with commas between")
    return values


def _check(request: Foreign, config: NetworkConfig, classes: int) -> None:
    if request.network not in ("auto", config.name):
        raise InputError(
            f"weights '{request.weights}': hold a {config.name}, not a {request.network}; "
            "use --network auto"
        )
    if len(request.labels) != classes:
        raise InputError(
            f"--labels names {len(request.labels)} classes, the network has {classes}; name all, "
            "background first"
        )
    if any(n != int(n) for n in request.patch_size):
        raise InputError(f"--patch {request.patch_size}: expected whole numbers of voxels")
