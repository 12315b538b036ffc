"""Sliding window: ours against MONAI's at the same windows, and inference time over voxels.

    python benchmarks/sliding_window.py [--runs 3] [--size 96 160 160]

Each side in a process of its own, alternating; CPU seconds (user and system) of the call, and peak
resident memory above that before it. Two networks: the convolutions of the laptop profile, whose
activations then count, and one that only copies its input, which leaves the blending. Two results:
`whole`, what all probabilities follow from, at once: ours the margins that validation keeps, one
channel less than MONAI's logits; `labels`, the label map of it, which ours takes from slabs
of margins as they are finished, as `predict` does, and MONAI from its whole map. `predict`: a scan
of twice as many voxels per axis in memory, to label map and entropy on its own grid; ours as the
command does it, MONAI's window with the same preparation, softmax and restoring of the whole map
around it.
Goals: no slower than MONAI at the same windows; extra memory <= 0.4x MONAI's; result equal to the
naive average within 1e-5; windows of air skipped; time linear in voxels.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.peak import peak_mib, reset_peak
from dycon_engine.config import InferenceConfig, NetworkConfig
from dycon_engine.data.cases import Label
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.volume import Volume
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.probabilities import margins
from dycon_engine.inference.sliding_window import slide, slide_slabs
from dycon_engine.inference.uncertainty import entropy
from dycon_engine.inference.windows import SIGMA, windows
from dycon_engine.networks import build_network
from dycon_engine.networks.base import Features
from dycon_engine.package import Package, PackageInfo
from Testing.reference.naive_sliding_window import naive_slide

PATCH = (40, 64, 64)
CLASSES = 2


def network(kind: str) -> Callable[[torch.Tensor], torch.Tensor]:
    if kind == "copy":
        return lambda x: torch.cat((-4 * x, 4 * x), dim=1)
    torch.manual_seed(0)
    net = build_network(NetworkConfig(filters=(8, 16, 32, 64)), channels=1, classes=CLASSES).eval()
    return lambda x: net(x).logits


def image(size: list[int]) -> torch.Tensor:
    return torch.randn(1, *size, generator=torch.Generator().manual_seed(1))


OPTIONS = {"patch_size": PATCH, "classes": CLASSES, "config": InferenceConfig()}


def monai(kind: str, scan: torch.Tensor) -> torch.Tensor:
    from monai.inferers import sliding_window_inference  # noqa: PLC0415 - not in our process

    with torch.inference_mode():
        return sliding_window_inference(
            scan[None], PATCH, 1, network(kind), overlap=0.5, mode="gaussian", sigma_scale=SIGMA
        )[0]


def our_whole(kind: str, scan: torch.Tensor) -> torch.Tensor:
    apply = network(kind)
    return slide(lambda x: margins(apply(x)), scan, **(OPTIONS | {"classes": CLASSES - 1}))


def our_labels(kind: str, scan: torch.Tensor) -> torch.Tensor:
    labels = torch.empty(scan.shape[1:], dtype=torch.uint8)
    apply = network(kind)
    options = OPTIONS | {"classes": CLASSES - 1}
    for slab in slide_slabs(lambda x: margins(apply(x)), scan, **options):
        labels[slab.where] = slab.logits[0] < 0
    return labels


def monai_labels(kind: str, scan: torch.Tensor) -> torch.Tensor:
    logits = monai(kind, scan)
    return (logits[1] > logits[0]).byte()


class Alone(torch.nn.Module):
    """A network of `Features`, of which only the logits are there."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.apply_ = network(kind)

    def forward(self, x: torch.Tensor) -> Features:  # noqa: D102
        return Features(self.apply_(x), x, x)


def package(kind: str) -> Package:
    info = PackageInfo(
        network=NetworkConfig(),
        channels=("image",),
        labels=(Label(0, "background"), Label(1, "structure")),
        preprocessing=Preprocessing((1.25, 1.25, 1.25)),
        patch_size=PATCH,
    )
    return Package(info=info, predictor=Alone(kind), partner=None, name="alone", sha256="")


def volume(size: list[int]) -> Volume:
    size = tuple(2 * n for n in size)
    axes = (np.linspace(-1, 1, n, dtype=np.float32) ** 2 for n in size)
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    ball = np.maximum(1000.0 - 1000.0 * (z + y + x), 1.0)[None]  # no air, smooth
    return Volume(ball, Geometry.from_parts(size, (0.625, 0.625, 0.625)))


def our_predict(kind: str, scan: Volume) -> object:
    return Predictor(package(kind)).predict(scan)


def monai_predict(kind: str, scan: Volume) -> object:
    preprocessing = package(kind).info.preprocessing
    prepared = preprocessing.prepare(scan)
    likely = monai(kind, torch.from_numpy(prepared.array)).softmax(0)
    restored = torch.from_numpy(preprocessing.restore(likely.numpy(), prepared))
    return restored.argmax(0).to(torch.uint8), entropy(restored)


RESULTS = {
    "whole": (our_whole, monai, image),
    "labels": (our_labels, monai_labels, image),
    "predict": (our_predict, monai_predict, volume),
}
SIDES = ("ours", "MONAI")


def child(side: str, result: str, kind: str, size: list[int]) -> None:
    """Print CPU seconds and extra memory of one call, after a small one that warms up."""
    torch.set_num_threads(1)
    *calls, make = RESULTS[result]
    call = calls[SIDES.index(side)]
    call(kind, make(list(PATCH)))
    scan = make(size)
    reset_peak()
    before, memory = os.times(), peak_mib()
    call(kind, scan)
    after = os.times()
    seconds = after.user + after.system - before.user - before.system
    print(json.dumps({"seconds": seconds, "mib": peak_mib() - memory}))


def measure(side: str, result: str, kind: str, size: list[int]) -> dict[str, float]:
    line = [sys.executable, __file__, "--child", side, result, kind, *map(str, size)]
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


def compare(size: list[int], runs: int, results: list[str]) -> None:
    count = sum(map(len, windows(tuple(size), PATCH, 0.5)))
    print(f"volume {size}, {count} windows of {list(PATCH)}, {runs} runs, 1 thread\n")
    print(
        "| result | network | side | CPU s (median) | extra MiB | time / MONAI | memory / MONAI |"
    )
    print("|---|---|---|---|---|---|---|")
    for result, kind in itertools.product(results, ("copy", "3D U-Net")):
        found = {side: [] for side in SIDES}
        for _ in range(runs):
            for side, list_ in found.items():
                list_.append(measure(side, result, kind, size))
        median = {
            side: [statistics.median(r[key] for r in rows) for key in ("seconds", "mib")]
            for side, rows in found.items()
        }
        for side, (seconds, mib) in median.items():
            share = seconds / median["MONAI"][0], mib / median["MONAI"][1]
            print(
                f"| {result} | {kind} | {side} | {seconds:.2f} | {mib:.0f} "
                f"| {share[0]:.2f} | {share[1]:.2f} |",
                flush=True,
            )


def check() -> None:
    """Compare with the naive average, and skip air."""
    torch.set_num_threads(1)
    scan = image([56, 72, 80])
    with torch.no_grad():
        naive = naive_slide(
            network("3D U-Net"), scan, patch_size=PATCH, classes=CLASSES, overlap=0.5
        )
    difference = np.abs(slide(network("3D U-Net"), scan, **OPTIONS).numpy() - naive).max()
    print(f"\nlargest difference to the naive average: {difference:.1e} (goal 1e-5)")
    air = np.zeros((40, 64, 256), dtype=bool)
    air[:, :, 96:] = True
    calls = []
    slide(
        lambda x: calls.append(1) or x.expand(-1, CLASSES, -1, -1, -1),
        image([40, 64, 256]),
        patch_size=PATCH,
        classes=CLASSES,
        config=InferenceConfig(),
        air=air,
    )
    print(f"a scan of 5/8 air: {len(calls)} of 7 windows computed")


def growth() -> None:
    """Print the time over voxels, all sizes well above the patch; each voxel lies in 8 windows."""
    torch.set_num_threads(1)
    patch = (16, 16, 16)
    net = build_network(NetworkConfig(filters=(4, 8)), channels=1, classes=CLASSES).eval()
    print(f"\nwindows of {list(patch)}, network of two levels\n")
    print("| voxels | windows | CPU s | microseconds per voxel | per voxel of a window |")
    print("|---|---|---|---|---|")
    for edge in (64, 80, 104, 128):
        scan, before = image([edge] * 3), os.times()
        for _ in slide_slabs(lambda x: net(x).logits, scan, **(OPTIONS | {"patch_size": patch})):
            pass
        after, voxels = os.times(), edge**3
        seconds = after.user + after.system - before.user - before.system
        count = sum(map(len, windows((edge,) * 3, patch, 0.5)))
        each = 1e6 * seconds / voxels, 1e6 * seconds / (count * 16**3)
        print(f"| {voxels} | {count} | {seconds:.2f} | {each[0]:.2f} | {each[1]:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=3, default=[96, 160, 160])
    parser.add_argument("--results", nargs="*", choices=RESULTS, default=list(RESULTS))
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        *what, z, y, x = options.child
        child(*what, [int(z), int(y), int(x)])
        return
    if options.results:
        compare(options.size, options.runs, options.results)
    check()
    growth()


if __name__ == "__main__":
    main()
