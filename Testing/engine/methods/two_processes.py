"""What each of two gloo processes does in the contract test of distributed training."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from dycon_engine.schedules import Progress
from Testing.engine.methods.tiny import take_step, tiny_batch, tiny_method


class _Wrapped:
    """Calls the method through DistributedDataParallel, the rest directly, as the trainer does."""

    def __init__(self, method: torch.nn.Module) -> None:
        self.parallel = DistributedDataParallel(method)
        self.after_step = method.after_step

    def __call__(self, *arguments: object) -> object:
        return self.parallel(*arguments)


def train_rank(rank: int, names: list[str], folder: str) -> None:
    """Train every method for three steps on data of this rank; save its parameters."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    results = {}
    for name in names:
        method = tiny_method(name, seed=rank)  # DDP starts both from rank 0
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
        wrapped = _Wrapped(method)
        if hasattr(method, "pair"):  # the teacher of rank 1 must be rank 0's as well
            assert torch.equal(*(next(m.parameters()) for m in method.pair.children()))
        for step in range(3):
            batch = tiny_batch(seed=10 * step + rank)
            take_step(wrapped, optimizer, batch, Progress(step, 3))
        results[name] = dict(method.named_parameters())
    torch.save(results, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()
