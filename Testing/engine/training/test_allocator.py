"""The allocator is set up where that is possible, and left alone where it was chosen."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dycon_engine.training.allocator import HUGE_PAGES, tune_allocator


def has_mallinfo() -> bool:
    name, version = platform.libc_ver()
    return name == "glibc" and tuple(map(int, version.split("."))) >= (2, 33)


ROOT = Path(__file__).resolve().parents[3]
RETURNED = """
import ctypes, torch
from dycon_engine.training.allocator import tune_allocator
assert tune_allocator()
info = ctypes.CDLL(None).mallinfo2
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
fields = [(name, ctypes.c_size_t) for name in names]
info.restype = type("Info", (ctypes.Structure,), {"_fields_": fields})
before = info().hblkhd
for _ in range(3):  # glibc alone would move its threshold at the first release
    big = torch.zeros(8 << 18)
    assert info().hblkhd - before >= 8 << 20
    del big
    assert info().hblkhd == before
"""


@pytest.mark.skipif(not has_mallinfo(), reason="mallinfo2 needs glibc 2.33")
def test_large_blocks_come_from_the_system_and_go_back():
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "LD_"))}
    subprocess.run([sys.executable, "-c", RETURNED], check=True, cwd=ROOT, env=clean)


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD", "GLIBC_TUNABLES"])
def test_a_choice_by_environment_is_respected(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    monkeypatch.delenv(HUGE_PAGES, raising=False)
    assert not tune_allocator()
    assert HUGE_PAGES not in os.environ


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not tune_allocator()
