"""Slicer's libraries, views and widgets for tests; skips with the reason where they are absent."""

from __future__ import annotations

import importlib
import importlib.util
import os
from ctypes.util import find_library
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


DEBIAN = (
    "libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 libfontconfig1 libxkbcommon0 libdbus-1-3 "
    "fonts-dejavu-core"
)


def _require(package: str, library: str) -> None:
    """Skip where a package, or a system library that it needs, is not there."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install -e '.[test]'")
    try:
        importlib.import_module(library)
    except ImportError as error:
        pytest.skip(f"{library} cannot be loaded ({error}); Debian: apt-get install {DEBIAN}")


@pytest.fixture
def new_children() -> Callable[[], set[psutil.Process]]:
    """Return what lists the children of this process that the test started."""
    before = set(psutil.Process().children())  # of tests that ran before in this process
    return lambda: set(psutil.Process().children()) - before


@pytest.fixture
def slicer_scene() -> Iterator[Any]:
    """`import slicer` as in Slicer's Python console, with an empty scene; yields the scene.

    The test fails if VTK or MRML reported an error; a test that provokes one clears
    `Testing.slicer.host.scene.errors()` after looking at it.
    """
    _require("slicer_core", "slicer")
    from Testing.slicer.host import scene

    scene.start()
    scene.new_scene()
    scene.slicer_settings().clear()
    scene.errors().clear()
    yield scene.host().scene
    reported = "\n".join(scene.errors())
    scene.new_scene()
    assert not reported, f"VTK or MRML reported errors during the test:\n{reported}"


@pytest.fixture
def slicer_views(slicer_scene: Any) -> ModuleType:
    """The module that draws Slicer's views, on an empty scene."""
    if not (find_library("EGL") or os.environ.get("DISPLAY")):
        pytest.skip(f"no EGL and no display: VTK cannot draw; Debian: apt-get install {DEBIAN}")
    from Testing.slicer.host import views

    return views


@pytest.fixture
def slicer_qt(slicer_scene: Any) -> Iterator[ModuleType]:
    """`import qt`, `import ctk` and Slicer's widgets; yields Testing.slicer.host.qt.

    Dialogs are recorded in its `dialogs`. The test fails if a slot failed or Qt complained; a test
    that provokes it takes the list with `failures()`. Modules that the test loaded are unloaded.
    """
    _require("PySide6", "PySide6.QtWidgets")
    from Testing.slicer.host import qt as host_qt

    host_qt.start_qt()
    host_qt.dialogs.clear()
    host_qt.failures()
    yield host_qt
    host_qt.quit_slicer()
    found = "\n".join(host_qt.failures())
    host_qt.dialogs.clear()
    assert not found, f"slots failed or Qt complained during the test:\n{found}"
