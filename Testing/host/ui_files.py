"""`qt.QUiLoader` for .ui files that use the stand-ins. What Slicer would not load is an error here.

Follows ``loadUI`` and ``childWidgetVariables`` of Slicer's ``Base/Python/slicer/util.py``, and Qt's QUiLoader.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import pythonqt

NAMES = json.loads((Path(__file__).parent / "names.json").read_text())
_FILTERS = {
    "Dirs": 1,
    "Files": 2,
    "Drives": 4,
    "Readable": 16,
    "Writable": 32,
    "Executable": 64,
    "Hidden": 256,
    "AllDirs": 1024,
    "NoDot": 8192,
    "NoDotDot": 16384,
    "NoDotAndDotDot": 24576,
}
_QT = {"Line", "Spacer"}  # what a .ui file names without a class of that name


class QUiLoader(QtUiTools.QUiLoader):
    """Creates stand-ins by their class names; refuses classes and properties that do not exist."""

    stand_ins: dict[str, type] = {}

    def createWidget(self, class_name, parent=None, name=""):
        cls = self.stand_ins.get(class_name)
        if cls is None:
            return super().createWidget(class_name, parent, name)
        widget = cls(parent)
        widget.setObjectName(name)
        return widget

    def load(self, file, parent=None):
        path = file.fileName() if isinstance(file, QtCore.QFile) else str(file)
        tree = ElementTree.parse(path).getroot()
        _check(tree, path, self.stand_ins)
        by_hand = _take_enumerations(tree, self.stand_ins)
        connections = _take_connections(tree)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.ReadOnly)
        pythonqt.LOADING_UI[0] = True
        try:
            widget = super().load(buffer, parent)
        finally:
            pythonqt.LOADING_UI[0] = False

        def find(name):
            found = widget if widget.objectName == name else widget.findChild(QtCore.QObject, name)
            if found is None:
                raise RuntimeError(f"{path}: a connection names '{name}', which is not there")
            return found

        for name, properties in by_hand:
            for key, value in properties.items():
                find(name).setProperty(key, value)
        for sender, signal, receiver, slot in connections:
            getattr(find(sender), signal).connect(getattr(find(receiver), slot))
        return widget


def _check(tree, path: str, stand_ins: dict) -> None:
    """Refuse classes that are neither Qt's nor stand-ins, and properties of stand-ins that Slicer does not have."""
    for node in tree.iter("widget"):
        name = node.get("class")
        cls = stand_ins.get(name)
        if cls is None:
            if name not in _QT and not hasattr(QtWidgets, name):
                raise NotImplementedError(f"{path}: the host has no stand-in for {name}")
            continue
        for entry in node.findall("property"):
            key = entry.get("name")
            dynamic = entry.get("stdset") == "0" and key.startswith("Slicer")
            if not dynamic and key not in NAMES.get(name, ()) and cls.staticMetaObject.indexOfProperty(key) < 0:
                raise ValueError(f"{path}: {name} '{node.get('name')}' has no property '{key}'")


def _take_enumerations(tree, stand_ins: dict) -> list:
    """Enumerations of the C++ classes, which PySide6 does not know: [(object name, {property: value})]."""
    taken = []
    for node in tree.iter("widget"):
        if node.get("class") not in stand_ins:
            continue
        for entry in node.findall("property"):
            text = entry.findtext("set") or entry.findtext("enum") or ""
            if text.startswith(("ctk", "qMRML")):
                node.remove(entry)
                if entry.get("name") == "filters":
                    value = sum({_FILTERS[part.split("::")[1]] for part in text.split("|")})
                    taken.append((node.get("name"), {"filters": value}))
    return taken


def _take_connections(tree) -> list:
    """Connections that carry VTK objects, which Qt's loader cannot make: [(sender, signal, receiver, slot)]."""
    listed = tree.find("connections")
    taken = []
    for entry in list(listed) if listed is not None else []:
        sender, signal, receiver, slot = (entry.findtext(key) for key in ("sender", "signal", "receiver", "slot"))
        if "vtk" in signal + slot:
            listed.remove(entry)
            taken.append((sender, signal.split("(")[0], receiver, slot.split("(")[0]))
    return taken
