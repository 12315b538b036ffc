"""Which machine this is, for what lies in folders that several machines and containers share."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path


def machine_id() -> str:
    """Return what tells this machine, and its process ids, from any other; "" where unknown."""
    if sys.platform == "linux":  # containers of one machine count their processes separately
        with contextlib.suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, AttributeError):
            found = (ctypes.c_ubyte * 16)()
            wait = (ctypes.c_long * 2)()  # seconds and nanoseconds: not at all
            if ctypes.CDLL(None).gethostuuid(found, wait) == 0:
                return bytes(found).hex()
    return ""
