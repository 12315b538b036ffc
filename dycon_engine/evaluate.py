"""`evaluate`: compare segmentations with references and write a report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycon_engine.errors import InputError
from dycon_engine.jobs.reporter import Reporter, run_job

if TYPE_CHECKING:
    from dycon_engine.evaluation.job import Request

EPILOG = """\
Cases are matched by file name (CASE.nii.gz with CASE.nii.gz); both must lie on one grid, whose
voxels may be stored in another order.
Give --prediction several times, each with a --name, to compare models on the same cases; paired
differences are taken from the first. Writes report.csv, report.json, report.md and report.html.
Research use only; not a medical device.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.evaluation.job import evaluate  # noqa: PLC0415 - after --help

        return evaluate(_request(arguments), reporter)

    return run_job("evaluate", job)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dycon evaluate",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--prediction", type=Path, action="append", required=True, metavar="FILE|FOLDER")
    add("--reference", type=Path, required=True, metavar="FILE|FOLDER")
    add("--output", type=Path, required=True, metavar="FOLDER", help="where the report goes")
    add("--name", action="append", default=[], help="of a --prediction, in the same order")
    add(
        "--probabilities", type=Path, action="append", default=[], metavar="FILE|FOLDER",
        help="probability maps, for calibration; once per --prediction; their channels are those "
        "of the label values in rising order",
    )  # fmt: skip
    add("--images", type=Path, metavar="FILE|FOLDER", help="the scans, for the pictures")
    add(
        "--labels", default="", metavar="NAMES",
        help="of the label values in rising order, e.g. 'left atrium,left ventricle'; a leading "
        "'background' is left out",
    )  # fmt: skip
    add(
        "--spacing", type=float, nargs=3, metavar=("Z", "Y", "X"),
        help="voxel size in mm of files that carry none (HDF5)",
    )  # fmt: skip
    add("--title", default="", help="heading of the report")
    add("--note", action="append", default=[], help="a sentence for the report")
    add("--overwrite", action="store_true", help="replace a report that is there")
    return parser


def _request(arguments: argparse.Namespace) -> Request:
    from dycon_engine.evaluation.job import Request  # noqa: PLC0415 - after --help
    from dycon_engine.evaluation.names import foreground  # noqa: PLC0415

    predictions, names = tuple(arguments.prediction), tuple(arguments.name)
    if not names:
        alone = len(predictions) == 1
        names = ("prediction",) if alone else tuple(p.stem for p in predictions)
    if len(names) != len(predictions) or len(set(names)) != len(names):
        raise InputError(
            f"--name: {len(set(names))} different names for {len(predictions)} predictions; give "
            "each --prediction its own --name"
        )
    if len(arguments.probabilities) not in (0, len(predictions)):
        raise InputError(
            f"--probabilities: {len(arguments.probabilities)} folders for {len(predictions)} "
            "predictions; give one for each or none"
        )
    return Request(
        names=names,
        predictions=predictions,
        reference=arguments.reference,
        output=arguments.output,
        probabilities=tuple(arguments.probabilities),
        images=arguments.images,
        labels=foreground([n.strip() for n in arguments.labels.split(",") if n.strip()]),
        spacing_mm=None if arguments.spacing is None else tuple(arguments.spacing),
        title=arguments.title,
        notes=tuple(arguments.note),
        overwrite=arguments.overwrite,
    )


if __name__ == "__main__":
    raise SystemExit(main())
