"""Devices and processes: which device this process trains on, and what all ranks agree on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dycon_engine.config import TrainingConfig
from dycon_engine.errors import DyconError, InputError
from dycon_engine.networks.cores import share_cores
from dycon_engine.networks.devices import gpu_identity, take_device
from dycon_engine.training.determinism import switch, tolerant

T = TypeVar("T")
TIMEOUT = timedelta(hours=2)  # of a step, which saving a checkpoint may hold up
PATIENCE = timedelta(hours=48)  # while one process reads, prepares or validates whole volumes


@dataclass(frozen=True)
class Process:
    """One of `world` training processes; rank 0 writes and reports.

    Attributes:
        device: Of this process.
        rank: Its number.
        world: How many there are.
        patient: The group for work that takes one process much longer than another.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    patient: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set on any rank; the same answer everywhere."""
        if self.world == 1:
            return flags
        summed = torch.tensor(flags, dtype=torch.int32, device=self.device)
        dist.all_reduce(summed, op=dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in summed.tolist())

    def gather(self, mine: T) -> list[T]:
        """Return what every rank passed, by rank."""
        if self.world == 1:
            return [mine]
        found: list[T | None] = [None] * self.world
        dist.all_gather_object(found, mine, group=self.patient)
        return [item for item in found if item is not None]

    def from_main(self, compute: Callable[[], T]) -> T:
        """Return what `compute` gives on the main process, on every rank.

        Raises:
            DyconError: As `compute` raised it on the main process; elsewhere its one line.
        """
        if self.world == 1:
            return compute()
        parcel: list[Any] = [None, None]
        error: DyconError | None = None
        if self.is_main:
            try:
                parcel[0] = compute()
            except DyconError as raised:
                error, parcel[1] = raised, str(raised)
        dist.broadcast_object_list(parcel, src=0, group=self.patient)
        if error is not None:
            raise error
        if parcel[1] is not None:
            raise InputError(f"rank {self.rank}: stopped with rank 0")
        result: T = parcel[0]
        return result

    def main_first(self, compute: Callable[[], T]) -> T:
        """Return what `compute` gives on this rank, done on the main process before the others."""
        if self.world == 1:
            return compute()
        result = [compute()] if self.is_main else []
        self.wait()
        return result[0] if result else compute()

    def wait(self) -> None:
        """Return once every rank has come here."""
        if self.world > 1:
            dist.barrier(group=self.patient)

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace floating-point `tensors` by their mean over the ranks."""
        moving = [t for t in tensors if t.is_floating_point()]
        if self.world == 1 or not moving:
            return
        flat = torch.cat([t.detach().flatten().float() for t in moving])
        dist.all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [t.numel() for t in moving])
        for tensor, part in zip(moving, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def wrap(self, method: nn.Module) -> nn.Module:
        """Return `method` so that its gradients are averaged over the ranks.

        Buffers are left to `average_`: so they are the same on every rank at every step's end.
        """
        if self.world == 1:
            return method
        return nn.parallel.DistributedDataParallel(
            method, broadcast_buffers=False, find_unused_parameters=True
        )


@contextmanager
def start_process(
    config: TrainingConfig, on_notice: Callable[[str], None] = lambda _text: None
) -> Iterator[Process]:
    """Join the other ranks (started by torchrun), if any, and leave them at the end.

    A rank that fails does not take leave of the others, who may be waiting for its numbers: with
    NCCL that would wait for them in turn. It ends, and torchrun ends the rest.

    Args:
        config: The settings.
        on_notice: Called with one sentence where a GPU is there but not used, or cannot do what
            is asked for.

    Raises:
        InputError: The device is unknown or cannot run a network, or two ranks have the same GPU.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = take_device(config.device, on_notice, local_rank=local_rank)
    if world == 1:
        with tolerant(device, on_notice):
            yield Process(device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    process = Process(device, rank, world, dist.new_group(backend="gloo", timeout=PATIENCE))
    if device.type == "cuda":
        _require_own_gpu(process.gather(gpu_identity(device)))
    with tolerant(device, on_notice):
        yield process
    dist.destroy_process_group()


def _require_own_gpu(taken: Sequence[str]) -> None:
    """Check that no two ranks compute on the same GPU, which NCCL cannot.

    Raises:
        InputError: Some do.
    """
    count = len(set(taken))
    if count < len(taken):
        raise InputError(
            f"torchrun: found {len(taken)} processes on {count} GPUs, expected a GPU for each; "
            "start as many as there are GPUs (--nproc-per-node) with --device auto"
        )


def configure(config: TrainingConfig) -> None:
    """Set threads and kernels of this process as the settings say."""
    if config.threads:
        torch.set_num_threads(config.threads)
    else:
        share_cores()
    switch(on=config.deterministic, tf32=config.precision != "fp32")
