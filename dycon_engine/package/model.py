"""A trained model with its description: saving it, and loading it without trusting it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dycon_engine import __version__
from dycon_engine.errors import DamagedFileError, DyconError, InputError
from dycon_engine.jobs.files import write_bytes
from dycon_engine.networks import NetworkBuilder
from dycon_engine.networks.base import Network
from dycon_engine.networks.composing import compose
from dycon_engine.package import archive, weights
from dycon_engine.package.card import card
from dycon_engine.package.info import PackageInfo, check
from dycon_engine.package.strict_json import read_table, write_table

SUFFIX = ".dycon"
PREDICTOR, PARTNER = "predictor.", "partner."


@dataclass(frozen=True, eq=False)
class Package:
    """A loaded model, on the CPU and in evaluation mode.

    Attributes:
        info: Its description.
        predictor: The network that segments.
        partner: The other of student and teacher, for `disagreement`; None where not shipped.
        name: The file's name without its ending.
        sha256: Of the whole file.
    """

    info: PackageInfo
    predictor: Network
    partner: Network | None
    name: str
    sha256: str


def save_package(
    path: Path,
    info: PackageInfo,
    predictor: Mapping[str, Tensor],
    partner: Mapping[str, Tensor] | None = None,
    *,
    overwrite: bool = False,
) -> PackageInfo:
    """Write `path` (NAME.dycon), complete or not at all, and return the description as stored.

    Args:
        path: Target; its folder exists.
        info: Description; engine version and weights_sha256 are filled in here.
        predictor: State dict of what `info.network` and `info.composition` describe.
        partner: State dict of the same architecture, or None.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        InputError: The file is there, the name does not end in .dycon, or `info` makes no sense.
        NonFiniteError: A weight is NaN or infinite.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"package '{path}': the name must end in {SUFFIX}")
    if path.exists() and not overwrite:
        raise InputError(f"package '{path}': already there; choose another name or --overwrite")
    check(info)
    tensors = {PREDICTOR + name: tensor for name, tensor in predictor.items()}
    tensors |= {PARTNER + name: tensor for name, tensor in (partner or {}).items()}
    encoded = weights.encode(tensors)
    stored = dataclasses.replace(
        info, weights_sha256=hashlib.sha256(encoded).hexdigest(), engine_version=__version__
    )
    try:
        model = write_table(stored.as_table())
    except (TypeError, ValueError) as error:
        raise DyconError(f"package '{path}': the description is not JSON ({error})") from error
    members = {
        archive.CARD: card(stored).encode("utf-8"),
        archive.MODEL: model,
        archive.WEIGHTS: encoded,
    }
    content = archive.pack(members)
    _load({name: memoryview(value) for name, value in members.items()}, memoryview(content), path)
    write_bytes(path, content)
    return stored


def load_package(path: Path) -> Package:
    """Return the model in `path`; nothing in the file is ever executed or unpickled.

    Raises:
        InputError: Not a package, or of a newer engine.
        DamagedFileError: Damaged, repacked or forged.
    """
    members, data = archive.unpack(path)
    return _load(members, data, path)


def read_info(path: Path) -> PackageInfo:
    """Return the description in `path`, with the weights' hash checked but no network built.

    Raises:
        InputError: As `load_package`.
    """
    members, _ = archive.unpack(path)
    return _info(members, path)


def _info(members: Mapping[str, memoryview], path: Path) -> PackageInfo:
    where = f"package '{path}': {archive.MODEL}"
    info = PackageInfo.from_table(read_table(bytes(members[archive.MODEL]), where), where)
    if hashlib.sha256(members[archive.WEIGHTS]).hexdigest() != info.weights_sha256:
        raise DamagedFileError(
            f"package '{path}': the weights are not those of the description (sha256 differs); "
            "get the package again from its source"
        )
    return info


def _load(members: Mapping[str, memoryview], data: memoryview, path: Path) -> Package:
    info = _info(members, path)
    what = f"package '{path}': {archive.WEIGHTS}"
    try:
        with torch.device("meta"):
            empty = _network(info)
    except (InputError, ValueError, TypeError, RuntimeError) as error:
        raise DamagedFileError(
            f"package '{path}': no such network can be built ({error}); get it again"
        ) from None
    if any(n % step for n, step in zip(info.patch_size, empty.stride, strict=True)):
        raise DamagedFileError(
            f"package '{path}': window {info.patch_size} is no multiple of {empty.stride}; "
            "get the package again"
        )
    names = empty.state_dict()
    expected = {PREDICTOR + name: tensor for name, tensor in names.items()}
    content = members[archive.WEIGHTS]
    has_partner = f'"{PARTNER}'.encode() in bytes(content[: weights.LONGEST_HEADER])
    if has_partner:
        expected |= {PARTNER + name: tensor for name, tensor in names.items()}
    tensors = weights.decode(content, expected, what)
    return Package(
        info=info,
        predictor=_filled(info, tensors, PREDICTOR),
        partner=_filled(info, tensors, PARTNER) if has_partner else None,
        name=path.name.removesuffix(SUFFIX),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _network(info: PackageInfo) -> Network:
    build = NetworkBuilder(info.network, channels=len(info.channels), classes=info.classes)
    return compose(build, info.composition)


def _filled(info: PackageInfo, tensors: Mapping[str, Tensor], lead: str) -> Network:
    with torch.device("meta"):
        network = _network(info)
    own = {name[len(lead) :]: t for name, t in tensors.items() if name.startswith(lead)}
    network.load_state_dict(own, assign=True)
    network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network
