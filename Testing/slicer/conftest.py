"""Slicer's libraries, views and widgets for tests; skips with the reason where they are absent."""

from __future__ import annotations

import importlib.util
import os
from ctypes.util import find_library
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def _require(package: str, why: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is absent: {why}; pip install -e '.[test]'")


@pytest.fixture
def slicer_scene() -> Iterator[Any]:
    """`import slicer` as in Slicer's Python console, with an empty scene; yields the scene.

    The test fails if VTK or MRML reported an error; a test that provokes one clears
    `Testing.slicer.host.scene.errors()` after looking at it.
    """
    _require("slicer_core", "Slicer's own libraries are what is tested against")
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
        pytest.skip("no EGL and no display: VTK cannot draw; install libegl1 and libgl1-mesa-dri")
    from Testing.slicer.host import views

    return views


@pytest.fixture
def slicer_qt(slicer_scene: Any) -> Iterator[ModuleType]:
    """`import qt`, `import ctk` and Slicer's widgets; yields Testing.slicer.host.qt.

    Dialogs are recorded in its `dialogs`. The test fails if a slot failed or Qt complained; a test
    that provokes it takes the list with `failures()`. Modules that the test loaded are unloaded.
    """
    _require("PySide6", "the panels' widgets are Qt's")
    from Testing.slicer.host import qt as host_qt

    host_qt.start_qt()
    host_qt.dialogs.clear()
    host_qt.failures()
    yield host_qt
    host_qt.quit_slicer()
    found = "\n".join(host_qt.failures())
    host_qt.dialogs.clear()
    assert not found, f"slots failed or Qt complained during the test:\n{found}"
