"""Segment scans with a trained package: one file, a folder or a list."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dycon_engine.jobs.reporter import Reporter, run_job

KINDS = ("entropy", "disagreement", "mc-dropout", "tta")


class Place(NamedTuple):
    """Which part of the scans this process segments, as torchrun says; `ignored` says why not."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    ignored: str = ""


def place_among(environment: Mapping[str, str]) -> Place:
    """Return RANK, WORLD_SIZE and LOCAL_RANK; alone where the first two do not go together."""
    given = [environment.get(name, "").strip() for name in ("RANK", "WORLD_SIZE")]
    if given == ["", ""]:
        return Place()
    if all(text.isdecimal() for text in given):
        rank, world = map(int, given)
        local = environment.get("LOCAL_RANK", "").strip()
        if rank < world:
            return Place(rank, world, int(local) if local.isdecimal() else 0)
    return Place(
        ignored=f"RANK is '{given[0]}' and WORLD_SIZE '{given[1]}' in the environment; expected "
        "0 <= RANK < WORLD_SIZE; both are ignored, all scans are segmented here"
    )


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
    add(
        "--spacing", type=float, nargs=3, metavar=("Z", "Y", "X"),
        help="voxel size in mm of scans that carry none (HDF5)",
    )  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--overlap", type=float, help="overlap of the windows, 0 to 0.9")
    add("--largest-component", action="store_true", help="keep the largest piece of every label")
    add("--minimum-volume-mm3", type=float, default=0.0, help="remove smaller pieces")
    add("--overwrite", action="store_true", help="replace results that are there")
    add(
        "--run-dir", type=Path,
        help="folder for events, log and the cancel file; rank R > 0 of several uses rank-R in it",
    )  # fmt: skip
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = parser().parse_args(argv)
    place = place_among(os.environ)

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.data.geometry import Box  # noqa: PLC0415 - after --help
        from dycon_engine.inference.inputs import Targets  # noqa: PLC0415
        from dycon_engine.inference.job import Request, predict_all  # noqa: PLC0415

        if place.ignored:
            reporter.warn("rank", place.ignored)
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
            spacing_mm=None if options.spacing is None else tuple(options.spacing),
            rank=place.rank,
            world=place.world,
            local_rank=place.local_rank,
        )
        return predict_all(request, reporter)

    run_dir = options.run_dir
    if run_dir is not None and place.rank > 0:
        run_dir = run_dir / f"rank-{place.rank}"  # each has its own events and cancel file
    return run_job("predict", job, run_dir=run_dir)


if __name__ == "__main__":
    raise SystemExit(main())
