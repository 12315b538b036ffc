"""What the uncertainty map costs: segmenting with each kind against segmenting alone.

    python benchmarks/uncertainty.py [--runs 3] [--case 0 | --size 64 128 128]
        [--package MODEL.dycon] [--kinds entropy ...]

The whole prediction from the scan in memory to all results on its own grid: a real LA scan (folder
from DYCON_LA2018), or noise of a given size. A given package, or the network of the laptop profile
without training (mc-dropout: with dropout), which is unsure everywhere; all kinds of one process
alternating; CPU seconds on one thread. Goal: entropy <= 1.1x.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dycon_engine.config import NetworkConfig
from dycon_engine.data.cases import Label
from dycon_engine.data.formats.readers import read_image
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.volume import Volume
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.result import Wishes
from dycon_engine.networks import build_network
from dycon_engine.package import Package, PackageInfo, load_package, save_package

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("entropy", "disagreement", "tta", "mc-dropout")


def package(folder: Path) -> Package:
    info = PackageInfo(
        network=NetworkConfig(filters=(8, 16, 32, 64), dropout=0.1),
        channels=("image",),
        labels=(Label(0, "background"), Label(1, "structure")),
        preprocessing=Preprocessing((1.25, 1.25, 1.25)),
        patch_size=(40, 64, 64),
        training={"mirrored_axes": "zyx"},
    )
    states = []
    for seed in range(2):
        torch.manual_seed(seed)
        states.append(build_network(info.network, channels=1, classes=2).state_dict())
    save_package(folder / "model.dycon", info, *states)
    return load_package(folder / "model.dycon")


def scan(size: list[int]) -> Volume:
    noise = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    return Volume(noise, Geometry.from_parts(tuple(size), (0.8, 0.8, 0.8)))


def real(number: int) -> Volume:
    folder = Path(os.environ.get("DYCON_LA2018", ROOT.parent / "shared" / "data" / "la2018"))
    return read_image(sorted((folder / "images").glob("*.nii.gz"))[number])


def seconds(predictor: Predictor, image: Volume, kind: str | None) -> float:
    before = os.times()
    predictor.predict(image, Wishes(uncertainty=kind))
    after = os.times()
    return after.user + after.system - before.user - before.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--case", type=int, default=0)
    parser.add_argument("--size", type=int, nargs=3)
    parser.add_argument("--package", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        chosen = load_package(options.package) if options.package else package(Path(folder))
        predictor = Predictor(chosen)
        predictor.inference = dataclasses.replace(predictor.inference, skip_air=False)
        image = scan(options.size) if options.size else real(options.case)
        seconds(predictor, image, None)
        found: dict[str | None, list[float]] = {kind: [] for kind in (None, *options.kinds)}
        for _ in range(options.runs):
            for kind, list_ in found.items():
                list_.append(seconds(predictor, image, kind))
    alone = statistics.median(found[None])
    print(f"scan {list(image.array.shape[1:])}, {options.runs} alternating runs, 1 thread\n")
    print("| uncertainty | CPU s (median) | against none |\n|---|---|---|")
    for kind, results in found.items():
        median = statistics.median(results)
        print(f"| {kind or 'none'} | {median:.2f} | {median / alone:.2f} |")


if __name__ == "__main__":
    main()
