"""How this process gets the memory of large tensors from the system (Linux with glibc).

By default glibc mixes small and large blocks in one heap, whose holes a training step, with its few
sizes of very large tensors, fills badly: twice the memory that is in use. Here large blocks come
straight from the system and go back to it, in huge pages so that fetching them costs little, and
smaller ones stay in a heap that is not given back. `LARGE` was measured on steps of the V-Net
(`benchmarks/results/step.md`): 4 MiB needs less memory and more time, 16 MiB the reverse.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGE, KEPT, GROWTH = 13 << 19, 256 << 20, 16 << 20  # bytes
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # read by PyTorch when it allocates its first tensor
CHOICES = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def tune_allocator() -> bool:
    """Set up the allocator once, early in the process; return whether it was possible.

    Leaves it alone where the person has chosen settings or another allocator by environment, and
    on systems without glibc.
    """
    if not sys.platform.startswith("linux") or _is_chosen():
        return False
    os.environ.setdefault(HUGE_PAGES, "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    pairs = ((M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, KEPT), (M_TOP_PAD, GROWTH))
    done = [mallopt(what, value) == 1 for what, value in pairs]
    return all(done)


def _is_chosen() -> bool:
    return any(name.startswith(CHOICES) for name in os.environ)
