"""How many processor cores there are for this process, and for each of several on one machine."""

from __future__ import annotations

import os

import torch

TORCHRUN_THREADS = "1"  # what torchrun sets where the person chose nothing


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    own = getattr(os, "sched_getaffinity", None)  # on Linux only
    return len(own(0)) if own is not None else os.cpu_count() or 1


def share_cores() -> None:
    """Give this process its share of the cores, where torchrun started several on this machine.

    Torchrun gives each of them one thread. A number that a person chose stays.
    """
    processes = os.environ.get("LOCAL_WORLD_SIZE", "")
    chosen = os.environ.get("OMP_NUM_THREADS", TORCHRUN_THREADS) != TORCHRUN_THREADS
    if processes.isdecimal() and int(processes) > 1 and not chosen:
        torch.set_num_threads(max(1, usable_cores() // int(processes)))
