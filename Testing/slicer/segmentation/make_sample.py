"""`python -m Testing.slicer.segmentation.make_sample` makes what "Load a sample scan" needs.

A generated scan and a small model trained with DyCON on scans of the same kind, 5 of them with
labels (9, of which 4 are for validation) and 20 without. No patient is in it. Takes some minutes.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from dycon_engine.data.cases import Label
from dycon_engine.data.phantoms import make_phantoms
from dycon_engine.package import load_package, save_package
from dycon_engine.package.info import NOTICE

RESOURCES = Path(__file__).resolve().parents[3] / "DyCONSegmentation" / "Resources"
SAMPLE = RESOURCES / "Samples" / "DyCONPhantomHeart.nrrd"
MODEL = RESOURCES / "Models" / "DyCONPhantomHeart.dycon"
SEED, NUMBER = 7, 200  # of a scan with several places to review
LABELS = (
    Label(0, "background"),
    Label(1, "left atrium", (64, 200, 255), "SCT^82471001^Left atrial structure"),
    Label(2, "left ventricle", (153, 34, 255), "SCT^87878005^Left ventricular structure"),
)
PURPOSE = "For the sample scan only: learned from generated images."
SETTINGS = (
    "preprocessing.spacing_mm=[4.0,4.0,4.0]",
    "network.filters=[8,16,32]",
    "network.stem=1",
    "training.foreground=0.7",
    "training.patch_size=[24,32,32]",
    "training.learning_rate=0.01",
    "training.steps=700",
    "training.threads=1",
    "data.validation=4",
)


def make_model(folder: Path) -> None:
    """Train the model on phantoms in `folder`."""
    make_phantoms(folder / "data", count=29, labeled=9, seed=SEED)
    chosen = [word for setting in SETTINGS for word in ("--set", setting)]
    line = ["--data", folder / "data", "--run-dir", folder / "run", "--profile", "laptop"]
    command = [sys.executable, "-m", "dycon_engine.train", *line, "--device", "cpu", *chosen]
    subprocess.run([str(word) for word in command], check=True)
    describe(folder / "run" / "package" / "last.dycon")


def describe(trained: Path) -> None:
    """Write the trained package with its purpose, and names, colors and terms of its structures."""
    package = load_package(trained)
    info = dataclasses.replace(package.info, labels=LABELS, notice=f"{PURPOSE} {NOTICE}")
    partner = package.partner.state_dict() if package.partner is not None else None
    save_package(MODEL, info, package.predictor.state_dict(), partner, overwrite=True)


def make_scan(folder: Path) -> None:
    """Write the sample scan as 16-bit integers."""
    [name] = make_phantoms(folder / "sample", count=1, labeled=1, seed=SEED, first=NUMBER)
    image = sitk.ReadImage(str(folder / "sample" / "images" / f"{name}.nii.gz"))
    array = sitk.GetArrayFromImage(image)
    whole = sitk.GetImageFromArray(array.round().astype(np.int16))
    whole.CopyInformation(image)
    sitk.WriteImage(whole, str(SAMPLE), useCompression=True)


def main() -> None:
    """Make both."""
    for file in (SAMPLE, MODEL):
        file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        make_scan(Path(folder))
        make_model(Path(folder))


if __name__ == "__main__":
    main()
