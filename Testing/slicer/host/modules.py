"""Scripted modules as Slicer loads them: the four base classes and load_module().

The base classes are our own, with the names and the order of calls of Slicer's.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import unittest
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
from PySide6.QtCore import Property, QObject, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from Testing.slicer.host.application import Module, ModuleManager
from Testing.slicer.host.pythonqt import class_of, wrap
from Testing.slicer.host.qmrml_widgets import qMRMLSegmentEditorWidget, qMRMLWidget

MODULE_PROPERTIES = (  # that qSlicerScriptedLoadableModule has
    "title", "categories", "dependencies", "contributors", "helpText", "acknowledgementText",
    "icon", "hidden", "index", "associatedNodeTypes", "extensions",
    "widgetRepresentationCreationEnabled",
)  # fmt: skip


class ScriptedLoadableModule:
    """What `class MyModule(ScriptedLoadableModule)` derives from."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        slicer.selfTests = getattr(slicer, "selfTests", {})
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", name)  # noqa: PTH118, PTH120

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """The line that Slicer adds to the help text."""
        return "<p>For more information, see the online documentation.</p>"

    def runTest(self, msec: int = 100, **keywords: Any) -> None:
        case = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        case.messageDelay = msec
        case.runTest(**keywords)


class ScriptedLoadableModuleWidget:
    """What the panel of a module derives from."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent if parent is not None else wrap(ModulePanel())
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        manager = slicer.app.moduleManager()
        manager.connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, name: str) -> str:
        folder = os.path.dirname(slicer.util.modulePath(self.moduleName))  # noqa: PTH120
        return os.path.join(folder, "Resources", name)  # noqa: PTH118

    def setup(self) -> None:
        """Slicer adds its "Reload & Test" section here in developer mode."""

    def cleanup(self) -> None:
        """For the module to override."""

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            manager = slicer.app.moduleManager()
            manager.disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """What the logic of a module derives from."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        kind = "vtkMRMLScriptedModuleNode"
        node = (
            slicer.mrmlScene.GetSingletonNode(self.moduleName, kind)
            if self.isSingletonParameterNode
            else next(iter(self.getAllParameterNodes()), None)
        )
        node = node or slicer.mrmlScene.AddNode(self.createParameterNode())
        if node.GetAttribute("ModuleName") != self.moduleName:
            node.SetAttribute("ModuleName", self.moduleName)
        return node

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [n for n in nodes if n.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """What the self-test of a module derives from."""

    messageDelay = 0

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)

    def delayDisplay(self, message: str, requestedDelay: Any = None, msec: Any = None) -> None:
        slicer.util.delayDisplay(message, msec or requestedDelay or self.messageDelay)

    def runTest(self) -> None:
        """Run every method with `test` in its name, between setUp and tearDown."""
        for name in [n for n in dir(self) if "test" in n and callable(getattr(self, n))]:
            self.setUp()
            getattr(self, name)()
            self.tearDown()


class ModulePanel(qMRMLWidget):
    """The qSlicerScriptedLoadableModuleWidget around a panel: holds and calls the Python object."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        QVBoxLayout(self)
        self._python: Any = None
        self._entered = False
        self._module = ""

    def self(self) -> Any:
        return self._python

    def enter(self) -> None:
        """The person opens the module."""
        self._entered = True
        getattr(self._python, "enter", lambda: None)()

    def exit(self) -> None:
        """The person leaves the module."""
        self._entered = False
        getattr(self._python, "exit", lambda: None)()

    def reload(self) -> None:
        self._build(sys.modules[self._module])

    def _build(self, source: ModuleType) -> None:
        self._module = source.__name__
        kind = getattr(source, f"{self._module}Widget")
        self._python = kind(wrap(self))
        setattr(slicer.modules, kind.__name__, self._python)
        self._python.setup()

    isEntered = Property(bool, lambda self: self._entered)
    moduleName = Property(str, lambda self: self._module)


class _Unloading(QObject):
    """Carries moduleAboutToBeUnloaded(QString)."""

    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)


class QtModuleManager(ModuleManager):
    """The module manager with its signals."""

    def __init__(self) -> None:
        self._signals = wrap(_Unloading())

    def connect(self, signal: str, target: Any) -> bool:
        return bool(self._signals.connect(signal, target))

    def disconnect(self, signal: str, target: Any) -> bool:
        return bool(self._signals.disconnect(signal, target))

    def unload(self, name: str) -> None:
        """What Slicer does with every module when it quits: cleanup() is called."""
        self._signals.moduleAboutToBeUnloaded.emit(name)
        for attribute in (name.lower(), f"{name}Widget"):
            vars(slicer.modules).pop(attribute, None)


class _Parent(Module):
    """The qSlicerScriptedLoadableModule that a module's constructor fills in."""

    def __setattr__(self, name: str, value: Any) -> None:
        known = (*MODULE_PROPERTIES, "name", "path", "make_widget")
        if name not in known and not name.startswith("_"):
            raise AttributeError(f"a module has no property '{name}'; it has {MODULE_PROPERTIES}")
        object.__setattr__(self, name, value)


def install() -> None:
    """Make `from slicer.ScriptedLoadableModule import *` work, and Segment Editor a panel."""
    shown = ("", "Widget", "Logic", "Test")
    base = ModuleType("slicer.ScriptedLoadableModule")
    base.__all__ = [f"ScriptedLoadableModule{end}" for end in shown]  # type: ignore[attr-defined]
    for name in base.__all__:
        setattr(base, name, globals()[name])
    i18n = ModuleType("slicer.i18n")
    i18n.tr = lambda text: text  # type: ignore[attr-defined]
    i18n.translate = lambda context, text, *_: text  # type: ignore[attr-defined]
    for module in (base, i18n):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.rsplit(".", maxsplit=1)[-1], module)
    manager = QtModuleManager()
    slicer.app.moduleManager = lambda: manager
    slicer.qSlicerScriptedLoadableModule = _Parent
    slicer.qSlicerScriptedLoadableModuleWidget = class_of(ModulePanel)
    slicer.modules.segmenteditor.make_widget = _segment_editor
    for name in ("Data", "SampleData", "Reports"):
        if not hasattr(slicer.modules, name.lower()):
            setattr(slicer.modules, name.lower(), Module(name, None))


def unload_all() -> None:
    """Unload every module that load_module() loaded."""
    for module in [m for m in vars(slicer.modules).values() if isinstance(m, _Parent)]:
        slicer.app.moduleManager().unload(module.name)


def _segment_editor() -> Any:
    """The panel of Segment Editor: its `editor` keeps the real vtkMRMLSegmentEditorNode."""
    panel = ModulePanel()
    editor = qMRMLSegmentEditorWidget(panel)
    editor.setMRMLScene(slicer.mrmlScene)

    def enter() -> None:
        tag, kind = "SegmentEditor", "vtkMRMLSegmentEditorNode"
        node = slicer.mrmlScene.GetSingletonNode(tag, kind)
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(tag)
            node = slicer.mrmlScene.AddNode(node)
        editor.setMRMLSegmentEditorNode(node)
        first = slicer.mrmlScene.GetFirstNode(None, "vtkMRMLSegmentationNode")
        if editor.segmentationNode() is None and first is not None:
            editor.setSegmentationNode(first)

    panel._python = SimpleNamespace(editor=wrap(editor), enter=enter, exit=lambda: None)
    enter()
    return wrap(panel)


def load_module(path: Path | str) -> Any:
    """Load a scripted module's file and build its panel; returns the MODULEWidget object.

    As in Slicer: the module's folder is put on sys.path, MODULE(parent) describes the module,
    MODULEWidget(parent) is made in a panel with a layout and the scene, and setup() runs.
    """
    path = Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    if hasattr(slicer.modules, name.lower()):
        slicer.app.moduleManager().unload(name)
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[name] = source
    spec.loader.exec_module(source)  # type: ignore[union-attr]
    parent = _Parent(name, None, str(path))
    setattr(slicer.modules, name.lower(), parent)
    setattr(slicer.modules, f"{name}Instance", getattr(source, name)(parent))

    def make_widget() -> Any:
        panel = ModulePanel()
        parent._widget = wrap(panel)
        panel._build(source)
        panel.setMRMLScene(slicer.mrmlScene)
        return parent._widget

    parent.make_widget = make_widget
    return parent.widgetRepresentation().self()
