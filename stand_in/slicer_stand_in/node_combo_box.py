"""The MRML widgets: a box to choose a node of the scene, and containers that hand the scene on."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QWidget

from .ctk_widgets import ctkCollapsibleButton, ctkSliderWidget
from .wrapping import ERRORS

_SCENE_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndImportEvent", "EndBatchProcessEvent")


class qMRMLWidget(QWidget):
    """A widget that knows the scene and tells its change."""

    mrmlSceneChanged = Signal(object)
    SLICER_SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """What Slicer hands to a scripted module's widget class as its parent."""


class qMRMLCollapsibleButton(ctkCollapsibleButton):
    """CTK's button; it hands the scene on."""

    mrmlSceneChanged = Signal(object)
    SLICER_SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def setMRMLScene(self, scene: Any) -> None:
        self.mrmlSceneChanged.emit(scene)


class qMRMLSliderWidget(ctkSliderWidget):
    """CTK's slider; in Slicer it knows the units of the scene."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._scene, self._quantity = None, ""

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def setQuantity(self, quantity: str) -> None:
        self._quantity = quantity

    quantity = Property(str, lambda self: self._quantity, setQuantity)


def _kept(kind: Any, key: str, after: str | None = None) -> Property:
    """A Qt property that is a value in ``_options``; ``after`` names the method to call when it is set."""

    def write(self: qMRMLNodeComboBox, value: Any) -> None:
        self._options[key] = list(value) if kind == "QStringList" else value
        if after:
            getattr(self, after)()

    return Property(kind, lambda self: self._options[key], write)


class qMRMLNodeComboBox(QWidget):
    """A box to choose one node of the scene; it follows nodes that come, go or change their names."""

    node_changed = Signal(object)
    node_is_there = Signal(bool)
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    nodeActivated = Signal(object)
    SLICER_SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "node_changed",
        "currentNodeChanged(bool)": "node_is_there",
    }

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._scene, self._tags, self._node_tags = None, [], {}
        self._current: str | None = None
        self._nodes: list[Any] = []
        self._attributes: dict[str, dict[str, str | None]] = {}
        self._options = {key: True for key in ("addEnabled", "removeEnabled", "editEnabled", "showChildNodeTypes")}
        self._options.update(noneEnabled=False, renameEnabled=False, showHidden=False, selectNodeUponCreation=True)
        self._options.update(nodeTypes=[], hideChildNodeTypes=[], noneDisplay="None", baseName="", tag="")
        self._box = QComboBox(self)
        self._box.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self._box.setMinimumContentsLength(8)
        self._box.setSizeAdjustPolicy(QComboBox.AdjustToMinimumContentsLengthWithIcon)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.currentIndexChanged.connect(self._chosen)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._forget()
        self._scene = scene
        if scene is not None:
            for event in _SCENE_EVENTS:
                self._tags.append((scene, scene.AddObserver(getattr(scene, event), self._scene_changed)))
            removal = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._removal)
            self._tags.append((scene, removal))
        self._refresh()

    def _forget(self) -> None:
        for watched, tag in self._tags + list(self._node_tags.values()):
            watched.RemoveObserver(tag)
        self._tags, self._node_tags = [], {}

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removal(self, scene: Any, event: str, node: Any) -> None:
        if ERRORS.open and any(node is one for one in self._nodes):
            self.nodeAboutToBeRemoved.emit(node)

    def _scene_changed(self, scene: Any, event: str) -> None:
        if not ERRORS.open or scene is not self._scene:
            return
        if not (scene.IsBatchProcessing() or scene.IsClosing() or scene.IsImporting()):
            before = {node.GetID() for node in self._nodes}
            self._refresh()
            for node in [node for node in self._nodes if node.GetID() not in before]:
                self.nodeAdded.emit(node)

    def _suits(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._options["showHidden"]:
            return False
        name = node.GetClassName()
        if any(node.IsA(kind) for kind in self._options["hideChildNodeTypes"]):
            return False
        types = self._options["nodeTypes"]
        matching = [kind for kind in types if name == kind or (self._options["showChildNodeTypes"] and node.IsA(kind))]
        if not matching:
            return False
        needed = [item for kind, pairs in self._attributes.items() if node.IsA(kind) for item in pairs.items()]
        return all(
            node.GetAttribute(key) is not None and value in (None, node.GetAttribute(key)) for key, value in needed
        )

    def _refresh(self) -> None:
        """Fill the box anew; the choice stays where its node is still there."""
        everything = []
        if self._scene is not None:
            collection = self._scene.GetNodes()
            everything = [collection.GetItemAsObject(index) for index in range(collection.GetNumberOfItems())]
        for node in everything:
            if node.GetID() not in self._node_tags:
                self._node_tags[node.GetID()] = (node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._renamed))
        self._nodes = [node for node in everything if node is not None and self._suits(node)]
        there = {node.GetID() for node in everything}
        for gone in [node_id for node_id in self._node_tags if node_id not in there]:
            node, tag = self._node_tags.pop(gone)
            node.RemoveObserver(tag)
        wanted = self._current
        if wanted not in {node.GetID() for node in self._nodes}:
            wanted = self._nodes[0].GetID() if self._nodes and not self._options["noneEnabled"] else None
        self._fill(wanted)
        self._take(wanted)

    def _fill(self, wanted: str | None) -> None:
        self._box.blockSignals(True)
        self._box.clear()
        self._box.setPlaceholderText(f"Select a {self._type_label()}")
        if self._options["noneEnabled"]:
            self._box.addItem(self._options["noneDisplay"], None)
        for node in self._nodes:
            self._box.addItem(node.GetName() or "", node.GetID())
        locations = [self._box.itemData(index) for index in range(self._box.count())]
        self._box.setCurrentIndex(locations.index(wanted) if wanted in locations else -1)
        self._box.blockSignals(False)

    def _type_label(self) -> str:
        types = self._options["nodeTypes"]
        if not types or self._scene is None:
            return "node"
        node = self._scene.CreateNodeByClass(types[0])
        if node is None:
            return "node"
        label = node.GetNodeTagName()
        node.UnRegister(None)
        return label

    def _renamed(self, node: Any, event: str) -> None:
        known = [index for index in range(self._box.count()) if self._box.itemData(index) == node.GetID()]
        if bool(known) != self._suits(node):
            self._refresh()
        elif known and self._box.itemText(known[0]) != node.GetName():
            self._box.setItemText(known[0], node.GetName())
            if node.GetID() == self._current:
                self.currentNodeRenamed.emit(node.GetName())

    def _chosen(self, index: int) -> None:
        self._take(self._box.itemData(index) if index >= 0 else None)

    def _take(self, node_id: str | None) -> None:
        if node_id == self._current:
            return
        self._current = node_id
        node = self.currentNode()
        self.node_changed.emit(node)
        self.node_is_there.emit(node is not None)
        self.currentNodeIDChanged.emit(node_id or "")

    def currentNode(self) -> Any:
        if self._current is None or self._scene is None:
            return None
        return self._scene.GetNodeByID(self._current)

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        known = {node.GetID() for node in self._nodes}
        self._fill(node_id if node_id in known else None)
        self._take(node_id if node_id in known else None)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def nodeCount(self) -> int:
        return len(self._nodes)

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        self._attributes.setdefault(node_type, {})[name] = None if value is None else str(value)
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes.get(node_type, {}).pop(name, None)
        self._refresh()

    def addNode(self, node_type: str = "") -> Any:
        """What "Create new ..." in the list does."""
        node = self._scene.AddNewNodeByClass(node_type or self._options["nodeTypes"][0], self._options["baseName"])
        if self._options["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    nodeTypes = _kept("QStringList", "nodeTypes", "_refresh")
    hideChildNodeTypes = _kept("QStringList", "hideChildNodeTypes", "_refresh")
    noneEnabled = _kept(bool, "noneEnabled", "_refresh")
    showHidden = _kept(bool, "showHidden", "_refresh")
    showChildNodeTypes = _kept(bool, "showChildNodeTypes", "_refresh")
    noneDisplay = _kept(str, "noneDisplay", "_refresh")
    addEnabled = _kept(bool, "addEnabled")
    removeEnabled = _kept(bool, "removeEnabled")
    renameEnabled = _kept(bool, "renameEnabled")
    editEnabled = _kept(bool, "editEnabled")
    baseName = _kept(str, "baseName")
    selectNodeUponCreation = _kept(bool, "selectNodeUponCreation")
    interactionNodeSingletonTag = _kept(str, "tag")
    currentNodeID = Property(str, lambda self: self._current or "", setCurrentNodeID)
    currentNodeId = Property(str, lambda self: self._current or "", setCurrentNodeID)


def forget_scenes(widgets: list[QWidget]) -> None:
    """Take away the observers of all node boxes among these."""
    for widget in widgets:
        if isinstance(widget, qMRMLNodeComboBox):
            widget._forget()
            widget._scene = None


SLICER_CLASSES = {
    "qMRMLNodeComboBox": qMRMLNodeComboBox,
    "qMRMLWidget": qMRMLWidget,
    "qMRMLSliderWidget": qMRMLSliderWidget,
    "qMRMLCollapsibleButton": qMRMLCollapsibleButton,
    "qSlicerScriptedLoadableModuleWidget": qSlicerScriptedLoadableModuleWidget,
}
