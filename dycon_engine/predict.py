"""Segment scans with a trained package: one file, a folder or a list."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dycon_engine.jobs.reporter import Reporter, run_job

KINDS = ("entropy", "disagreement", "mc-dropout", "tta")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(
        prog="dycon predict",
        description="Segment scans with a trained package. Research use only; not a medical "
        "device. Check every segmentation.",
    )
    add = line.add_argument
    add("--package", type=Path, required=True, help="the model, NAME.dycon")
    add(
        "--input",
        type=Path,
        required=True,
        action="append",
        help="scan, DICOM folder, folder of scans or .txt list; repeat it for several channels",
    )
    add("--output", type=Path, required=True, help="label map, or folder for several scans")
    add("--uncertainty", type=Path, help="file (or folder) for the uncertainty map")
    add("--uncertainty-kind", choices=KINDS, default="entropy", help="default: entropy")
    add("--probabilities", type=Path, help="file (or folder) for the probability maps")
    add("--regions", type=Path, help="file (or folder) for the map of uncertain regions, by id")
    add("--report", type=Path, help="file (or folder) for the JSON report")
    add("--report-html", type=Path, help="file (or folder) for the report as a page")
    add(
        "--roi",
        type=float,
        nargs=6,
        metavar=("XMIN", "XMAX", "YMIN", "YMAX", "ZMIN", "ZMAX"),
        help="look only inside this box, LPS millimeters; the rest becomes background",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--overlap", type=float, help="overlap of the windows, 0 to 0.9")
    add("--largest-component", action="store_true", help="keep the largest piece of every label")
    add("--minimum-volume-mm3", type=float, default=0.0, help="remove smaller pieces")
    add("--overwrite", action="store_true", help="replace results that are there")
    add("--run-dir", type=Path, help="folder for events, log and the cancel file")
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = parser().parse_args(argv)

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.data.geometry import Box  # noqa: PLC0415 - after --help
        from dycon_engine.inference.inputs import Targets  # noqa: PLC0415
        from dycon_engine.inference.job import Request, predict_all  # noqa: PLC0415

        roi = options.roi
        request = Request(
            package=options.package,
            inputs=tuple(options.input),
            outputs=Targets(
                labels=options.output,
                uncertainty=options.uncertainty,
                probabilities=options.probabilities,
                regions=options.regions,
                report=options.report,
                report_html=options.report_html,
            ),
            uncertainty_kind=options.uncertainty_kind,
            roi=None if roi is None else Box(tuple(roi[::2]), tuple(roi[1::2])),
            device=options.device,
            overlap=options.overlap,
            largest_component=options.largest_component,
            minimum_mm3=options.minimum_volume_mm3,
            overwrite=options.overwrite,
            rank=int(os.environ.get("RANK", "0")),
            world=int(os.environ.get("WORLD_SIZE", "1")),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        )
        return predict_all(request, reporter)

    return run_job("predict", job, run_dir=options.run_dir)


if __name__ == "__main__":
    raise SystemExit(main())
