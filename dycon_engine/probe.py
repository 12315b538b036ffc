"""Measure a training run before it is started: seconds per step, memory and minutes, here."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dycon_engine.jobs.reporter import Reporter, run_job
from dycon_engine.training.allocator import restart_tuned
from dycon_engine.training.options import add_options, choose_config


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(
        prog="dycon probe",
        description="Do a few real steps of a training run, tell what the whole run would take, "
        "and leave nothing behind. Takes the options of `train`.",
    )
    add_options(line)
    add = line.add_argument
    add("--seconds", type=float, default=10.0, help="of steps, about (default: 10)")
    add("--minutes", type=float, help="also tell how many steps fit into so many minutes")
    add("--json", action="store_true", help="write one JSON object instead of events")
    add("--run-dir", type=Path, help="folder for events, log and the cancel file")
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = parser().parse_args(argv)
    restart_tuned()
    found: dict[str, Any] = {}

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.training.probing import Request, probe  # noqa: PLC0415 - imports torch

        config = choose_config(options, None)
        request = Request(options.data, options.seconds, options.minutes, options.run_dir)
        found.update(probe(request, config, reporter))
        return found

    with contextlib.redirect_stdout(None) if options.json else contextlib.nullcontext():
        code = run_job("probe", job, run_dir=options.run_dir)
    if options.json and code == 0:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
