"""Say everything that is wrong with a data set, without training; nothing is written to it."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dycon_engine.config import resolve
from dycon_engine.errors import InputError
from dycon_engine.jobs.reporter import Reporter, run_job


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(
        prog="dycon audit",
        description="Say everything that is wrong with a data set, one line each, as `train` "
        "would. Nothing is written to it. Exit code 2 where training could not start.",
    )
    add = line.add_argument
    add("--data", type=Path, required=True, help="folder or manifest with the scans")
    add("--method", default="dycon", help="training recipe; `describe --methods` lists them")
    add("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one setting")
    add("--run-dir", type=Path, help="folder for events, log and the cancel file")
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = parser().parse_args(argv)
    problems: list[str] = []

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.training.auditing import audit_data  # noqa: PLC0415 - imports torch

        config = resolve(assignments=[*options.set, f"method.name={options.method}"])
        summary = audit_data(options.data, config, reporter)
        problems.extend(summary["problems"])
        for text in problems:
            reporter.tell(f"DyCON: {text}")
        for text in summary["warnings"]:
            reporter.tell(f"Warning: {text}")
        counts = Counter(str(row["role"] or "not used") for row in summary["cases"])
        reporter.tell(", ".join(f"{count} {role}" for role, count in sorted(counts.items())))
        return summary

    code = run_job("audit", job, run_dir=options.run_dir)
    return code or (InputError.exit_code if problems else 0)


if __name__ == "__main__":
    raise SystemExit(main())
