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

TUTORIAL = "https://github.com/SlicerDyCON/SlicerDyCON/blob/main/docs/tutorial/segment.md"
RESEARCH = "For research use only. Not a medical device; not for diagnosis or treatment planning."


class DyCONSegmentation(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        """Describe it."""
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("DyCON Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.contributors = ["The DyCON for 3D Slicer contributors"]
        text = _(
            "Segments scans with a trained model and shows voxel by voxel where the model is "
            "unsure, so that a person corrects only what needs it."
        )
        parent.helpText = f'{text} {RESEARCH} <a href="{TUTORIAL}">{_("Tutorial")}</a>'
        parent.acknowledgementText = (
            "The method is DyCON (Assefa et al., CVPR 2025) and its peers; see the references in "
            "docs/reference/methods.md."
        )


class DyCONSegmentationWidget(ScriptedLoadableModuleWidget):
    """The panel as Slicer calls it."""

    def setup(self) -> None:
        """Build it, once."""
        ScriptedLoadableModuleWidget.setup(self)
        from DyCONSegmentationLib.widget import Panel  # noqa: PLC0415 - not before it is opened

        widget = slicer.util.loadUI(self.resourcePath("UI/DyCONSegmentation.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(widget)
        self.panel = Panel(self.ui, Path(self.resourcePath("UI")).parent)
        if self.parent.isEntered:  # loaded anew while it is shown
            self.enter()

    def enter(self) -> None:
        """Slicer shows the panel."""
        self.panel.enter()

    def cleanup(self) -> None:
        """Slicer ends, or the module is loaded anew: nothing goes on."""
        if hasattr(self, "panel"):
            self.panel.close()

    def onReload(self) -> None:  # noqa: N802 - Slicer's name
        """Load the parts of the module anew, too."""
        for name in [name for name in sys.modules if name.startswith("DyCONSegmentationLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class DyCONSegmentationTest(ScriptedLoadableModuleTest):
    """The self-test; needs no PyTorch and no data."""

    def runTest(self) -> None:  # noqa: N802 - Slicer's name
        """Run it on an empty scene."""
        from DyCONSegmentationLib.selfcheck import CHECKS  # noqa: PLC0415 - not before it is asked for

        for check in CHECKS:
            slicer.mrmlScene.Clear(0)
            self.delayDisplay(check.__doc__ or check.__name__)
            check()
        slicer.mrmlScene.Clear(0)
        self.delayDisplay("Test passed")
