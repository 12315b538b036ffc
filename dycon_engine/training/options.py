"""The options that `train` and `probe` share, and the settings they make; loads no torch."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dycon_engine.config import PROFILES, RunConfig, resolve
from dycon_engine.settings import Table, as_table, read_toml


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is trained, on what and how."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder or manifest with the scans")
    add(
        "--profile",
        choices=sorted(PROFILES),
        help="set of defaults (without: gpu where CUDA is, else laptop)",
    )
    add("--method", help="training recipe; `describe --methods` lists them")
    add("--device", help="auto, cpu, cuda, cuda:N or mps")
    add(
        "--config",
        type=Path,
        action="append",
        default=[],
        help="TOML file with settings; may be repeated, later files win",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="one setting, e.g. training.steps=400; may be repeated",
    )
    add(
        "--package",
        "--start-from",
        dest="start_from",
        type=Path,
        metavar="START.dycon",
        help="start from the weights of a package (training.start_from)",
    )


def choose_config(arguments: argparse.Namespace, stored: RunConfig | None) -> RunConfig:
    """Return the settings of the command line, over those stored where a run is resumed.

    Raises:
        InputError: An unknown or impossible setting.
    """
    tables: list[Table] = [read_toml(path) for path in arguments.config]
    named = [table.pop("profile") for table in tables if "profile" in table]
    profile = arguments.profile or (named[-1] if named else None)
    if profile is None and stored is not None:
        tables.insert(0, as_table(stored))
    chosen = list(arguments.set)
    if arguments.method is not None:
        chosen.append(f"method.name={arguments.method}")
    if arguments.start_from is not None:
        tables.append({"training": {"start_from": str(arguments.start_from)}})
    if arguments.device is not None:
        chosen.append(f"training.device={arguments.device}")
    if profile is None and stored is None:
        profile = default_profile(resolve(None, tables, chosen).training.device)
    return resolve(profile, tables, chosen)


def default_profile(device: str) -> str:
    """Return gpu where training will run on CUDA, else laptop; `auto` is CUDA where it works."""
    if device == "auto":
        from dycon_engine.networks.devices import choose_device  # noqa: PLC0415 - imports torch

        device = choose_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0"))).type
    return "gpu" if device.startswith("cuda") else "laptop"
