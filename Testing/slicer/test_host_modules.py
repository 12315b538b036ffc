"""Scripted modules are loaded, entered, left, reloaded and cleaned up in Slicer's order."""

from __future__ import annotations

import pytest

MODULE = """
import qt, slicer, vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

CALLS = slicer.util.calls_of_probe
VERSION = 1

class Probe(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Probe")
        self.parent.categories = ["Segmentation"]
        CALLS.append("module")

class ProbeWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = ProbeLogic()
        self.button = qt.QPushButton("Go %d" % VERSION)
        self.layout.addWidget(self.button)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onClose)
        CALLS.append("setup")

    def enter(self):
        CALLS.append("enter")

    def exit(self):
        CALLS.append("exit")

    def cleanup(self):
        self.removeObservers()
        CALLS.append("cleanup")

    def onClose(self, caller, event):
        CALLS.append("close")

class ProbeLogic(ScriptedLoadableModuleLogic):
    pass

class ProbeTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_one(self):
        self.delayDisplay("testing")
        CALLS.append("self-test")
"""


@pytest.fixture
def probe(slicer_qt, tmp_path):
    import slicer

    slicer.util.calls_of_probe = []
    path = tmp_path / "Probe.py"
    path.write_text(MODULE)
    return slicer_qt.load_module(path)


def test_a_module_is_built_in_order_and_found_by_name(probe):
    import slicer

    assert slicer.util.calls_of_probe == ["module", "setup"]
    assert slicer.util.getModule("Probe").title == "Probe"
    assert slicer.util.getModuleWidget("Probe") is probe
    assert slicer.modules.ProbeWidget is probe
    assert slicer.util.getModuleLogic("Probe") is probe.logic
    assert probe.resourcePath("UI/Probe.ui").endswith("Resources/UI/Probe.ui")
    assert probe.parent.mrmlScene() is slicer.mrmlScene
    assert "Probe" in slicer.util.moduleNames()


def test_choosing_modules_enters_and_leaves_them(probe):
    import slicer

    calls = slicer.util.calls_of_probe
    slicer.util.selectModule("Probe")
    assert probe.parent.isEntered
    slicer.util.selectModule("SegmentEditor")
    assert not probe.parent.isEntered
    assert calls[2:] == ["enter", "exit"]


def test_closing_the_scene_is_seen_through_the_observer_mixin(probe):
    import slicer

    slicer.mrmlScene.Clear(0)
    assert slicer.util.calls_of_probe[-1] == "close"


def test_reloading_cleans_up_and_builds_the_new_source(probe, tmp_path):
    import slicer

    (tmp_path / "Probe.py").write_text(MODULE.replace("VERSION = 1", "VERSION = 2"))
    slicer.util.reloadScriptedModule("Probe")
    new = slicer.util.getModuleWidget("Probe")
    assert new is not probe
    assert new.button.text == "Go 2"
    calls = slicer.util.calls_of_probe
    assert calls[2:] == ["cleanup", "setup"]
    slicer.mrmlScene.Clear(0)
    assert calls.count("close") == 1, "the old panel still observes the scene"


def test_quitting_cleans_up(probe, slicer_qt):
    import slicer

    slicer.app.connect("aboutToQuit()", lambda: slicer.util.calls_of_probe.append("quit"))
    slicer_qt.quit_slicer()
    assert slicer.util.calls_of_probe[-2:] == ["quit", "cleanup"]
    assert not hasattr(slicer.modules, "probe")


def test_the_self_test_runs(probe, slicer_qt):
    import slicer

    slicer.selfTests["Probe"]()
    assert slicer.util.calls_of_probe[-1] == "self-test"
    assert slicer_qt.dialogs.shown[-1].text == "testing"


def test_the_parameter_node_is_one_of_a_kind_and_survives_closing(probe):
    import slicer

    node = probe.logic.getParameterNode()
    assert node.GetAttribute("ModuleName") == "Probe"
    assert probe.logic.getParameterNode() is node
    node.SetParameter("threshold", "0.4")
    slicer.mrmlScene.Clear(0)
    again = probe.logic.getParameterNode()
    assert again.GetAttribute("ModuleName") == "Probe"


def test_a_module_has_only_the_properties_of_a_module(probe):
    import slicer

    with pytest.raises(AttributeError, match="no property 'titel'"):
        slicer.modules.probe.titel = "x"


def test_a_module_that_does_not_import_says_why(slicer_qt, tmp_path):
    (tmp_path / "Broken.py").write_text("import no_such_package\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        slicer_qt.load_module(tmp_path / "Broken.py")
