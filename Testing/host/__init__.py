"""A host for scripted Slicer modules without the application: real MRML from slicer-core, Qt from PySide6.

    from host import start
    host = start()
    widget = host.load_module()
    host.click(widget.ui.applyButton)

`start` may be called any number of times; the first call changes PySide6's classes for the rest of the process. The
files:

- ``pythonqt``: Qt's binding; ``ctk_widgets``, ``mrml_widgets``: stand-ins; ``ui_files``: Qt Designer's files
- ``application``, ``files``: scene, modules, reading and writing
- ``scripted_module``, ``parameter_node`` (with ``annotations``, ``parameters``, ``connectors``), ``translation``,
  ``packages``, ``sample_data``: Slicer's Python layer
- ``dialogs``: what would ask the user; ``problems``: errors that nobody raises; ``actions``: what a user does;
  ``modules``: loading a module
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path

_started: types.SimpleNamespace | None = None


def available() -> bool:
    """Whether the packages that the host runs on are installed."""
    return all(importlib.util.find_spec(name) for name in ("slicer_core", "PySide6"))


def start() -> types.SimpleNamespace:
    """Register `qt`, `ctk` and Slicer's modules, and return the host's functions (see the names at the end)."""
    global _started
    if _started is None:
        _started = _start()
    return _started


def _start() -> types.SimpleNamespace:
    import slicer

    folder = Path(
        tempfile.mkdtemp(prefix="slicer-host-")
    )  # for everything that Slicer would write into the user's home
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("XDG_CONFIG_HOME", str(folder))
    os.environ.setdefault("MPLBACKEND", "Agg")  # else matplotlib would take the changed PySide6 for its windows

    from . import pythonqt

    qt = sys.modules["qt"] = pythonqt.build()

    from . import ctk_widgets, mrml_widgets, ui_files

    ctk = sys.modules["ctk"] = types.ModuleType("ctk")
    for cls in ctk_widgets.CLASSES:
        setattr(ctk, cls.__name__, cls)
    mrml_widgets.install()
    ui_files.QUiLoader.stand_ins = {cls.__name__: cls for cls in ctk_widgets.CLASSES + mrml_widgets.CLASSES}
    qt.QUiLoader = ui_files.QUiLoader

    from . import application, dialogs

    application.start_scene(folder)
    dialogs.install()

    from . import packages, parameter_node, sample_data, scripted_module, translation

    sample_data.install()

    layer = {
        "ScriptedLoadableModule": scripted_module,
        "parameterNodeWrapper": parameter_node,
        "i18n": translation,
        "packaging": packages,
    }
    for name, module in layer.items():
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)

    from . import actions, modules, problems

    return types.SimpleNamespace(
        click=actions.click,
        choose=actions.choose,
        wait=actions.wait,
        clear_scene=actions.clear_scene,
        load_module=modules.load_module,
        unload_module=modules.unload_module,
        enter=modules.enter,
        leave=modules.leave,
        dialogs=dialogs.dialogs,
        packages=packages,
        click_sample=sample_data.click_sample,
        watch=problems.watch,
        folder=folder,
    )
