"""Train and write the shipped left-atrium model: 72 labeled scans, 8 to validate.

    python benchmarks/left_atrium.py --data LA2018 --run RUN [--write]

Trains (about 80 minutes on one free CPU core) or goes on with a run that was stopped; with --write
the finished model is put, with names, color, term and source, where the extension ships it.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path

from dycon_engine.data.cases import Label
from dycon_engine.package import load_package, save_package

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "DyCONSegmentation" / "Resources" / "Models" / "DyCONLeftAtriumLGE.dycon"
LABELS = (
    Label(0, "background"),
    Label(1, "left atrium", (64, 200, 255), "SCT^82471001^Left atrial structure"),
)
SOURCE = (
    "Research use only. Trained on late gadolinium-enhanced MR of the 2018 Atrial Segmentation "
    "Challenge (Xiong et al., Medical Image Analysis 67, 2021), cropped around the heart as "
    "published with UA-MT (Yu et al., MICCAI 2019)."
)
SETTINGS = (
    "data.labeled=72",
    "data.validation=8",
    "training.threads=1",
    "training.steps=1800",
    "training.patch_size=[48,80,96]",
    "training.unlabeled_cases=all",
    "augmentation.unlabeled=false",
    "method.start=0.85",
    "method.strong_geometry=1.0",
    "method.rampup=0.03",
    "method.pseudo_label_weight=0.5",
    "method.fecl_scope=none",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    trained = options.run / "package" / "last.dycon"
    if not trained.exists():
        train(options.data, options.run)
    if options.write:
        write(trained)


def train(data: Path, run: Path) -> None:
    """Begin the run, or go on with it."""
    command = [sys.executable, "-m", "dycon_engine.train", "--data", data, "--run-dir", run]
    if run.exists():
        command.append("--resume")
    else:
        settings = (f"data.order={data / 'train.list'}", *SETTINGS)
        chosen = [word for setting in settings for word in ("--set", setting)]
        command += ["--profile", "laptop", "--method", "dycon", *chosen]
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True)


def write(trained: Path) -> None:
    """Ship the teacher alone: with the student the file would be twice as large."""
    package = load_package(trained)
    info = dataclasses.replace(package.info, labels=LABELS, channels=("LGE MR",), license=SOURCE)
    save_package(SHIPPED, info, package.predictor.state_dict(), None, overwrite=True)


if __name__ == "__main__":
    main()
