"""Sliding window: ours against MONAI's at the same windows, and inference time over voxels.

    python benchmarks/sliding_window.py [--runs 3] [--size 96 160 160]

Each side in a process of its own, alternating; CPU seconds (user and system) of the call, and peak
resident memory above that before it. Two networks: the convolutions of the laptop profile, and one
that only copies its input, which leaves the blending. Goals: no slower than MONAI at the same
windows; extra memory <= 0.4x MONAI's (blending alone); result equal to the naive average within
1e-5; windows of air skipped; time linear in voxels.
"""

from __future__ import annotations

import argparse
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
from dycon_engine.inference.sliding_window import SIGMA, slide, windows
from dycon_engine.networks import build_network
from Testing.reference.naive_sliding_window import naive_slide

PATCH = (40, 64, 64)
CLASSES = 2


def network(kind: str) -> Callable[[torch.Tensor], torch.Tensor]:
    if kind == "copy":
        return lambda x: x.expand(-1, CLASSES, -1, -1, -1).clone()
    torch.manual_seed(0)
    net = build_network(NetworkConfig(filters=(8, 16, 32, 64)), channels=1, classes=CLASSES).eval()
    return lambda x: net(x).logits


def image(size: list[int]) -> torch.Tensor:
    return torch.randn(1, *size, generator=torch.Generator().manual_seed(1))


def ours(kind: str, scan: torch.Tensor) -> torch.Tensor:
    options = {"patch_size": PATCH, "classes": CLASSES, "config": InferenceConfig()}
    return slide(network(kind), scan, **options)


def monai(kind: str, scan: torch.Tensor) -> torch.Tensor:
    from monai.inferers import sliding_window_inference  # noqa: PLC0415 - not in our process

    with torch.inference_mode():
        return sliding_window_inference(
            scan[None], PATCH, 1, network(kind), overlap=0.5, mode="gaussian", sigma_scale=SIGMA
        )[0]


SIDES = {"ours": ours, "MONAI": monai}


def child(side: str, kind: str, size: list[int]) -> None:
    """Print CPU seconds and extra memory of one call, after a small one that warms up."""
    torch.set_num_threads(1)
    SIDES[side](kind, image(list(PATCH)))
    scan = image(size)
    reset_peak()
    before, memory = os.times(), peak_mib()
    SIDES[side](kind, scan)
    after = os.times()
    seconds = after.user + after.system - before.user - before.system
    print(json.dumps({"seconds": seconds, "mib": peak_mib() - memory}))


def measure(side: str, kind: str, size: list[int]) -> dict[str, float]:
    line = [sys.executable, __file__, "--child", side, kind, *map(str, size)]
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


def compare(size: list[int], runs: int) -> None:
    count = len(windows(tuple(size), PATCH, 0.5))
    print(f"volume {size}, {count} windows of {list(PATCH)}, 1 thread\n")
    print("| network | side | CPU s (median) | extra MiB | time / MONAI | memory / MONAI |")
    print("|---|---|---|---|---|---|")
    for kind in ("3D U-Net", "copy"):
        found = {side: [] for side in SIDES}
        for _ in range(runs):
            for side, list_ in found.items():
                list_.append(measure(side, kind, size))
        median = {
            side: [statistics.median(r[key] for r in results) for key in ("seconds", "mib")]
            for side, results in found.items()
        }
        for side, (seconds, mib) in median.items():
            share = seconds / median["MONAI"][0], mib / median["MONAI"][1]
            print(
                f"| {kind} | {side} | {seconds:.2f} | {mib:.0f} | {share[0]:.2f} | {share[1]:.2f} |"
            )


def check() -> None:
    """Compare with the naive average, and skip air."""
    torch.set_num_threads(1)
    scan = image([56, 72, 80])
    with torch.no_grad():
        naive = naive_slide(
            network("3D U-Net"), scan, patch_size=PATCH, classes=CLASSES, overlap=0.5
        )
    difference = np.abs(ours("3D U-Net", scan).numpy() - naive).max()
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


def growth(runs: int) -> None:
    print("\n| voxels | CPU s (median) | microseconds per voxel |\n|---|---|---|")
    for size in ([40, 64, 64], [60, 96, 96], [80, 128, 128], [120, 192, 192]):
        results = [measure("ours", "3D U-Net", size)["seconds"] for _ in range(runs)]
        seconds, voxels = statistics.median(results), int(np.prod(size))
        print(f"| {voxels} | {seconds:.2f} | {1e6 * seconds / voxels:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=3, default=[96, 160, 160])
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1], [int(n) for n in options.child[2:]])
        return
    compare(options.size, options.runs)
    check()
    growth(1)


if __name__ == "__main__":
    main()
