"""`python -m dycon_engine.benchmark`: methods side by side on one split, with equal steps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dycon_engine.config import PROFILES
from dycon_engine.jobs.reporter import Reporter, run_job
from dycon_engine.settings import Table

if TYPE_CHECKING:
    from dycon_engine.benchmarking.request import Request

EPILOG = """\
Writes results.md, results.html, results.json and cases.csv into --out. Stopped, the same command
goes on run by run. Test cases are not in the manifest that training gets; the last iteration is
scored once. Research use only; not a medical device.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = _parser().parse_args(argv)

    def job(reporter: Reporter) -> Table:
        from dycon_engine.benchmarking.job import benchmark  # noqa: PLC0415 - imports torch

        return benchmark(_request(arguments), reporter)

    return run_job("benchmark", job)


def _request(arguments: argparse.Namespace) -> Request:
    from dycon_engine.benchmarking.launching import parse_option  # noqa: PLC0415 - imports torch
    from dycon_engine.benchmarking.request import Request  # noqa: PLC0415 - imports torch

    steps = [] if arguments.steps is None else [f"training.steps={arguments.steps}"]
    return Request(
        data=arguments.data,
        out=arguments.out,
        protocol=arguments.protocol,
        methods=tuple(arguments.methods),
        seeds=tuple(range(arguments.first_seed, arguments.first_seed + arguments.seeds)),
        profile=arguments.profile,
        settings=(*steps, *arguments.set),
        reference=arguments.reference,
        device=arguments.device,
        processes=arguments.processes,
        launcher=arguments.launcher,
        parallel=arguments.parallel,
        options=dict(map(parse_option, arguments.launcher_option)),
        leak_audit=arguments.leak_audit,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dycon benchmark",
        description="Run methods on one split with one number of steps, and compare them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder as `dycon prepare` makes it")
    add("--out", type=Path, required=True, help="folder of runs and tables")
    add(
        "--protocol", required=True, metavar="NAME-N",
        help="e.g. la-8, pancreas-12, brats19-25, isles22-5, la-dev-8, or FILE.toml-N",
    )  # fmt: skip
    add("--methods", nargs="+", default=["all"], help="recipes, or all (default)")
    add("--seeds", type=int, default=3, help="runs per method, default 3")
    add("--first-seed", type=int, default=0, metavar="K", help="seeds K, K + 1, ...; default 0")
    add("--profile", choices=sorted(PROFILES), default="paper", help="default: paper")
    add("--steps", type=int, help="optimizer steps of every run, instead of the profile's")
    add("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for all runs")
    add(
        "--leak-audit", action="store_true",
        help="instead of the methods: DyCON with every fecl_scope, the oracle too",
    )  # fmt: skip
    add("--reference", default="mean_teacher", help="compared with; default: mean_teacher")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--processes", type=int, default=1, help="training processes of a run (torchrun)")
    add(
        "--launcher", choices=("here", "local", "slurm"), default="here",
        help="here: one run after the other; local, slurm: through submitit",
    )  # fmt: skip
    add("--parallel", type=int, default=1, help="runs at a time with local or slurm")
    add("--launcher-option", action="append", default=[], metavar="NAME=VALUE", help="of submitit")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
