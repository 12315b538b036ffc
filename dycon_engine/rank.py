"""Order unlabeled scans by what labeling them should teach: "label these next"."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dycon_engine.jobs.reporter import Reporter, run_job


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(
        prog="dycon rank",
        description="Order the unlabeled scans of a folder: label these next. Research use only.",
    )
    add = line.add_argument
    add("--package", type=Path, required=True, help="the model, NAME.dycon")
    add("--data", type=Path, required=True, help="folder of scans or data set")
    add("--output", type=Path, required=True, help=".csv, .json, or a folder for both")
    add("--thumbnails", type=Path, help="folder for a picture of each case: 001.png, 002.png...")
    add("--all", action="store_true", help="also cases that have a label")
    add(
        "--spacing", type=float, nargs=3, metavar=("Z", "Y", "X"),
        help="voxel size in mm of scans that carry none (HDF5)",
    )  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--overwrite", action="store_true", help="replace results that are there")
    add("--run-dir", type=Path, help="folder for events, log and the cancel file")
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = parser().parse_args(argv)

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.inference.rank_job import RankRequest, rank_all  # noqa: PLC0415 - no torch yet

        request = RankRequest(
            package=options.package,
            data=options.data,
            output=options.output,
            thumbnails=options.thumbnails,
            all_cases=options.all,
            spacing_mm=None if options.spacing is None else tuple(options.spacing),
            device=options.device,
            overwrite=options.overwrite,
        )
        return rank_all(request, reporter)

    return run_job("rank", job, run_dir=options.run_dir)


if __name__ == "__main__":
    raise SystemExit(main())
