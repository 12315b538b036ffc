"""A small data set and the commands that take it all the way; for fault batteries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from dycon_engine.data.formats.writers import write_label, write_scalar
from Testing import tiny_package

ROOT = Path(__file__).resolve().parent.parent
SIZE = (20, 24, 22)
SETTINGS = (
    "training.patch_size=[16,16,16]",
    "training.steps=4",
    "training.save_every=2",
    "training.threads=1",
    "network.filters=[4,8]",
    "network.stem=1",
    "preprocessing.spacing_mm=[2.0,1.5,1.5]",
)


def write_data(root: Path, names: list[str], *, labeled: int, suffix: str = ".nii.gz") -> None:
    """Write `images/` and, for the first `labeled` names, `labels/`."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        scan = tiny_package.scan(seed, size=SIZE)
        write_scalar(
            root / "images" / f"{name}{suffix}", scan.array[0], scan.geometry, overwrite=False
        )
        if seed < labeled:
            ball = (scan.array[0] > 95).astype(np.uint8)
            target = root / "labels" / f"{name}{suffix}"
            write_label(target, ball, scan.geometry, overwrite=False)


def train_line(data: Path, run: Path, *more: str) -> list[str]:
    """The arguments of a training run of a few steps."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    line = ["train", "--data", str(data), "--run-dir", str(run), "--profile", "laptop"]
    return [*line, "--device", "cpu", *settings, *more]


def run(
    lines: list[list[str]], *, before: tuple[str, ...] = (), code: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `dycon LINE` for every line in one process, until one fails; `code` comes first."""
    start = (
        f"{code}\nimport json, sys\nfrom dycon_engine.__main__ import main\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    result = main(line)\n"
        "    if result:\n"
        "        sys.exit(result)\n"
    )
    return subprocess.run(
        [*before, sys.executable, "-c", start, json.dumps(lines)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
