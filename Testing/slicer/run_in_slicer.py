"""Runs the facts of the host and the modules' self-tests inside the real 3D Slicer.

    Slicer --testing --no-splash --additional-module-paths DyCONSegmentation DyCONTraining \
           --python-script Testing/slicer/run_in_slicer.py

Prints one line per test and ends Slicer with status 0 or 1. Needs nothing but Slicer.
"""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
MODULES = ("DyCONSegmentation", "DyCONTraining")


def facts() -> list[tuple[str, Callable[[], Any]]]:
    """The facts of facts.py, by name."""
    spec = importlib.util.spec_from_file_location("facts", HERE / "facts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [(fact.__name__, fact) for fact in module.FACTS]


def self_test(name: str) -> None:
    """Open the module's panel, then run its self-test."""
    slicer.util.getModuleWidget(name)
    slicer.selfTests[name]()


def run() -> int:
    """Run everything; 0 if nothing failed."""
    checks = [*facts(), *((name, lambda name=name: self_test(name)) for name in MODULES)]
    failed = 0
    for name, check in checks:
        try:
            check()
            print(f"passed  {name}")
        except Exception:  # noqa: BLE001 one failure must not hide the others
            failed += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}")
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


slicer.util.exit(run())
