"""Slicer's scene, module logics and file types without the application.

Everything here is Slicer's own C++ (PyPI's slicer-core), wired as the application wires it. What is
a stand-in lives in application.py (slicer.app, the IO manager, the layout manager).
"""

from __future__ import annotations

import atexit
import json
import shutil
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# (slicer.modules attribute, class of its logic), in an order that respects their dependencies
LOGICS = {
    "Units": "vtkSlicerUnitsLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Models": "vtkSlicerModelsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "Data": "vtkSlicerDataModuleLogic",
}
# Data nodes that one of Slicer's subject-hierarchy plugins adds to the tree
IN_SUBJECT_HIERARCHY = (
    "vtkMRMLScalarVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLTransformNode",
)


@dataclass
class Host:
    """What start() built; kept alive for the life of the process."""

    scene: Any
    application_logic: Any
    remote_io: Any
    data_io: Any
    layout_logic: Any = None
    folder: Path = Path()
    errors: list[str] = field(default_factory=list)
    slice_logics: dict[str, Any] = field(default_factory=dict)


_host: Host | None = None


def host() -> Host:
    """What start() built.

    Raises:
        RuntimeError: start() was not called.
    """
    if _host is None:
        raise RuntimeError("the host is not started: call Testing.slicer.host.scene.start() first")
    return _host


def start() -> None:
    """Make `import slicer` behave as in Slicer's Python console; does nothing the second time."""
    global _host  # noqa: PLW0603 one application per process, as in Slicer
    if _host is not None:
        return
    import slicer

    from Testing.slicer.host import application

    for name in vars(slicer.util).keys() & vars(slicer).keys():  # the wheel spills util into slicer
        if not name.startswith("vtk") and name not in ("util", "__name__", "__path__", "__doc__"):
            delattr(slicer, name) if not name.startswith("__") else None
    folder = Path(tempfile.mkdtemp(prefix="slicer-host-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _host = _build(folder)
    _collect_errors(_host.errors)
    slicer.mrmlScene = _host.scene
    slicer.modules = SimpleNamespace()
    slicer.app = application.Application(_host)
    _add_logics(_host)
    _add_views(_host)
    _fill_subject_hierarchy(_host.scene)
    from Testing.slicer.host import views

    views.open_all()  # before any data, as in Slicer: color legends are noticed when they are added
    new_scene()


def errors() -> list[str]:
    """Errors that VTK and MRML reported since start(); a test clears and checks the list."""
    return host().errors


def slicer_settings() -> Any:
    """The settings of slicer.app."""
    import slicer

    return slicer.app.userSettings()


def new_scene() -> None:
    """Close the scene as File / Close does: data goes; views, colors and units stay."""
    scene = host().scene
    # Its cache of items keeps nodes that go with the scene, and complains where a new one gets the
    # address of an old one.
    scene.GetSubjectHierarchyNode().RemoveAllItems(False)
    scene.Clear(0)
    scene.GetSubjectHierarchyNode()
    import slicer

    host().layout_logic.GetLayoutNode().SetViewArrangement(
        slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    )


def _build(folder: Path) -> Host:
    """A scene with its application logic, crosshair and table of storage types."""
    import slicer

    colors = folder / "share" / "ColorFiles"
    colors.mkdir(parents=True)
    # the default table of label maps; Slicer's other color files (Inferno ...) are not in the wheel
    colors.joinpath("GenericColors.txt").write_text(
        "0 background 0 0 0 0\n1 1 128 174 128 255\n2 2 241 214 145 255\n3 3 177 122 101 255\n"
    )
    (folder / "temp").mkdir()
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetHomeDirectory(str(folder))
    logic.SetShareDirectory("share")
    logic.SetTemporaryPath(str(folder / "temp"))
    for factory in (
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(logic)
    scene.RegisterNodeClass(slicer.vtkMRMLCommandLineModuleNode())
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic.SetMRMLScene(scene)
    built = Host(scene, logic, slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic())
    logic.SetMRMLSceneDataIO(scene, built.remote_io, built.data_io)
    built.folder = folder
    return built


def _collect_errors(errors: list[str]) -> None:
    """Take VTK's error messages, and failures in observers, from the terminal into a list."""
    import vtk

    @vtk.calldata_type(vtk.VTK_STRING)
    def said(caller: Any, event: str, text: str) -> None:
        errors.append(text.strip())

    window = vtk.vtkStringOutputWindow()
    window.AddObserver("ErrorEvent", said)
    vtk.vtkOutputWindow.SetInstance(window)
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    print_failure = sys.excepthook  # VTK calls it when a Python observer fails, and goes on

    def failed(kind: Any, value: Any, trace: Any) -> None:
        errors.append("".join(traceback.format_exception(kind, value, trace)))
        print_failure(kind, value, trace)

    sys.excepthook = failed


def _add_logics(built: Host) -> None:
    """Every module logic with its share folder, scene and application logic, registered."""
    import slicer

    from Testing.slicer.host.application import Module

    colors = slicer.vtkSlicerColorLogic()
    colors.SetMRMLApplicationLogic(built.application_logic)
    colors.SetMRMLScene(built.scene)
    built.application_logic.SetColorLogic(colors)
    built.application_logic.SetModuleLogic("Colors", colors)
    slicer.modules.colors = Module("Colors", colors)
    _write_terminologies(built.folder / "share" / "Terminologies")
    for name, kind in LOGICS.items():
        logic = getattr(slicer, kind)()
        built.application_logic.SetModuleLogic(name, logic)
        if hasattr(logic, "SetModuleShareDirectory"):
            share = built.folder / "share" / name
            share.mkdir(exist_ok=True)
            logic.SetModuleShareDirectory(str(share))
        logic.SetMRMLApplicationLogic(built.application_logic)
        logic.SetMRMLScene(built.scene)
        setattr(slicer.modules, name.lower(), Module(name, logic))
    # a scripted module of Slicer: it has a panel (see qt.py) and no logic
    slicer.modules.segmenteditor = Module("SegmentEditor", None)


def _add_views(built: Host) -> None:
    """The view nodes of Slicer's layouts, made by its layout logic; a slice logic for each."""
    import slicer
    from vtk import vtkCollection

    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(built.scene)
    built.layout_logic = slicer.vtkMRMLLayoutLogic()
    built.layout_logic.SetMRMLScene(built.scene)
    layout = built.layout_logic.GetLayoutNode()
    for arrangement in ("FourUpPlotView", "FourUpView"):  # the first one makes the plot view node
        layout.SetViewArrangement(getattr(layout, f"SlicerLayout{arrangement}"))
    slice_logics, view_logics = vtkCollection(), vtkCollection()
    built.application_logic.SetSliceLogics(slice_logics)
    built.application_logic.SetViewLogics(view_logics)
    for name in ("Red", "Green", "Yellow"):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(built.application_logic)
        logic.SetMRMLScene(built.scene)
        logic.SetSliceNode(built.scene.GetNodeByID(f"vtkMRMLSliceNode{name}"))
        logic.ResizeSliceNode(512, 512)
        slice_logics.AddItem(logic)
        built.slice_logics[name] = logic


def _fill_subject_hierarchy(scene: Any) -> None:
    """Add items to the subject hierarchy for data nodes, as Slicer's Qt plugins do."""
    import slicer
    import vtk

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(caller: Any, event: str, node: Any) -> None:
        wanted = any(node.IsA(kind) for kind in IN_SUBJECT_HIERARCHY)
        if wanted and not node.GetHideFromEditors() and not scene.IsImporting():
            tree = scene.GetSubjectHierarchyNode()
            tree.CreateItem(tree.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def removed(caller: Any, event: str, node: Any) -> None:
        if not scene.IsClosing() and not node.IsA("vtkMRMLSubjectHierarchyNode"):
            tree = scene.GetSubjectHierarchyNode()
            item = tree.GetItemByDataNode(node)
            if item:
                tree.RemoveItem(item, False, False)

    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, added)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, removed)


def _write_terminologies(share: Path) -> None:
    """Two small terminologies under the names that Slicer's logic looks for; the wheel has none."""

    def code(value: str, meaning: str, **more: Any) -> dict[str, Any]:
        return {
            "CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning, **more
        }  # fmt: skip

    tissue = code("85756007", "Tissue", showAnatomy=True, Type=[])
    tissue["Type"] = [code("85756007", "Tissue", recommendedDisplayRGBValue=[128, 174, 128])]
    organ = code("123037004", "Anatomical Structure", showAnatomy=False, Type=[])
    organ["Type"] = [
        code("82471001", "Left atrium", recommendedDisplayRGBValue=[128, 128, 128]),
        code("10200004", "Liver", recommendedDisplayRGBValue=[221, 130, 101]),
    ]
    schemas = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas"
    share.mkdir()
    context = "Segmentation category and type"
    for name, title in (
        ("SlicerGeneralAnatomy", "3D Slicer General Anatomy list"),
        ("DICOM-Master", "DICOM master list"),
    ):
        (share / f"SegmentationCategoryTypeModifier-{name}.term.json").write_text(
            json.dumps(
                {
                    "SegmentationCategoryTypeContextName": f"{context} - {title}",
                    "@schema": f"{schemas}/segment-context-schema.json#",
                    "SegmentationCodes": {"Category": [tissue, organ]},
                }
            )
        )
    (share / "AnatomicRegionAndModifier-DICOM-Master.term.json").write_text(
        json.dumps(
            {
                "AnatomicContextName": "Anatomic codes - DICOM master list",
                "@schema": f"{schemas}/anatomic-context-schema.json#",
                "AnatomicCodes": {"AnatomicRegion": [code("80891009", "Heart")]},
            }
        )
    )
