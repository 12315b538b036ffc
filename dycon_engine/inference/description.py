"""What there is to say of a package, a data set, the methods and this machine, as plain values."""

from __future__ import annotations

import contextlib
import platform
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from dycon_engine import __version__
from dycon_engine.config import PROFILES, RECIPES, MethodSelection, RunConfig, resolve
from dycon_engine.data.audit import audit
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import split_cases
from dycon_engine.data.survey import survey
from dycon_engine.errors import InputError, printable
from dycon_engine.inference.memory import available_bytes
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.result import Wishes
from dycon_engine.inference.uncertainty import KINDS
from dycon_engine.methods import METHODS
from dycon_engine.networks.cores import usable_cores
from dycon_engine.networks.devices import computes_bf16, device_name, present, works
from dycon_engine.package import Package, load_package
from dycon_engine.package.card import card
from dycon_engine.settings import as_table, schema
from dycon_engine.sources import source_digest

GIB = 2**30


def describe_package(path: Path) -> dict[str, Any]:
    """Return name, hash and the whole description of a package, loaded and checked.

    Raises:
        InputError: Not a package, or damaged.
    """
    package = load_package(path)
    return {
        "name": package.name,
        "sha256": package.sha256,
        "parameters": _parameters(package),
        "has_partner": package.partner is not None,
        "has_disagreement": package.partner is not None or package.predictor.has_views,
        **package.info.as_table(),
    }


def package_page(path: Path) -> str:
    """Return the card of a package, loaded and checked, and what only the file tells, as text.

    Raises:
        InputError: As `describe_package`.
    """
    package = load_package(path)
    info = package.info
    lines = [
        *card(info).splitlines(),
        "",
        "## This file",
        "",
        f"- name: {package.name}",
        f"- sha256: {package.sha256}",
        f"- parameters of the network: {_parameters(package):,}",
        f"- kinds of uncertainty: {', '.join(_kinds(package))}",
        f"- overlap of the windows: {info.inference.overlap:g}",
    ]
    if info.name_patterns:
        endings = zip(info.channels, info.name_patterns, strict=True)
        told = ", ".join(f"{channel} {ending}" for channel, ending in endings)
        lines.append(f"- endings of file names: {told}")
    return "".join(f"{printable(line)}\n" for line in lines)


def describe_data(root: Path) -> dict[str, Any]:
    """Return what `train` would find in `root`, with everything that its audit would say.

    Every image and the label maps that would be trained on are read.

    Raises:
        InputError: Nothing is there.
    """
    config = RunConfig()
    data = find_cases(root, config.data)
    scans = survey(data, config.data)
    split = split_cases(data, config.data, scans=scans)
    needed = METHODS[config.method.name].needs_unlabeled
    found = audit(data, split, config, scans=scans, needs_unlabeled=needed)
    labeled = [case.name for case in data.cases if case.label is not None]
    return {
        "layout": data.layout,
        "cases": len(data.cases),
        "with_label": len(labeled),
        "without_label": len(data.cases) - len(labeled),
        "roles": {role: len(names) for role, names in split.roles.items()},
        "channels": list(found.channels),
        "labels": [label._asdict() for label in found.labels],
        "findings": found.findings(),
        "names": [case.name for case in data.cases],
    }


def describe_methods() -> dict[str, Any]:
    """Return every method: its first line and its settings, as a form shows them."""
    return {
        name: {"about": _first_line(kind.__doc__), "settings": schema(kind.Config)}
        for name, kind in sorted(METHODS.items())
    }


def describe_settings() -> dict[str, Any]:
    """Return every setting of a run, `sections` and `methods`, as its schema tells it.

    `profiles` of an entry holds the value in each profile; of a method's entry, which names the
    `methods` that have it, only those that a profile's recipe sets, by profile and method.
    """
    tables = {profile: as_table(resolve(profile)) for profile in sorted(PROFILES)}
    sections = []
    for section, kind in typing.get_type_hints(RunConfig).items():
        for entry in schema(kind):
            if (kind, entry["name"]) != (MethodSelection, "settings"):
                values = {name: table[section][entry["name"]] for name, table in tables.items()}
                name = f"{section}.{entry['name']}"
                sections.append(entry | {"name": name, "profiles": values})
    return {"sections": sections, "methods": _method_settings()}


def _parameters(package: Package) -> int:
    return sum(parameter.numel() for parameter in package.predictor.parameters())


def _kinds(package: Package) -> Iterator[str]:
    """Yield the kinds of uncertainty that `predict` can give with `package`."""
    predictor = Predictor(package)
    for kind in KINDS:
        with contextlib.suppress(InputError):
            predictor.check(Wishes(uncertainty=kind))
            yield kind


def _method_settings() -> list[dict[str, Any]]:
    """Return the settings of all methods; one that several have in the same way comes once."""
    found: list[dict[str, Any]] = []
    for method, kind in sorted(METHODS.items()):
        for entry in schema(kind.Config):
            entry["name"] = f"method.{entry['name']}"
            same = next((e for e in found if _is_same(e, entry)), None)
            if same is None:
                same = entry | {"methods": [], "profiles": {}}
                found.append(same)
            same["methods"].append(method)
            for profile, recipes in sorted(RECIPES.items()):
                recipe = recipes.get(method, {})
                if entry["name"].removeprefix("method.") in recipe:
                    value = recipe[entry["name"].removeprefix("method.")]
                    same["profiles"].setdefault(profile, {})[method] = value
    return sorted(found, key=lambda entry: (-len(entry["methods"]), entry["methods"]))


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two settings are the same but for what a form shows first."""
    return all(one[key] == value for key, value in other.items() if key != "main")


def describe_machine() -> dict[str, Any]:
    """Return devices (each tried with a tiny network), memory, cores and versions."""
    devices: dict[str, Any] = {}
    for kind in ("cpu", *present()):
        devices[kind] = _facts(torch.device(kind))
    return {
        "devices": devices,
        "memory_available_gib": round(available_bytes() / GIB, 2),
        "cores": usable_cores(),
        "torch_threads": torch.get_num_threads(),
        "versions": {
            "dycon_engine": __version__,
            "engine_sources": source_digest(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda_build": torch.version.cuda,
        },
        "system": f"{platform.system()} {platform.machine()}",
        "uncertainty_kinds": dict(KINDS),
    }


def _facts(device: torch.device) -> dict[str, Any]:
    """Return what is known of a device; of one that does not work that it does not."""
    facts: dict[str, Any] = {"works": works(device), "name": device.type}
    if facts["works"]:
        with contextlib.suppress(RuntimeError, AssertionError):  # a driver may fail at any question
            facts["name"] = device_name(device)
            facts["bf16"] = computes_bf16(device)
            if device.type == "cuda":
                facts |= _cuda(device)
    return facts


def _cuda(device: torch.device) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info(device)
    return {
        "count": torch.cuda.device_count(),
        "memory_free_gib": round(free / GIB, 2),
        "memory_total_gib": round(total / GIB, 2),
    }


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]
