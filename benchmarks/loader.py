"""What data costs a training step, and whether a thousand unlabeled cases change that.

    python benchmarks/loader.py [--data LA2018] [--steps 12] [--many 1000] [--threads 2]
        [--growth-only]

Goals: data wait at most 2 % of the step with `training.workers=0`; batch time flat in the number of
unlabeled cases. Steps are those of the laptop profile on the real volumes at 1.25 mm; the cases of
the second table are separate files, mapped from disk.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dycon_engine.config import RunConfig, resolve
from dycon_engine.data.batch import Batch
from dycon_engine.data.cache import LabeledCase, UnlabeledCase
from dycon_engine.data.formats.readers import read_image, read_label
from dycon_engine.data.loader import BatchLoader
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.volume import Volume
from dycon_engine.methods import build_method
from dycon_engine.networks import build_network
from dycon_engine.schedules import Progress

ROOT = Path(__file__).resolve().parent.parent
LA2018 = os.environ.get("DYCON_LA2018", str(ROOT.parent / "shared" / "data" / "la2018"))
CASES, FEW = 12, 3  # read for both tables, and for that of the growth alone


def read_cases(
    folder: Path, spacing_mm: tuple[float, float, float], count: int
) -> tuple[list[LabeledCase], list[UnlabeledCase]]:
    """Return the first `count` cases of the LA folder, prepared, the first third labeled."""
    preprocessing = Preprocessing(spacing_mm)
    labeled, unlabeled = [], []
    for name in (folder / "train.list").read_text().split()[:count]:
        image = preprocessing.prepare(read_image(folder / "images" / f"{name}.nii.gz")).array
        image = image.astype(np.float16)
        if len(labeled) < count // 3:
            label = read_label(folder / "labels" / f"{name}.nii.gz")
            classes = preprocessing.prepare_label(binary(label), 2)
            labeled.append(LabeledCase(name, image, classes))
        else:
            unlabeled.append(UnlabeledCase(name, image))
    return labeled, unlabeled


def binary(label: Volume) -> Volume:
    """Return the label with class indices 0 and 1, whatever the file's values."""
    return Volume((label.array > 0).astype(np.uint8), label.geometry)


class Stepper:
    """A training step of the profile without its trainer: forward, backward, optimizer, teacher."""

    def __init__(self, config: RunConfig) -> None:
        torch.manual_seed(0)
        self.method = build_method(
            config.method.name,
            config.method.settings,
            lambda: build_network(config.network, channels=1, classes=2),
        )
        trained = [p for p in self.method.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=2e-3, fused=True)

    def __call__(self, batch: Batch, step: int) -> None:
        """Do step `step`."""
        terms = self.method(batch, Progress(step + 100, 1000))
        self.optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        self.optimizer.step()
        self.method.after_step(Progress(step + 101, 1000))


def wait_table(loader: BatchLoader, config: RunConfig, steps: int) -> None:
    """Print how long a step waits for its batch: prepared ahead, and asked for on the spot."""
    run = Stepper(config)
    run(loader.batch(0), 0)
    rows = {"prepared ahead (what training does)": [], "asked for in the step": []}
    for name, waits in rows.items():
        batches = loader.iterate(1, steps + 2) if name.startswith("prepared") else None
        if batches is not None:
            next(batches)
        for step in range(1, steps + 1):
            began = time.perf_counter()
            batch = loader.batch(step) if batches is None else next(batches)
            waited = time.perf_counter() - began
            run(batch, step)
            waits.append((waited, time.perf_counter() - began))
    print(f"{'batch':<38}{'wait, median':>14}{'step, median':>14}{'share of wait':>15}")
    for name, waits in rows.items():
        wait, step = (statistics.median(column) for column in zip(*waits, strict=True))
        share = sum(w for w, _ in waits) / sum(s for _, s in waits)
        print(f"{name:<38}{wait * 1e3:>11.1f} ms{step * 1e3:>11.0f} ms{share:>14.1%}")


def growth_table(
    labeled: list[LabeledCase],
    unlabeled: list[UnlabeledCase],
    config: RunConfig,
    *,
    many: int,
    steps: int,
) -> None:
    """Print batch time with 64 and with `many` mapped unlabeled cases, alternating."""
    counts = (64, many)
    with tempfile.TemporaryDirectory() as folder:
        mapped = [copied(unlabeled, Path(folder), index) for index in range(max(counts))]
        loaders = {
            count: BatchLoader(
                labeled, mapped[:count], training=config.training, augmentation=config.augmentation
            )
            for count in counts
        }
        times: dict[int, list[float]] = {count: [] for count in counts}
        for step in range(steps):
            for count, loader in loaders.items():
                began = time.process_time()
                loader.batch(step)
                times[count].append(time.process_time() - began)
        del loaders, mapped
    print(f"\n{'unlabeled cases (mapped)':<38}{'batch, median CPU':>18}{'ratio':>10}")
    for count in counts:
        median = statistics.median(times[count])
        ratio = median / statistics.median(times[counts[0]])
        print(f"{count:<38}{median * 1e3:>15.1f} ms{ratio:>9.2f}x")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the whole measurement {peak:.2f} GiB")


def copied(unlabeled: list[UnlabeledCase], folder: Path, index: int) -> UnlabeledCase:
    """Write case `index` as a file of its own and map it."""
    path = folder / f"{index}.npy"
    np.save(path, unlabeled[index % len(unlabeled)].image)
    return UnlabeledCase(str(index), np.load(path, mmap_mode="r"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(LA2018))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--growth-only", action="store_true", help="only the second table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = resolve("laptop")
    spacing = config.preprocessing.spacing_mm or (1.25, 1.25, 1.25)
    number = FEW if arguments.growth_only else CASES
    labeled, unlabeled = read_cases(arguments.data, spacing, number)
    loader = BatchLoader(
        labeled,
        unlabeled,
        training=config.training,
        augmentation=config.augmentation,
        spacing_mm=spacing,
    )
    patch = "x".join(str(n) for n in config.training.patch_size)
    print(
        f"{config.method.name} on {config.network.name} {config.network.filters} stem "
        f"{config.network.stem}, {config.training.labeled_batch} + "
        f"{config.training.unlabeled_batch} patches of {patch}, {arguments.threads} threads"
    )
    if not arguments.growth_only:
        wait_table(loader, config, arguments.steps)
    growth_table(labeled, unlabeled, config, many=arguments.many, steps=4 * arguments.steps)


if __name__ == "__main__":
    main()
