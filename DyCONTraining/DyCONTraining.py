"""Slicer's entry to the module: its description, its panel and its self-test; the work is below."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

ROOT = Path(__file__).resolve().parent.parent
if (ROOT / "DyCONLib").is_dir() and str(ROOT) not in sys.path:  # a source checkout
    sys.path.append(str(ROOT))

TUTORIAL = "https://github.com/SlicerDyCON/SlicerDyCON/blob/main/docs/tutorial/train.md"
RESEARCH = "For research use only. Not a medical device; not for diagnosis or treatment planning."


class DyCONTraining(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        """Describe it."""
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("DyCON Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.contributors = ["The DyCON for 3D Slicer contributors"]
        text = _(
            "Trains a segmentation model on a few labeled and many unlabeled scans, shows how it "
            "goes, and says which scan to label next."
        )
        parent.helpText = f'{text} {RESEARCH} <a href="{TUTORIAL}">{_("Tutorial")}</a>'
        parent.acknowledgementText = (
            "The method is DyCON (Assefa et al., CVPR 2025) and its peers; see the references in "
            "docs/reference/methods.md."
        )


class DyCONTrainingWidget(ScriptedLoadableModuleWidget):
    """The panel as Slicer calls it."""

    def setup(self) -> None:
        """Build it, once."""
        ScriptedLoadableModuleWidget.setup(self)
        from DyCONTrainingLib.widget import Panel  # noqa: PLC0415 - not before it is opened

        widget = slicer.util.loadUI(self.resourcePath("UI/DyCONTraining.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(widget)
        self.panel = Panel(self.ui)
        if self.parent.isEntered:  # loaded anew while it is shown
            self.enter()

    def enter(self) -> None:
        """Slicer shows the panel."""
        self.panel.enter()

    def exit(self) -> None:
        """Slicer shows another panel."""
        self.panel.exit()

    def cleanup(self) -> None:
        """Slicer ends, or the module is loaded anew; training goes on."""
        if hasattr(self, "panel"):
            self.panel.close()

    def onReload(self) -> None:  # noqa: N802 - Slicer's name
        """Load the parts of the module anew, too."""
        for name in [name for name in sys.modules if name.startswith("DyCONTrainingLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class DyCONTrainingTest(ScriptedLoadableModuleTest):
    """The self-test; needs no PyTorch and no data."""

    def runTest(self) -> None:  # noqa: N802 - Slicer's name
        """Run it on an empty scene."""
        from DyCONTrainingLib import self_test  # noqa: PLC0415 - not before it is asked for

        for test in self_test.TESTS:
            slicer.mrmlScene.Clear(0)
            self.delayDisplay(test.__doc__ or test.__name__)
            test()
        slicer.mrmlScene.Clear(0)
        self.delayDisplay("Test passed")
