"""Copy scans and label maps into a data set under neutral names, all of them or none."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dycon_engine.jobs.reporter import Reporter, run_job


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(
        prog="dycon collect",
        description="Copy scans and label maps into a data set under neutral names: read "
        "strictly, written anew without what the old headers said, read back; all or none.",
    )
    add = line.add_argument
    add("--plan", type=Path, required=True, help="JSON file: what goes where (docs/reference/data)")
    add("--output", type=Path, required=True, help="folder of the data set")
    add("--run-dir", type=Path, help="folder for events, log and the cancel file")
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = parser().parse_args(argv)

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.data.collecting import collect, read_plan  # noqa: PLC0415 - no torch yet

        return collect(read_plan(options.plan), options.output, reporter)

    return run_job("collect", job, run_dir=options.run_dir)


if __name__ == "__main__":
    raise SystemExit(main())
