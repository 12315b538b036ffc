"""`dycon prepare`: turn the public download of a benchmark's data set into a data set of ours."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dycon_engine.jobs.reporter import Reporter, run_job

KINDS = ("brats19", "isles22", "la", "pancreas")
EPILOG = """\
la        ID/lgemri.nrrd + laendo.nrrd of the 2018 challenge, or UA-MT's ID/mri_norm2.h5; the
          published numbers are from the latter, which is cropped around the reference
pancreas  PANCREAS_NNNN/.../*.dcm and labelNNNN.nii.gz of NIH Pancreas-CT; the known
          preparation of published numbers crops them around the reference
brats19   CASE/CASE_flair.nii.gz + CASE_seg.nii.gz; all tumor labels become the whole tumor
isles22   BIDS: *_dwi.nii.gz and derivatives/.../*_msk.nii.gz

Voxels stay as they are. Scans without a label map are left out and named, hidden files are not
looked at. Of pancreas labels it is checked that they lie in soft tissue, not how they are turned:
look at some. Cases that are written already are left alone.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    line = argparse.ArgumentParser(
        prog="dycon prepare",
        description="Write images/CASE.nii.gz and labels/CASE.nii.gz from a public download.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    line.add_argument("kind", choices=KINDS)
    line.add_argument("source", type=Path, help="folder of the download, unpacked")
    line.add_argument("target", type=Path, help="folder of the data set")
    options = line.parse_args(argv)

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.data.preparing import prepare  # noqa: PLC0415 - imports SimpleITK

        return prepare(options.kind, options.source, options.target, reporter)

    return run_job("prepare", job)


if __name__ == "__main__":
    raise SystemExit(main())
