"""`python -m dycon_engine.train`: train a model on labeled and unlabeled scans."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dycon_engine.jobs.reporter import Reporter, run_job
from dycon_engine.settings import Table
from dycon_engine.training.allocator import restart_tuned
from dycon_engine.training.ending import ending
from dycon_engine.training.options import add_options, choose_config

if TYPE_CHECKING:
    from dycon_engine.training.run import Request


def main(argv: Sequence[str] | None = None) -> int:
    """Train and return the exit code: 0 done, 1 failed, 2 bad input, 3 cancelled."""
    arguments = _parser().parse_args(argv)
    restart_tuned()
    if os.environ.get("RANK", "0") != "0":  # only the first of several processes reports
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end

    def job(reporter: Reporter) -> Table:
        from dycon_engine.training.run import train  # noqa: PLC0415 - imports torch

        return train(_request(arguments), reporter)

    return run_job("train", job, closing=partial(ending, run_dir=arguments.run_dir))


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
        prog="dycon train",
        description="Train a model on labeled and unlabeled scans. Research use only.",
    )
    add_options(parser)
    parser.add_argument(
        "--run-dir", type=Path, required=True, help="folder that everything of the run goes to"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --run-dir")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
