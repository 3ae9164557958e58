"""What a user does: click, choose, wait. By mouse events, so that a disabled or hidden widget cannot be used."""

from __future__ import annotations

import time

import slicer
from PySide6 import QtCore, QtTest, QtWidgets
from PySide6.QtCore import Qt

from .ctk_widgets import HEADER, ctkCollapsibleButton


def _usable(widget) -> None:
    """Show the widget's window; then the widget must be visible and enabled."""
    window = widget.window()
    if not window.isVisible():
        window.show()
    slicer.app.processEvents()
    name = widget.objectName or type(widget).__name__
    if not widget.isVisible():
        raise AssertionError(f"'{name}' is not visible")
    if not widget.isEnabled():
        raise AssertionError(f"'{name}' is disabled")


def click(widget) -> None:
    """Press and release the left button on ``widget``, where it listens."""
    _usable(widget)
    area = widget.rect
    place = area.center()
    if isinstance(widget, ctkCollapsibleButton):
        place = QtCore.QPoint(area.center().x(), HEADER // 2)
    elif isinstance(widget, (QtWidgets.QCheckBox, QtWidgets.QRadioButton)):
        place = QtCore.QPoint(8, area.center().y())
    QtTest.QTest.mouseClick(widget, Qt.LeftButton, Qt.NoModifier, place)
    slicer.app.processEvents()


def choose(combo, entry) -> None:
    """Open ``combo`` (`qMRMLNodeComboBox` or `QComboBox`) and click an entry: a node, None, or the entry's text."""
    _usable(combo)
    inner = combo if isinstance(combo, QtWidgets.QComboBox) else combo.findChild(QtWidgets.QComboBox)
    if entry is None:
        row = inner.findData("")
    elif isinstance(entry, str):
        row = inner.findText(entry)
    else:
        row = inner.findData(entry.GetID())
    if row < 0:
        listed = [inner.itemText(i) for i in range(inner.count)]
        raise AssertionError(f"{entry!r} is not listed; there are {listed}")
    inner.showPopup()
    slicer.app.processEvents()
    view = inner.view()
    index = inner.model().index(row, inner.modelColumn)
    view.scrollTo(index)
    place = view.visualRect(index).center()
    QtTest.QTest.mouseMove(view.viewport(), place)
    QtTest.QTest.mouseClick(view.viewport(), Qt.LeftButton, Qt.NoModifier, place)
    slicer.app.processEvents()


def wait(condition, timeout_s: float = 10.0) -> None:
    """Run Qt's event loop until ``condition()`` is true."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s:g} s in vain")
        QtCore.QCoreApplication.processEvents()
        time.sleep(0.005)


def clear_scene(singletons: bool = False) -> None:
    """Close the scene, as the File menu does; ``singletons``: also remove parameter nodes, which survive that.

    The slice views' nodes stay in either case: the views hold on to them.
    """
    scene = slicer.mrmlScene
    scene.Clear(0)
    if singletons:
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            scene.RemoveNode(node)
    slicer.app.processEvents()
