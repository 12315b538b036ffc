"""Say everything that is wrong with a data set, without training; nothing is written to it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.errors import InputError
from dycon_engine.jobs.reporter import Reporter, run_job
from dycon_engine.training.options import add_options, choose_config

NAMES_SHOWN = 12
ROLES = ("labeled", "unlabeled", "validation", "test", None)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(
        prog="dycon audit",
        description="Say everything that is wrong with a data set, one line each, as `train` "
        "would, and who gets which role. Nothing is written to it. Takes the options of `train`. "
        "Exit code 2 where training could not start.",
    )
    add_options(line)
    line.add_argument("--run-dir", type=Path, help="folder for events, log and the cancel file")
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = parser().parse_args(argv)
    problems: list[str] = []

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.training.auditing import audit_data  # noqa: PLC0415 - imports torch

        summary = audit_data(options.data, choose_config(options, None), reporter)
        problems.extend(summary["problems"])
        for text in problems:
            reporter.tell(f"DyCON: {text}")
        for text in summary["warnings"]:
            reporter.tell(f"Warning: {text}")
        for text in _lines(summary):
            reporter.tell(text)
        return summary

    code = run_job("audit", job, run_dir=options.run_dir)
    return code or (InputError.exit_code if problems else 0)


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    """Yield who gets which role, a line each, which classes there are, and the normalization."""
    for role in ROLES:
        names = [row["name"] for row in summary["cases"] if row["role"] == role]
        if names:
            yield f"{len(names)} {role or 'not used'}: {_listed(names)}"
    labels = summary["labels"]
    classes = [f"'{label['name']}' (value {label['value']})" for label in labels]
    yield f"{len(classes)} class{'' if len(classes) == 1 else 'es'}: {_listed(classes) or 'none'}"
    yield summary["normalization"]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


if __name__ == "__main__":
    raise SystemExit(main())
