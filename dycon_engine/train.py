"""`python -m dycon_engine.train`: train a model on labeled and unlabeled scans."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dycon_engine.config import PROFILES, RunConfig, resolve
from dycon_engine.jobs.reporter import Reporter, run_job
from dycon_engine.settings import Table, as_table, read_toml

if TYPE_CHECKING:
    from dycon_engine.training.run import Request


def main(argv: Sequence[str] | None = None) -> int:
    """Train and return the exit code: 0 done, 1 failed, 2 bad input, 3 cancelled."""
    arguments = _parser().parse_args(argv)
    if os.environ.get("RANK", "0") != "0":  # only the first of several processes reports
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end

    def job(reporter: Reporter) -> Table:
        from dycon_engine.training.run import train  # noqa: PLC0415 - imports torch

        return train(_request(arguments), reporter)

    return run_job("train", job)


def choose_config(arguments: argparse.Namespace, stored: RunConfig | None) -> RunConfig:
    """Return the settings of the command line, over those stored where a run is resumed.

    Raises:
        InputError: An unknown or impossible setting.
    """
    tables: list[Table] = [read_toml(arguments.config)] if arguments.config else []
    profile = arguments.profile or (tables[0].pop("profile", None) if tables else None)
    if profile is None and stored is None:
        profile = default_profile(arguments.device)
    elif profile is None and stored is not None:
        tables.insert(0, as_table(stored))
    chosen = list(arguments.set)
    if arguments.method is not None:
        chosen.append(f"method.name={arguments.method}")
    if arguments.start_from is not None:
        tables.append({"training": {"start_from": str(arguments.start_from)}})
    if arguments.device is not None:
        chosen.append(f"training.device={arguments.device}")
    return resolve(profile, tables, chosen)


def default_profile(device: str | None) -> str:
    """Return gpu where training will run on CUDA, else laptop."""
    import torch  # noqa: PLC0415 - heavy

    if device is not None and device != "auto":
        return "gpu" if device.startswith("cuda") else "laptop"
    return "gpu" if torch.cuda.is_available() else "laptop"


def _request(arguments: argparse.Namespace) -> Request:
    from dycon_engine.training.run import Request  # noqa: PLC0415 - imports torch

    return Request(
        data=arguments.data,
        run_dir=arguments.run_dir,
        resume=arguments.resume,
        choose=lambda stored: choose_config(arguments, stored),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dycon_engine.train",
        description="Train a model on labeled and unlabeled scans. Research use only.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder or manifest with the scans"
    )
    parser.add_argument(
        "--run-dir", type=Path, required=True, help="folder that everything of the run goes to"
    )
    parser.add_argument(
        "--profile",
        choices=sorted(PROFILES),
        help="set of defaults (without: gpu where CUDA is, else laptop)",
    )
    parser.add_argument("--method", help="training recipe; `describe --methods` lists them")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--resume", action="store_true", help="continue the run in --run-dir")
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="one setting, e.g. training.steps=400; may be repeated",
    )
    parser.add_argument(
        "--package",
        "--start-from",
        dest="start_from",
        type=Path,
        metavar="START.dycon",
        help="start from the weights of a package (training.start_from)",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
