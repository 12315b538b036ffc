"""Several processes that segment scans for one command: one that fails does not end the others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch.distributed as dist

from dycon_engine.errors import CancelledError

TORCHRUN = "TORCHELASTIC_RUN_ID"  # in the environment of what torchrun starts
PATIENCE = timedelta(hours=48)  # while other ranks segment their scans


@contextlib.contextmanager
def together(world: int) -> Iterator[None]:
    """Do the share of this rank, and wait at its end, or failure, until all ranks came there.

    Torchrun ends all processes once one has failed. One that was cancelled waits for nobody.

    Args:
        world: How many ranks there are.
    """
    if world == 1 or TORCHRUN not in os.environ:
        yield
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
    except CancelledError:
        raise
    except Exception:
        _wait()
        raise
    _wait()
    dist.destroy_process_group()


def _wait() -> None:
    with contextlib.suppress(RuntimeError):  # of one that was cancelled
        dist.barrier()
