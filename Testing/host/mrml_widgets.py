"""Stand-ins for Slicer's widgets; the node selector follows the real scene.

Follows Slicer's ``Libs/MRML/Widgets/qMRMLNodeComboBox.cxx``, ``qMRMLSceneModel.cxx`` and ``qMRMLWidget.cxx``.
"""

from __future__ import annotations

import shiboken6
import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .ctk_widgets import stored
from .pythonqt import stand_in


@stand_in
class qSlicerWidget(QtWidgets.QWidget):
    """A widget that hands its scene to the widgets inside, by the connections of the .ui file."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@stand_in
class qMRMLWidget(qSlicerWidget):
    """As `qSlicerWidget`; its scene can be asked for."""

    def mrmlScene(self):
        return self._scene


@stand_in
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The panel that Slicer makes for a scripted module: the ``parent`` of its widget object."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._self, self._entered, self._make = None, False, None
        QtWidgets.QVBoxLayout(self)

    isEntered = property(lambda self: self._entered)  # as in qSlicerAbstractModuleWidget, whose method Python lacks

    def self(self):
        return self._self

    def reload(self):
        """Make the widget object anew, as `slicer.util.reloadScriptedModule` asks for after it has executed the
        module's file again; follows ``qSlicerScriptedLoadableModuleWidget::reload``."""
        self._make()


@stand_in
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A list of the scene's nodes of some classes, with entries that make, rename or delete one."""

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    baseName = stored(str, "baseName", "")

    def _option(name, default, type_=bool):
        def set_(self, value):
            self.__dict__["_" + name] = value
            self._refresh()

        return Property(type_, lambda self: self.__dict__.get("_" + name, default), set_)

    noneEnabled = _option("noneEnabled", False)
    noneDisplay = _option("noneDisplay", "None", str)
    addEnabled = _option("addEnabled", True)
    removeEnabled = _option("removeEnabled", True)
    editEnabled = _option("editEnabled", False)
    renameEnabled = _option("renameEnabled", False)
    showHidden = _option("showHidden", False)
    showChildNodeTypes = _option("showChildNodeTypes", True)
    nodeTypes = _option("nodeTypes", (), "QStringList")
    hideChildNodeTypes = _option("hideChildNodeTypes", (), "QStringList")
    del _option

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._current, self._attributes = None, "", []
        self._scene_tags, self._node_tags = [], []
        self._combo = QtWidgets.QComboBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._activate)

    # --- the list ---

    def _shows(self, node) -> bool:
        if self.showChildNodeTypes:
            fits = any(node.IsA(name) for name in self.nodeTypes) and not any(
                node.IsA(name) for name in self.hideChildNodeTypes
            )
        else:
            fits = node.GetClassName() in self.nodeTypes
        return (
            fits
            and (self.showHidden or not node.GetHideFromEditors())
            and all(
                node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
                for class_name, name, value in self._attributes
                if node.IsA(class_name)
            )
        )

    def _nodes(self) -> list:
        count = self._scene.GetNumberOfNodes() if self._scene else 0
        return [node for node in (self._scene.GetNthNode(i) for i in range(count)) if self._shows(node)]

    def _label(self, class_name: str) -> str:
        node = self._scene.CreateNodeByClass(class_name)
        node.UnRegister(None)
        return node.GetTypeDisplayName()

    def _refresh(self, *_) -> None:
        """Fill the list anew; the chosen node stays, or the first takes its place.

        Not while the scene imports: nodes have neither their final IDs nor their references before its end
        (``qMRMLSceneModel::onMRMLSceneNodeAdded``), which the scene's EndImportEvent tells. Nor while it handles many
        nodes at once, as the model of this list is updated lazily.
        """
        if not shiboken6.isValid(self):
            return
        if self._scene is not None and (self._scene.IsImporting() or self._scene.IsBatchProcessing()):
            return
        nodes = self._nodes()
        self._observe(nodes)
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        if self._scene:
            for class_name in self.nodeTypes if self.addEnabled else ():
                self._combo.addItem("Create new " + self._label(class_name), ("add", class_name))
            if self.removeEnabled and self._current:
                self._combo.addItem("Delete current " + self._label(self.nodeTypes[0]), ("remove", ""))
        known = [node.GetID() for node in nodes]
        fallback = known[0] if known and not self.noneEnabled else ""
        self._select(self._current if self._current in known else fallback)

    def _observe(self, nodes) -> None:
        """A renamed node changes its entry."""
        for node, tag in self._node_tags:
            node.RemoveObserver(tag)
        self._node_tags = [(node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._rename)) for node in nodes]

    def _rename(self, node, _event) -> None:
        if shiboken6.isValid(self):
            index = self._combo.findData(node.GetID())
            if self._shows(node) != (index >= 0):
                self._refresh()
            elif index >= 0 and self._combo.itemText(index) != node.GetName():
                self._combo.setItemText(index, node.GetName())

    def _select(self, node_id: str) -> None:
        index = self._combo.findData(node_id)
        self._combo.setCurrentIndex(index)
        if node_id != self._current and (index >= 0 or not node_id):
            self._current = node_id
            node = self.currentNode()
            self.currentNodeChanged[object].emit(node)
            self.currentNodeChanged[bool].emit(node is not None)
            self.currentNodeIDChanged.emit(node_id)

    def _activate(self, index: int) -> None:
        """The user picked entry ``index``."""
        chosen = self._combo.itemData(index)
        if isinstance(chosen, str):
            self._select(chosen)
            self.nodeActivated.emit(self.currentNode())
            return
        action, class_name = chosen
        self._combo.setCurrentIndex(self._combo.findData(self._current))
        if action == "add":
            self.nodeAddedByUser.emit(self.addNode(class_name))
        else:
            self._scene.RemoveNode(self.currentNode())

    # --- what module code calls ---

    @Slot(object)
    def setMRMLScene(self, scene):
        for tag in self._scene_tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._scene_tags = scene, []
        if scene is not None:
            events = (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndCloseEvent,
                scene.EndImportEvent,
                scene.EndBatchProcessEvent,
            )
            self._scene_tags = [scene.AddObserver(event, self._refresh) for event in events]
        self._refresh()

    def mrmlScene(self):
        return self._scene

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node):
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self, node_id):
        if node_id and self._combo.findData(node_id) < 0:
            node_id = ""  # not in this list
        self._select(node_id or "")

    currentNodeID = Property(str, lambda self: self._current, setCurrentNodeID)

    def setCurrentNodeIndex(self, index):
        nodes = self._nodes()
        self.setCurrentNode(nodes[index] if 0 <= index < len(nodes) else None)

    def nodeCount(self):
        return len(self._nodes())

    def nodeFromIndex(self, index):
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addNode(self, class_name=None):
        class_name = class_name or self.nodeTypes[0]
        node = self._scene.AddNewNodeByClass(
            class_name, self._scene.GenerateUniqueName(self.baseName or self._label(class_name))
        )
        for of_class, name, value in self._attributes:
            if node.IsA(of_class):
                node.SetAttribute(name, value or "")
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAdded.emit(node)
        return node

    def removeCurrentNode(self):
        self._scene.RemoveNode(self.currentNode())

    def addAttribute(self, class_name, name, value=None):
        self._attributes.append((class_name, name, None if value is None else str(value)))
        self._refresh()

    def removeAttribute(self, class_name, name):
        self._attributes = [entry for entry in self._attributes if entry[:2] != (class_name, name)]
        self._refresh()


CLASSES = (qSlicerWidget, qMRMLWidget, qSlicerScriptedLoadableModuleWidget, qMRMLNodeComboBox)


def install() -> None:
    """Put the classes where Slicer has them: in the module ``slicer``."""
    for cls in CLASSES:
        setattr(slicer, cls.__name__, cls)
