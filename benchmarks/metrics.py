"""Dice, Jaccard, HD95 and ASD of real LA cases: medpy and MONAI against ours, numbers compared.

    python benchmarks/metrics.py [--cases 3] [--runs 3] [--threshold]

Goals: >= 20x medpy with identical numbers, >= 4x MONAI. The predictions are the references,
disturbed by smooth noise to a Dice near 0.9, as a trained network is. Times are CPU seconds,
medians of alternating runs. `--threshold` instead measures where a distance transform overtakes
trees (`surfaces.TREE_RATIO`), from smooth to rough masks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from medpy.metric import binary as medpy
from scipy.ndimage import gaussian_filter

from dycon_engine.data.formats.readers import read_label
from dycon_engine.evaluation import surfaces
from dycon_engine.evaluation.metrics import score

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("Dice", "Jaccard", "HD95 [mm]", "ASD [mm]")


def disturbed(reference: np.ndarray, *, noise: float, smooth: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed).standard_normal(reference.shape, dtype=np.float32)
    random = gaussian_filter(random, smooth)
    field = gaussian_filter(reference.astype(np.float32), 3) + noise * random / random.std()
    return (field > 0.5).astype(np.uint8)


def ours(prediction: np.ndarray, reference: np.ndarray, spacing: tuple) -> tuple[float, ...]:
    [s] = score(prediction, reference, classes=(1,), spacing_mm=spacing)
    return s.dice, s.jaccard, s.hd95_mm, s.asd_mm


def by_medpy(prediction: np.ndarray, reference: np.ndarray, spacing: tuple) -> tuple[float, ...]:
    return (
        medpy.dc(prediction, reference),
        medpy.jc(prediction, reference),
        medpy.hd95(prediction, reference, voxelspacing=spacing),
        medpy.asd(prediction, reference, voxelspacing=spacing),
    )


def by_monai(prediction: np.ndarray, reference: np.ndarray, spacing: tuple) -> tuple[float, ...]:
    import torch  # noqa: PLC0415 - heavy
    from monai import metrics as monai  # noqa: PLC0415

    p, r = (
        torch.from_numpy(np.stack([a == 0, a == 1]))[None].float() for a in (prediction, reference)
    )
    hausdorff = monai.compute_hausdorff_distance(p, r, percentile=95, spacing=spacing)
    surface = monai.compute_average_surface_distance(p, r, spacing=spacing)
    dice = monai.compute_dice(p, r, include_background=False)
    return (
        float(dice),
        float(monai.compute_iou(p, r, include_background=False)),
        float(hausdorff),
        float(surface),
    )


def cpu_seconds(function: Callable[..., tuple[float, ...]], *arguments: object) -> tuple:
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def compare(paths: list[Path], runs: int) -> None:
    sides = {"ours": ours, "medpy": by_medpy, "MONAI": by_monai}
    print(f"{'case':>5}{'Dice':>8}" + "".join(f"{name + ' [s]':>12}" for name in sides)
          + f"{'/medpy':>9}{'/MONAI':>9}  largest difference to medpy (MONAI)")  # fmt: skip
    ratios: dict[str, list[float]] = {"medpy": [], "MONAI": []}
    for number, path in enumerate(paths, start=1):
        volume = read_label(path)
        reference, spacing = volume.array.astype(np.uint8), volume.geometry.spacing_mm
        prediction = disturbed(reference, noise=0.14, smooth=4, seed=number)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        figures = {}
        for _ in range(runs + 1):
            for name, function in sides.items():
                taken, figures[name] = cpu_seconds(function, prediction, reference, spacing)
                seconds[name].append(taken)
        median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
        apart = [
            max(abs(a - b) for a, b in zip(figures["ours"], figures[name], strict=True))
            for name in ("medpy", "MONAI")
        ]
        for name, values in ratios.items():
            values.append(median[name] / median["ours"])
        print(f"{number:>5}{figures['ours'][0]:>8.3f}"
              + "".join(f"{median[name]:>12.3f}" for name in sides)
              + f"{ratios['medpy'][-1]:>8.1f}x{ratios['MONAI'][-1]:>8.1f}x"
              + f"  {apart[0]:.1e} ({apart[1]:.1e})")  # fmt: skip
    for name, goal in (("medpy", 20), ("MONAI", 4)):
        found = statistics.median(ratios[name])
        print(
            f"median {found:.1f}x {name}, goal {goal}x: {'reached' if found >= goal else 'MISSED'}"
        )


def threshold(path: Path) -> None:
    reference = read_label(path).array == 1
    print(f"{'voxels per surface voxel':>26}{'trees [s]':>12}{'transform [s]':>15}")
    for smooth, noise in ((4.0, 0.14), (2.0, 0.3), (1.0, 0.3), (1.0, 0.5), (0.5, 0.4), (0.3, 0.5)):
        prediction = disturbed(reference, noise=noise, smooth=smooth, seed=0) == 1
        one, two = (surfaces.surface_positions(mask) for mask in (prediction, reference))
        box = np.prod(np.ptp(np.concatenate([one, two]), axis=0) + 1)
        taken = []
        for ratio in (0, 10**9):
            surfaces.TREE_RATIO = ratio
            seconds, _ = cpu_seconds(
                lambda a, b: surfaces.surface_distances(a, b, spacings_mm=((1.0, 1.0, 1.0),)),
                one,
                two,
            )
            taken.append(seconds)
        print(f"{box / (len(one) + len(two)):>26.1f}{taken[0]:>12.3f}{taken[1]:>15.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threshold", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(os.environ.get("DYCON_LA2018", ROOT.parent / "shared" / "data" / "la2018"))
    paths = sorted((folder / "labels").glob("*.nii.gz"))[: arguments.cases]
    if not paths:
        raise SystemExit(f"no LA labels in {folder}; set DYCON_LA2018")
    if arguments.threshold:
        threshold(paths[0])
    else:
        compare(paths, arguments.runs)


if __name__ == "__main__":
    main()
