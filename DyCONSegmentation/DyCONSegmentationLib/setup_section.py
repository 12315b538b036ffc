"""The setup page and the section This computer of the panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from DyCONLib.install import hindrance
from DyCONLib.python_choice import ask_environment
from DyCONSegmentationLib import texts
from DyCONSegmentationLib.setup import Setup


class SetupSection:
    """Shows what is missing and what the computer can do."""

    def __init__(self, ui: Any, setup: Setup, attempt: Any) -> None:
        """Connect the widgets.

        Args:
            ui: The widgets by name.
            setup: What they show.
            attempt: Calls an action and tells a failure in one sentence.
        """
        self._ui, self._setup = ui, setup
        ui.installButton.connect("clicked()", lambda: attempt(setup.install))
        ui.checkButton.connect("clicked()", setup.check)
        for button in (ui.pythonButton, ui.otherPythonButton):
            button.connect("clicked()", self._on_other)
        ui.ownPythonButton.connect("clicked()", lambda: attempt(setup.use_own))
        self._attempt = attempt

    def refresh(self) -> None:
        """Show the setup."""
        ui, setup = self._ui, self._setup
        ui.setupFrame.visible = bool(setup.missing)
        ui.setupLabel.text = texts.setup_text(setup.missing, installing=setup.installing)
        ui.installButton.visible = not hindrance()
        ui.installButton.enabled = not setup.installing
        ui.pythonButton.enabled = ui.otherPythonButton.enabled = not setup.installing
        ui.ownPythonButton.visible = setup.python.chosen is not None
        ui.pythonLabel.text = texts.python_text(setup.python.chosen)
        ui.checkButton.enabled = not setup.checking and not setup.missing
        if setup.checking:
            ui.computerLabel.text = "Checking; the first time can take a minute..."
        elif setup.trouble:
            ui.computerLabel.text = setup.trouble
        elif setup.machine is not None:
            ui.computerLabel.text = texts.machine_text(setup.machine)
        else:
            ui.computerLabel.text = "Not checked yet."

    def _on_other(self) -> None:
        folder = ask_environment()
        if folder is not None:
            self._attempt(lambda: self._choose(folder))

    def _choose(self, folder: Path) -> None:
        with slicer.util.WaitCursor():  # it starts that Python and imports PyTorch
            self._setup.choose(folder)
