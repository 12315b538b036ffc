"""Training batches as a pure function of the step: nothing to save, nothing to restore.

Every draw comes from a generator seeded by (seed, stream, number of the patch), labeled and
unlabeled patches in streams of their own (docs/decisions/0001-stateless-randomness.md).
"""

from __future__ import annotations

import atexit
import ctypes
import dataclasses
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from dycon_engine.config import AugmentationConfig, TrainingConfig
from dycon_engine.data.augmentation import Augmentation, Patch, Source, draw_patch
from dycon_engine.data.batch import Batch
from dycon_engine.data.cache import LabeledCase, UnlabeledCase
from dycon_engine.data.geometry import Spacing
from dycon_engine.data.patches import air_value, foreground_points
from dycon_engine.jobs.signals import let_children_end

LABELED, UNLABELED = 0, 1
ORDER, CONTENT = 0, 1
PR_SET_PDEATHSIG = 1


class BatchLoader:
    """Draws the training batch of any step.

    Args:
        labeled: At least one case.
        unlabeled: May be empty if `training.unlabeled_batch` is 0.
        training: Patch size, patches per step, share on foreground, seed, workers, device.
        augmentation: What happens to the patches.
        rank: Number of this process among `world` that share each step.
        world: Training processes.
        spacing_mm: (z, y, x) of the prepared cases, so that rotations are rigid.
        device: Where the run trains; None = as `training.device` says, where that is there.
    """

    def __init__(  # noqa: PLR0913 - cases, settings, place among the processes, grid, device
        self,
        labeled: Sequence[LabeledCase],
        unlabeled: Sequence[UnlabeledCase],
        *,
        training: TrainingConfig,
        augmentation: AugmentationConfig,
        rank: int = 0,
        world: int = 1,
        spacing_mm: Spacing = (1.0, 1.0, 1.0),
        device: torch.device | None = None,
    ) -> None:
        self.labeled, self.unlabeled = tuple(labeled), tuple(unlabeled)
        if training.unlabeled_cases == "all":
            self.unlabeled += tuple(UnlabeledCase(case.name, case.image) for case in labeled)
        self.training, self.rank, self.world, self.device = training, rank, world, device
        self.how = Augmentation(augmentation, training.patch_size, training.foreground, spacing_mm)
        plain = dataclasses.replace(augmentation, preset="none")
        self.how_unlabeled = self.how if augmentation.unlabeled else self.how._replace(config=plain)
        self._sources: dict[tuple[int, int], Source] = {}

    def batch(self, step: int) -> Batch:
        """Return the batch of `step` >= 0; the same for the same seed, step and rank."""
        labeled = self._patches(LABELED, step, self.training.labeled_batch)
        count = self.training.unlabeled_batch if self.unlabeled else 0
        unlabeled = self._patches(UNLABELED, step, count)
        image = torch.stack([patch.image for patch in labeled])
        label = torch.stack([patch.label for patch in labeled if patch.label is not None])
        empty = image.new_empty((0, *image.shape[1:]))
        return Batch(
            image, label, torch.stack([p.image for p in unlabeled]) if unlabeled else empty
        )

    def iterate(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of steps `start` to `stop` - 1, prepared ahead of their use.

        By `training.workers` processes, or with none by one thread; pinned for a CUDA device.
        """
        batches = self._by_processes if self.training.workers else self._by_thread
        for batch in batches(start, stop):
            yield _pinned(batch) if self._for_cuda() else batch

    def _by_thread(self, start: int, stop: int) -> Iterator[Batch]:
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            ahead = pool.submit(self.batch, start) if start < stop else None
            for step in range(start, stop):
                assert ahead is not None  # noqa: S101 - there is a step
                ready = ahead.result()
                ahead = pool.submit(self.batch, step + 1) if step + 1 < stop else None
                yield ready

    def _by_processes(self, start: int, stop: int) -> Iterator[Batch]:
        atexit.register(end_workers)
        try:
            yield from DataLoader(
                _Steps(self, start, stop),
                batch_size=None,
                num_workers=self.training.workers,
                worker_init_fn=partial(start_worker, parent=os.getpid()),
                generator=torch.Generator(),  # so that the global one is left alone
            )
        finally:
            atexit.unregister(end_workers)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_sources": {}}  # each process finds its own; voxels stay behind

    def _for_cuda(self) -> bool:
        if self.device is not None:
            return self.device.type == "cuda"
        wanted = self.training.device == "auto" or self.training.device.startswith("cuda")
        return wanted and torch.cuda.is_available()

    def _patches(self, stream: int, step: int, count: int) -> list[Patch]:
        first = (step * self.world + self.rank) * count
        return [self._patch(stream, first + index) for index in range(count)]

    def _patch(self, stream: int, number: int) -> Patch:
        """Return patch `number` of `stream`: each case once in every round, in random order."""
        cases = len(self.labeled) if stream == LABELED else len(self.unlabeled)
        turn, place = divmod(number, cases)
        case = int(_order(self.training.seed, stream, turn, cases)[place])
        rng = np.random.default_rng((self.training.seed, stream, CONTENT, number))
        how = self.how if stream == LABELED else self.how_unlabeled
        return draw_patch(rng, self._source(stream, case), how)

    def _source(self, stream: int, index: int) -> Source:
        source = self._sources.get((stream, index))
        if source is None:
            if stream == LABELED:
                case = self.labeled[index]
                points = foreground_points(case.label) if self.how.foreground > 0.0 else ()
                source = Source(case.image, case.label, points, air_value(case.image))
            else:
                image = self.unlabeled[index].image
                source = Source(image, None, (), air_value(image))
            self._sources[stream, index] = source
        return source


@lru_cache(maxsize=16)
def _order(seed: int, stream: int, turn: int, cases: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, stream, ORDER, turn)).permutation(cases)


class _Steps(Dataset[Batch]):
    """The batches of a range of steps, for worker processes."""

    def __init__(self, loader: BatchLoader, start: int, stop: int) -> None:
        self.loader, self.start, self.stop = loader, start, stop

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __getitem__(self, index: int) -> Batch:
        return self.loader.batch(self.start + index)


def start_worker(worker: int, parent: int) -> None:  # noqa: ARG001 - PyTorch passes `worker`
    """Have this process serve until `parent` has no more use for it, whatever its group is told.

    Ctrl-C and schedulers signal the whole group: the parent answers, with a checkpoint, and needs
    batches until then. Its worker ends at the end of the steps, or with it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(parent)


def end_workers() -> None:
    """End the workers of an iteration that is left open when Python ends.

    Python itself would send SIGTERM, which they ignore, and wait for them.
    """
    let_children_end()
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when `parent` ends, however that happens (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def _pinned(batch: Batch) -> Batch:
    return batch.map(lambda tensor: tensor.pin_memory() if tensor.numel() else tensor)
