"""Stand-ins for slicer.app, its IO manager, its modules and its layout manager, on the real scene.

Only names of Slicer's headers (qSlicerCoreApplication.h, qSlicerCoreIOManager.h,
qMRMLLayoutManager.h, qSlicerModuleManager.h) exist here; anything else is an AttributeError.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from vtkmodules.vtkCommonCore import vtkCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from Testing.slicer.host.scene import Host

# the end of a file name -> what Slicer calls the file; the first that fits wins
FILE_TYPES = {
    (".mrml", ".mrb"): "SceneFile",
    (".seg.nrrd", ".seg.nhdr", ".seg.vtm"): "SegmentationFile",
    (".seq.nrrd", ".seq.nhdr", ".seq.mrb"): "SequenceFile",
    (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".hdr", ".img"): "VolumeFile",
    (".csv", ".tsv"): "TableFile",
    (".mrk.json", ".fcsv"): "MarkupsFile",
    (".txt", ".json", ".xml"): "TextFile",
    (".h5", ".tfm", ".mat"): "TransformFile",
    (".vtk", ".vtp", ".stl", ".obj", ".ply"): "ModelFile",
    (".ctbl", ".cxml"): "ColorTableFile",
}
# Slicer's name of a file type -> the node class that a generic reader makes
NODE_CLASSES = {
    "TableFile": "vtkMRMLTableNode",
    "TextFile": "vtkMRMLTextNode",
    "ModelFile": "vtkMRMLModelNode",
    "TransformFile": "vtkMRMLTransformNode",
    "ColorTableFile": "vtkMRMLColorTableNode",
}
WRITERS = {"vtkMRMLVolumeNode": "VolumeFile", "vtkMRMLSegmentationNode": "SegmentationFile"} | {
    node_class: kind for kind, node_class in NODE_CLASSES.items()
}


class Module:
    """A loaded module: what slicer.modules.NAME and slicer.util.getModule(NAME) give."""

    def __init__(self, name: str, logic: Any, path: str = "") -> None:
        self.name, self.title, self.path = name, name, path
        self._logic = logic
        self._widget: Any = None
        self.make_widget: Callable[[], Any] | None = None  # set by qt.py where there is a panel

    def logic(self) -> Any:
        """The module's VTK logic, None for a scripted module without one."""
        return self._logic

    def widgetRepresentation(self) -> Any:
        """The module's panel, made when first asked for; None without Qt."""
        if self._widget is None and self.make_widget:
            self._widget = self.make_widget()
        return self._widget


class ModuleManager:
    """slicer.app.moduleManager()."""

    def module(self, name: str) -> Any:
        """The loaded module of that exact name, None if there is none."""
        return next((m for m in vars(slicer.modules).values() if _name_of(m) == name), None)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(name for m in vars(slicer.modules).values() if (name := _name_of(m)))

    def factoryManager(self) -> ModuleManager:
        return self

    loadedModuleNames = modulesNames


def _name_of(candidate: Any) -> str | None:
    """The module name; None for the XWidget instances that also live in slicer.modules."""
    return candidate.name if hasattr(candidate, "widgetRepresentation") else None


class ProcessEnvironment:
    """The QProcessEnvironment of slicer.app.startupEnvironment(): here the one of this process."""

    def keys(self) -> tuple[str, ...]:
        return tuple(os.environ)

    def value(self, name: str, default: str = "") -> str:
        return os.environ.get(name, default)


class Settings:
    """The part of QSettings that panels use, in memory; qt.py shares it with qt.QSettings()."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}

    def value(self, key: str, default: Any = None) -> Any:
        return self.stored.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        """Store a value as QSettings does: simple ones only, so that a Path cannot slip in."""
        if not isinstance(value, str | int | float | bool | list | tuple | type(None)):
            raise TypeError(f"QSettings stores text, numbers and lists, not {type(value).__name__}")
        self.stored[key] = value

    def clear(self) -> None:
        self.stored = {}

    def contains(self, key: str) -> bool:
        return key in self.stored

    def remove(self, key: str) -> None:
        self.stored = {
            k: v for k, v in self.stored.items() if k != key and not k.startswith(key + "/")
        }


class IOManager:
    """slicer.app.coreIOManager(): finds the reader or writer and calls Slicer's own one."""

    def fileType(self, path: Any) -> str:
        """Slicer's name of the kind of file."""
        name = str(path).lower()
        return next((kind for ends, kind in FILE_TYPES.items() if name.endswith(ends)), "NoFile")

    def fileWriterFileType(self, node: Any, extension: str = "") -> str:
        """Slicer's name of the kind of file that keeps a node."""
        return next((kind for base, kind in WRITERS.items() if node.IsA(base)), "NoFile")

    def fileWriterExtensions(self, node: Any) -> tuple[str, ...]:
        """The formats that can keep a node, as in 'NRRD (.nrrd)'."""
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()  # as Slicer does: asking for the formats adds one
        kinds = node.GetStorageNode().GetSupportedWriteFileTypes()
        return tuple(kinds.GetValue(i) for i in range(kinds.GetNumberOfValues()))

    def extractKnownExtension(self, path: str, node: Any) -> str:
        """The longest of the node's extensions that the file name ends with, '' if none does."""
        helper = slicer.vtkDataFileFormatHelper
        known = [
            helper.GetFileExtensionFromFormatString(f) for f in self.fileWriterExtensions(node)
        ]
        return max((e for e in known if e and path.endswith(e)), key=len, default="")

    def loadNodes(
        self, kind: str, properties: Mapping[str, Any], loaded: Any = None, messages: Any = None
    ) -> bool:
        """Read a file into the scene with Slicer's own reader; False and a message if it fails."""
        path = str(properties["fileName"])
        if not Path(path).exists():  # as qSlicerCoreIOManager, which asks the reader only then
            if messages is not None:
                messages.AddMessage(vtkCommand.ErrorEvent, f"{path} not found")
            return False
        if kind == "SceneFile":
            return _load_scene(path, clear=properties.get("clear", False), messages=messages)
        node = _READERS.get(kind, _read_generic)(path, kind, properties)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(self, kind: str, properties: Mapping[str, Any], messages: Any = None) -> bool:
        """Write a node (or the scene) with its default storage node; True if it was written."""
        path = str(properties["fileName"])
        if kind == "SceneFile":
            if path.endswith(".mrb"):
                return bool(slicer.mrmlScene.WriteToMRB(path, None, messages))
            return bool(slicer.mrmlScene.Commit(path, messages))
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        storage.SetUseCompression(int(properties.get("useCompression", 1)))
        return bool(storage.WriteData(node))

    def exportNodes(
        self,
        node_ids: list[str],
        paths: list[str],
        properties: Mapping[str, Any],
        harden: bool,
        messages: Any = None,
    ) -> bool:
        """Write copies made in a scene of their own, so that no storage node changes."""
        source, aside = slicer.mrmlScene, slicer.vtkMRMLScene()
        source.CopyDefaultNodesToScene(aside)
        source.CopyRegisteredNodesToScene(aside)
        source.CopySingletonNodesToScene(aside)
        aside.SetDataIOManager(source.GetDataIOManager())
        written = True
        for node_id, path in zip(node_ids, paths, strict=True):
            node = source.GetNodeByID(node_id)
            copy = aside.AddNewNodeByClass(node.GetClassName())
            copy.CopyContent(node, harden)
            if harden and node.GetParentTransformNode():
                _harden_in(aside, node, copy)
            copy.AddDefaultStorageNode(path)
            copy.GetStorageNode().SetFileName(path)
            copy.GetStorageNode().SetUseCompression(int(properties.get("useCompression", 1)))
            written = bool(copy.GetStorageNode().WriteData(copy)) and written
        return written


def _harden_in(scene: Any, node: Any, copy: Any) -> None:
    """Apply the node's parent transform to its copy in another scene."""
    import vtk

    to_parent = vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformFromWorld(to_parent)
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformFromParent(to_parent)
    copy.SetAndObserveTransformNodeID(transform.GetID())
    copy.HardenTransform()


def _load_scene(path: str, *, clear: bool, messages: Any) -> bool:
    if path.endswith(".mrb"):
        return bool(slicer.mrmlScene.ReadFromMRB(path, clear, messages))
    slicer.mrmlScene.SetURL(path)
    return bool(slicer.mrmlScene.Connect(messages) if clear else slicer.mrmlScene.Import(messages))


def _read_volume(path: str, kind: str, properties: Mapping[str, Any]) -> Any:
    """A volume through Slicer's volumes logic, shown in the slice views unless show is False."""
    flags = ("labelmap", "center", "singleFile", "autoWindowLevel", "discardOrientation")
    options = sum(1 << bit for bit, flag in enumerate(flags) if properties.get(flag))
    name = properties.get("name") or Path(path).name.split(".")[0]
    logic = slicer.modules.volumes.logic()
    node = logic.AddArchetypeVolume(path, name, options, None)
    if node is None:
        return None
    if properties.get("colorNodeID"):
        node.GetDisplayNode().SetAndObserveColorNodeID(properties["colorNodeID"])
    if properties.get("show", True):
        selection = logic.GetApplicationLogic().GetSelectionNode()
        if node.IsA("vtkMRMLLabelMapVolumeNode"):
            selection.SetActiveLabelVolumeID(node.GetID())
        else:
            selection.SetActiveVolumeID(node.GetID())
        logic.GetApplicationLogic().PropagateVolumeSelection()
    return node


def _read_segmentation(path: str, kind: str, properties: Mapping[str, Any]) -> Any:
    logic = slicer.modules.segmentations.logic()
    table = slicer.mrmlScene.GetNodeByID(properties.get("colorNodeID", ""))
    auto = bool(properties.get("autoOpacities", True))
    return logic.LoadSegmentationFromFile(path, auto, properties.get("name", ""), table, None)


def _read_markups(path: str, kind: str, properties: Mapping[str, Any]) -> Any:
    node_id = slicer.modules.markups.logic().LoadMarkups(path, properties.get("name", ""), None)
    return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None


def _read_generic(path: str, kind: str, properties: Mapping[str, Any]) -> Any:
    """Any other storable node through its default storage node."""
    name = properties.get("name") or Path(path).name.split(".")[0]
    node = slicer.mrmlScene.AddNewNodeByClass(NODE_CLASSES[kind], name)
    node.AddDefaultStorageNode(path)
    if node.GetStorageNode().ReadData(node):
        return node
    slicer.mrmlScene.RemoveNode(node)
    return None


_READERS = {
    "VolumeFile": _read_volume,
    "SegmentationFile": _read_segmentation,
    "MarkupsFile": _read_markups,
}


class _View:
    """sliceView(), threeDView() and plotView() of a view widget: something to ask for a redraw."""

    def forceRender(self) -> None:
        """Nothing to do: pictures are drawn when they are asked for."""

    scheduleRender = repaint = forceRender


class SliceWidget:
    """layoutManager().sliceWidget(name): gives the real slice logic and nodes."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        """The vtkMRMLSliceCompositeNode: which volume in which layer."""
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> _View:
        return _View()


class PlotWidget:
    """layoutManager().plotWidget(0)."""

    def mrmlPlotViewNode(self) -> Any:
        return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotViewNode")

    def plotView(self) -> _View:
        return _View()


class ThreeDWidget:
    """layoutManager().threeDWidget(0)."""

    def mrmlViewNode(self) -> Any:
        return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLViewNode")

    def threeDView(self) -> _View:
        return _View()


class LayoutManager:
    """slicer.app.layoutManager(): real layout node and slice logics, stand-in widgets."""

    threeDViewCount, plotViewCount, tableViewCount = 1, 1, 0

    def __init__(self, host: Host) -> None:
        self._host = host

    def layoutLogic(self) -> Any:
        return self._host.layout_logic

    @property
    def layout(self) -> int:
        """The current arrangement, a vtkMRMLLayoutNode.SlicerLayout... number."""
        return int(self._host.layout_logic.GetLayoutNode().GetViewArrangement())

    @layout.setter
    def layout(self, arrangement: int) -> None:
        self.setLayout(arrangement)

    def setLayout(self, arrangement: int) -> None:
        self._host.layout_logic.GetLayoutNode().SetViewArrangement(arrangement)

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._host.slice_logics)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """The widget of one slice view, None for an unknown name."""
        logic = self._host.slice_logics.get(name)
        return SliceWidget(logic) if logic else None

    def plotWidget(self, index: int) -> PlotWidget | None:
        return PlotWidget() if index == 0 else None

    def threeDWidget(self, index: int) -> ThreeDWidget | None:
        return ThreeDWidget() if index == 0 else None

    def mrmlSliceLogics(self) -> Any:
        return self._host.application_logic.GetSliceLogics()

    def resetSliceViews(self) -> None:
        for logic in self._host.slice_logics.values():
            logic.FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """The camera of a picture is always placed anew."""


class Application:
    """slicer.app."""

    applicationName, applicationVersion, os, arch = "Slicer", "5.12.4", "linux", "amd64"
    majorVersion, minorVersion, revision, isInstalled = 5, 12, "34509", True

    def __init__(self, host: Host) -> None:
        self._host = host
        self._io, self._modules, self._layout = IOManager(), ModuleManager(), LayoutManager(host)
        self._settings: Any = Settings()
        self.slicerHome = str(host.folder)
        self.temporaryPath = str(host.folder / "temp")
        self.slicerUserSettingsFilePath = str(host.folder / "settings" / "Slicer.ini")
        self.extensionsInstallPath = str(host.folder / "extensions")
        self.launcherExecutableFilePath = sys.executable

    def applicationLogic(self) -> Any:
        """The vtkSlicerApplicationLogic."""
        return self._host.application_logic

    def mrmlScene(self) -> Any:
        return self._host.scene

    def moduleLogic(self, name: str) -> Any:
        return self._host.application_logic.GetModuleLogic(name)

    def coreIOManager(self) -> IOManager:
        return self._io

    ioManager = coreIOManager

    def moduleManager(self) -> Any:
        return self._modules

    def layoutManager(self) -> LayoutManager:
        return self._layout

    def startupEnvironment(self) -> ProcessEnvironment:
        """The environment that Slicer's launcher was started with."""
        return ProcessEnvironment()

    def userSettings(self) -> Any:
        """The person's settings."""
        return self._settings

    settings = revisionUserSettings = userSettings

    def testingEnabled(self) -> bool:
        """False: panels behave as with a person; dialogs are recorded instead (qt.py)."""
        return False

    def topLevelWidgets(self) -> tuple[Any, ...]:
        """No window without Qt; qt.py adds the main window."""
        return ()

    def processEvents(self) -> None:
        """Nothing waits without Qt."""

    pauseRender = resumeRender = processEvents
