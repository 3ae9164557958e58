"""Load a scripted module as Slicer does.

Follows Slicer's ``Base/QTGUI/qSlicerScriptedLoadableModule.cxx`` and ``qSlicerScriptedLoadableModuleWidget.cxx``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import slicer

from .application import Module

SLICREG = Path(__file__).resolve().parents[2] / "SlicRegExtension" / "SlicReg" / "SlicReg.py"


def load_module(path=SLICREG):
    """Import the file, make its module object and its panel, and call ``setup``. Returns the widget object.

    The panel is ``widget.parent``; the Python module is ``sys.modules[name]``. Loading it again unloads it first.
    """
    path = Path(path)
    name = path.stem
    if getattr(slicer.modules, name + "Widget", None) is not None:
        unload_module(name)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    python = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(python)

    entry = Module(name, path=str(path))
    setattr(slicer.modules, name.lower(), entry)
    setattr(slicer.modules, name + "Instance", getattr(python, name)(entry))
    slicer.app.moduleManager().moduleLoaded.emit(name)
    slicer.app._signals.startupCompleted.emit()

    panel = entry._widget = slicer.qSlicerScriptedLoadableModuleWidget()
    panel._make = lambda: _make_widget(name, panel)
    panel._make()
    panel.setMRMLScene(slicer.mrmlScene)
    return panel._self


def _make_widget(name: str, panel) -> None:
    """The widget object that the Python module has now, in its panel."""
    widget = panel._self = getattr(sys.modules[name], name + "Widget")(panel)
    setattr(slicer.modules, name + "Widget", widget)
    widget.setup()


def enter(widget) -> None:
    """The user switches to the module."""
    widget.parent._entered = True
    widget.parent.show()
    if hasattr(widget, "enter"):
        widget.enter()


def leave(widget) -> None:
    """The user switches to another module."""
    widget.parent._entered = False
    if hasattr(widget, "exit"):
        widget.exit()


def unload_module(name: str = SLICREG.stem) -> None:
    """Call the widget's ``cleanup`` and drop the panel."""
    widget = getattr(slicer.modules, name + "Widget", None)
    if widget is None:
        return
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    widget.parent.hide()
    for selector in widget.parent.findChildren(slicer.qMRMLNodeComboBox):
        selector.setMRMLScene(None)  # else the scene would keep the panel's selectors alive and busy for ever
    widget.parent.deleteLater()
    setattr(slicer.modules, name + "Widget", None)
    slicer.app.processEvents()
