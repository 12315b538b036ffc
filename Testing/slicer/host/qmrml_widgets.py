"""Stand-ins for the qMRML widgets that panels use, with the names of Slicer's headers.

They show the real scene. Public are properties, slots and Q_INVOKABLE methods, as PythonQt shows
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
import vtk
from PySide6.QtCore import Property, QObject, Qt
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QMainWindow,
    QSizePolicy,
    QToolBar,
    QWidget,
)

from Testing.slicer.host.ctk_widgets import stored
from Testing.slicer.host.pythonqt import StandIn

if TYPE_CHECKING:
    from collections.abc import Callable


class qMRMLWidget(StandIn, QWidget):
    """A widget that passes the scene on."""

    _signals = ("mrmlSceneChanged(vtkMRMLScene*)",)
    _slots = ("setMRMLScene(vtkMRMLScene*)",)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self._send("mrmlSceneChanged(vtkMRMLScene*)", scene)

    def mrmlScene(self) -> Any:
        """The scene, None before it was set."""
        return self._scene


class _SceneObserver:
    """Calls back when nodes come, go or change their name; ends with the widget."""

    def __init__(self, added: Callable[[Any], None], leaving: Callable[[Any], None]) -> None:
        self._scene: Any = None
        self._tags: list[int] = []
        self._added, self._leaving = added, leaving

    def watch(self, scene: Any, closed: Callable[[], None]) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is None:
            return

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(caller: Any, event: str, node: Any) -> None:
            if not scene.IsBatchProcessing():
                self._added(node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def leaving(caller: Any, event: str, node: Any) -> None:
            if not scene.IsBatchProcessing():
                self._leaving(node)

        watched = slicer.vtkMRMLScene
        self._tags = [
            scene.AddObserver(watched.NodeAddedEvent, added),
            scene.AddObserver(watched.NodeAboutToBeRemovedEvent, leaving),
            scene.AddObserver(watched.EndBatchProcessEvent, lambda *_: closed()),
        ]


class qMRMLSortFilterProxyModel(StandIn, QObject):
    """What leaves nodes out of a list; here only those that are named."""

    def __init__(self, selector: Any) -> None:
        super().__init__(selector)
        self._selector = selector

    def _hide(self, ids: Any) -> None:
        if list(ids) != self.__dict__.get("_hidden", []):
            self.__dict__["_hidden"] = list(ids)
            self._selector._fill()

    hiddenNodeIDs = Property("QStringList", lambda self: self.__dict__.get("_hidden", []), _hide)


class qMRMLNodeComboBox(StandIn, QWidget):
    """A list of the scene's nodes of some classes."""

    _signals = (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeChanged(bool)",
        "currentNodeIDChanged(QString)",
        "nodeActivated(vtkMRMLNode*)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
        "currentNodeRenamed(QString)",
    )
    _slots = (
        "setMRMLScene(vtkMRMLScene*)",
        "setCurrentNode(vtkMRMLNode*)",
        "setCurrentNodeID(QString)",
        "setCurrentNodeIndex(int)",
        "removeCurrentNode()",
    )

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QComboBox(self)
        self._box.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self._box.setSizeAdjustPolicy(QComboBox.AdjustToMinimumContentsLengthWithIcon)
        row.addWidget(self._box)
        self._scene: Any = None
        self._observer = _SceneObserver(self._node_added, self._node_leaving)
        self._attributes: list[tuple[str, str, Any]] = []
        self._told = ""  # the id that was last sent out
        self._proxy = qMRMLSortFilterProxyModel(self)
        self._box.currentIndexChanged.connect(self._index_changed)
        self._box.activated.connect(
            lambda _: self._send("nodeActivated(vtkMRMLNode*)", self.currentNode())
        )
        self.destroyed.connect(lambda: self._observer.watch(None, lambda: None))

    # --- what is in the list

    def _fits(self, node: Any) -> bool:
        shown = any(
            node.IsA(kind) if self.showChildNodeTypes else node.GetClassName() == kind
            for kind in self.nodeTypes
        ) and not any(node.IsA(kind) for kind in self.hideChildNodeTypes)
        visible = self.showHidden or not node.GetHideFromEditors()
        visible = visible and node.GetID() not in self._proxy.__dict__.get("_hidden", ())
        return shown and visible and all(_has(node, *wanted) for wanted in self._attributes)

    def _fill(self, keep: str | None = None) -> None:
        """List the nodes anew; keep one chosen, else the first unless none is allowed."""
        keep = self.currentNodeID if keep is None else keep
        self._box.blockSignals(True)
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        for node in slicer.util.getNodesByClass("vtkMRMLNode") if self._scene else ():
            if self._fits(node):
                self._box.addItem(node.GetName(), node.GetID())
        index = self._box.findData(keep) if keep else -1
        fallback = 0 if self.noneEnabled else -1
        self._box.setCurrentIndex(index if index >= 0 else fallback)
        self._box.blockSignals(False)
        self._index_changed()

    def _node_added(self, node: Any) -> None:
        if self._fits(node):
            self._fill()
            self._send("nodeAdded(vtkMRMLNode*)", node)

    def _node_leaving(self, node: Any) -> None:
        index = self._box.findData(node.GetID())
        if index >= 0:
            self._send("nodeAboutToBeRemoved(vtkMRMLNode*)", node)
            self._box.removeItem(index)  # Qt makes a neighbor current, as seen in Slicer

    def _index_changed(self) -> None:
        node_id = self.currentNodeID
        if node_id == self._told:
            return
        self._told = node_id
        node = self.currentNode()
        self._send("currentNodeChanged(vtkMRMLNode*)", node)
        self._send("currentNodeChanged(bool)", node is not None)
        self._send("currentNodeIDChanged(QString)", node_id)

    # --- slots

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene; a node is chosen then unless none is allowed."""
        if scene is self._scene:
            return
        self._scene = scene
        self._observer.watch(scene, self._fill)
        self._fill("")
        if not self.noneEnabled and self._box.count():
            self._box.setCurrentIndex(0)

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node, given itself or by its id; None for none."""
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        index = self._box.findData(node_id or "")
        self._box.setCurrentIndex(index)

    def setCurrentNodeIndex(self, index: int) -> None:
        self._box.setCurrentIndex(index + bool(self.noneEnabled))

    def addNode(self, node_class: str = "") -> Any:
        """Add a node of the first class, or the given one; choose it if so set."""
        kind = node_class or self.nodeTypes[0]
        name = self._scene.GenerateUniqueName(self.baseName or self._scene.GetTagByClassName(kind))
        node = self._scene.AddNewNodeByClass(kind, name)
        for wanted_class, attribute, value in self._attributes:
            if node.IsA(wanted_class):
                node.SetAttribute(attribute, str(value or ""))
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self._send("nodeAddedByUser(vtkMRMLNode*)", node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    # --- Q_INVOKABLE

    def sortFilterProxyModel(self) -> Any:
        return self._proxy

    def mrmlScene(self) -> Any:
        return self._scene

    def currentNode(self) -> Any:
        """The chosen node, or None."""
        return self._scene.GetNodeByID(self.currentNodeID) if self._scene else None

    def nodeCount(self) -> int:
        return self._box.count() - bool(self.noneEnabled)

    def nodeFromIndex(self, index: int) -> Any:
        return self._scene.GetNodeByID(self._box.itemData(index + bool(self.noneEnabled)) or "")

    def addAttribute(self, node_class: str, attribute: str, value: Any = None) -> None:
        """List only nodes of that class that have the attribute (with that value)."""
        self._attributes.append((node_class, attribute, value))
        self._fill()

    def removeAttribute(self, node_class: str, attribute: str) -> None:
        self._attributes = [a for a in self._attributes if a[:2] != (node_class, attribute)]
        self._fill()

    def _refilling(kind: Any, name: str, default: Any) -> Any:  # makes the properties below
        kept = stored(kind, name, default)

        def write(self: Any, value: Any) -> None:
            self.__dict__["_" + name] = value
            self._fill()

        return Property(kind, kept.fget, write)

    nodeTypes = _refilling("QStringList", "nodeTypes", [])
    hideChildNodeTypes = _refilling("QStringList", "hideChildNodeTypes", [])
    showHidden = _refilling(bool, "showHidden", False)
    showChildNodeTypes = _refilling(bool, "showChildNodeTypes", True)
    noneEnabled = _refilling(bool, "noneEnabled", False)
    noneDisplay = _refilling(str, "noneDisplay", "None")
    baseName = stored(str, "baseName", "")
    addEnabled = stored(bool, "addEnabled", True)
    removeEnabled = stored(bool, "removeEnabled", True)
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "")
    currentNodeID = Property(str, lambda self: self._box.currentData() or "", setCurrentNodeID)


def _has(node: Any, node_class: str, attribute: str, value: Any) -> bool:
    found = node.GetAttribute(attribute)
    return not node.IsA(node_class) or (found is not None and value in (None, "", found))


class qMRMLSubjectHierarchyComboBox(StandIn, QComboBox):
    """A list of the items of the subject hierarchy."""

    _signals = ("currentItemChanged(vtkIdType)",)
    _slots = ("setMRMLScene(vtkMRMLScene*)", "setCurrentItem(vtkIdType)")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setModel(QStandardItemModel(self))
        self._scene: Any = None
        self._observer = _SceneObserver(lambda _: self._fill(), lambda _: self._fill())
        self.currentIndexChanged.connect(
            lambda _: self._send("currentItemChanged(vtkIdType)", self.currentItem())
        )
        self.destroyed.connect(lambda: self._observer.watch(None, lambda: None))

    def showPopup(self) -> None:
        self._fill()
        super().showPopup()

    def _fill(self) -> None:
        keep = self.currentItem()
        self.blockSignals(True)
        self.clear()
        if self.noneEnabled:
            self.addItem(self.noneDisplay, 0)
        tree = self._scene.GetSubjectHierarchyNode()
        for item in slicer.util.getSubjectHierarchyItemChildren(recursive=True):
            node = tree.GetItemDataNode(item)
            if not self.nodeTypes or (node and any(node.IsA(kind) for kind in self.nodeTypes)):
                entry = QStandardItem(tree.GetItemName(item))
                entry.setData(item, Qt.UserRole)
                self.model().appendRow(entry)
        self.setCurrentIndex(self.findData(keep))
        self.blockSignals(False)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self._observer.watch(scene, self._fill)
        self._fill()

    def setCurrentItem(self, item: int) -> None:
        self._fill()
        self.setCurrentIndex(self.findData(item))

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentItem(self._scene.GetSubjectHierarchyNode().GetItemByDataNode(node))

    def mrmlScene(self) -> Any:
        return self._scene

    def currentItem(self) -> int:
        return int(self.currentData() or 0)

    def currentNode(self) -> Any:
        """The node of the chosen item, or None."""
        return self._scene.GetSubjectHierarchyNode().GetItemDataNode(self.currentItem())

    def clearSelection(self) -> None:
        self.setCurrentIndex(0 if self.noneEnabled else -1)

    noneEnabled = stored(bool, "noneEnabled", False)
    noneDisplay = stored(str, "noneDisplay", "None")
    nodeTypes = stored("QStringList", "nodeTypes", [])
    showRootItem = stored(bool, "showRootItem", True)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Segment Editor's widget reduced to the nodes it works on: nothing can be painted.

    As in Slicer (qMRMLSegmentEditorWidget.cxx), a newly chosen segmentation brings its reference
    volume as source, and a new source that the slice views do not show becomes all they show.
    """

    _slots = (
        *qMRMLWidget._slots,
        "setMRMLSegmentEditorNode(vtkMRMLSegmentEditorNode*)",
        "setSegmentationNode(vtkMRMLNode*)",
        "setSourceVolumeNode(vtkMRMLNode*)",
        "setCurrentSegmentID(QString)",
        "setActiveEffectByName(QString)",
    )

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._tag = 0
        self._seen: tuple[Any, Any] = (None, None)  # segmentation and source
        self.destroyed.connect(lambda: self.setMRMLSegmentEditorNode(None))

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        if node is self._node:
            return
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node, self._seen = node, (None, None)
        if node is not None:
            self._tag = node.AddObserver("ModifiedEvent", lambda *_: self._follow())
            self._follow()

    def _follow(self) -> None:
        segmentation = self._node.GetSegmentationNode()
        if segmentation is not self._seen[0]:
            self._seen = (segmentation, self._seen[1])
            if segmentation is not None:
                role = segmentation.GetReferenceImageGeometryReferenceRole()
                self._node.SetAndObserveSourceVolumeNode(segmentation.GetNodeReference(role))
        source = self._node.GetSourceVolumeNode()
        if segmentation is None or source is self._seen[1]:
            return
        self._seen = (segmentation, source)
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode") if source else ():
            shown = (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID())
            if source.GetID() not in shown:
                view.SetBackgroundVolumeID(source.GetID())
                view.SetForegroundVolumeID(None)
                view.SetLabelVolumeID(None)

    def setSegmentationNode(self, node: Any) -> None:
        self._node.SetAndObserveSegmentationNode(node)

    def setSourceVolumeNode(self, node: Any) -> None:
        self._node.SetAndObserveSourceVolumeNode(node)

    def setCurrentSegmentID(self, segment: str) -> None:
        self._node.SetSelectedSegmentID(segment)

    def setActiveEffectByName(self, name: str) -> None:
        self._node.SetActiveEffectName(name)

    def updateWidgetFromMRML(self) -> None:
        """Nothing is shown."""

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def segmentationNode(self) -> Any:
        return self._node.GetSegmentationNode() if self._node else None

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node else None

    def currentSegmentID(self) -> str:
        return self._node.GetSelectedSegmentID() or ""


class qSlicerModuleSelectorToolBar(StandIn, QToolBar):
    """The list of modules above the module panel."""

    _signals = ("moduleSelected(QString)",)
    _slots = ("selectModule(QString)",)

    def selectModule(self, name: str) -> None:
        """Leave the current module and enter that one.

        Raises:
            ValueError: no such module; Slicer would only warn.
        """
        module = slicer.app.moduleManager().module(name)
        if module is None:
            raise ValueError(f"selectModule: there is no module '{name}'")
        before = self.__dict__.get("_selected", "")
        if before:
            _tell(slicer.app.moduleManager().module(before), "exit")
        self.__dict__["_selected"] = name
        _tell(module, "enter")
        self._send("moduleSelected(QString)", name)

    selectedModule = Property(str, lambda self: self.__dict__.get("_selected", ""), selectModule)


def _tell(module: Any, what: str) -> None:
    """Call enter or exit of a module's panel, which is made by then."""
    panel = module.widgetRepresentation() if module else None
    if panel is not None:
        getattr(panel, what)()


class qSlicerMainWindow(StandIn, QMainWindow):
    """The main window: has the module selector and a status bar."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("qSlicerMainWindow")
        self._selector = qSlicerModuleSelectorToolBar(self)

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector


WIDGETS = (
    qMRMLNodeComboBox,
    qMRMLSegmentEditorWidget,
    qMRMLSubjectHierarchyComboBox,
    qMRMLWidget,
)
