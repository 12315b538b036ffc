"""How a training process gets the memory of large tensors (Linux with glibc).

A training step takes and gives back the same few sizes of large tensors. As glibc comes, that goes
badly both ways: blocks of the system are zeroed anew each time, and in the heap the slack that
aligning a tensor leaves beside it goes to caches of small blocks and stays there, so that the hole
of a tensor is too small for the next one of its size and the heap grows to twice of what is in use.
Here everything comes from one heap of huge pages, small blocks have no caches, and holes fit again:
less memory than with blocks of the system, and nothing to zero (`benchmarks/results/step.md`).

glibc reads such settings only when a program starts. So a training job starts itself anew once, at
its beginning: the same process with the same arguments.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from pathlib import Path

TUNABLES = "GLIBC_TUNABLES"
SETTINGS = {
    "mmap_max": 0,  # no blocks straight from the system
    "mxfast": 0,  # no caches of small blocks,
    "tcache_count": 0,  # of the thread either
    "hugetlb": 1,  # ask for huge pages
    "trim_threshold": 256 << 20,  # bytes at the end of the heap that are kept
    "top_pad": 16 << 20,  # bytes that it grows by at least
}
CHOICES = ("MALLOC_", TUNABLES, "LD_PRELOAD")  # the person's own


def allocator_environment() -> dict[str, str]:
    """Return the variables that a training process should start with.

    Empty where the person has chosen settings or another allocator by environment, and on systems
    without glibc.
    """
    if not _has_glibc() or any(name.startswith(CHOICES) for name in os.environ):
        return {}
    return {TUNABLES: ":".join(f"glibc.malloc.{name}={n}" for name, n in SETTINGS.items())}


def restart_tuned() -> None:
    """Start this process anew with the `allocator_environment`; return where there is none.

    Returns also where the process is not our command but a program that called it.
    """
    added = allocator_environment()
    if added and sys.executable and _is_our_command():
        again = [sys.executable, *sys.orig_argv[1:]]
        with contextlib.suppress(OSError):  # then as we are
            os.execve(sys.executable, again, os.environ | added)  # noqa: S606 - itself


def _has_glibc() -> bool:
    try:
        return "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, ValueError, OSError):  # Windows; macOS and musl do not know the name
        return False


def _is_our_command() -> bool:
    """Whether the process was started as `python -m dycon_engine.VERB` or as `dycon VERB`."""
    words = sys.orig_argv
    if any(a == "-m" and b.split(".")[0] == "dycon_engine" for a, b in itertools.pairwise(words)):
        return True
    return sys.argv[0] in words and Path(sys.argv[0]).stem == "dycon"
