"""The choice of the engine's Python in Slicer: where it is kept and the dialog that asks for it."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer

from DyCONLib.interpreters import EnginePython

TITLE = "Folder of a Python environment that has PyTorch"


def engine_python() -> EnginePython:
    """Return the choice that is kept beside the settings of this Slicer."""
    settings = Path(slicer.app.slicerUserSettingsFilePath).parent
    return EnginePython(settings, slicer.util.startupEnvironment())


def ask_environment() -> Path | None:
    """Ask for the folder of an environment; None where the person chose none."""
    chosen = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), TITLE, "")
    return Path(chosen) if chosen else None
