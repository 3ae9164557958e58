"""`slicer.app`, `slicer.mrmlScene` and `slicer.modules`: real MRML, with an application object around it.

Follows Slicer's ``Base/QTCore/qSlicerCoreApplication.cxx``, ``Base/QTGUI/qSlicerApplication.cxx`` and
``Base/QTCore/qSlicerModuleManager.cxx``.
"""

from __future__ import annotations

import os
import platform
import sys
import types
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from .files import CoreIOManager
from .layouts import LayoutManager
from .pythonqt import stand_in

LOGICS = {  # slicer.modules.<key>.logic()
    "colors": "vtkSlicerColorLogic",
    "units": "vtkSlicerUnitsLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "cameras": "vtkSlicerCamerasModuleLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "models": "vtkSlicerModelsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "tables": "vtkSlicerTablesLogic",
    "texts": "vtkSlicerTextsLogic",
    "plots": "vtkSlicerPlotsLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "cropvolume": "vtkSlicerCropVolumeLogic",
    "volumerendering": "vtkSlicerVolumeRenderingLogic",
}
VERSION = (5, 12)


class Module:
    """An entry of `slicer.modules`. A scripted module's class sets the attributes of the second group."""

    __slots__ = (
        "_logic",
        "_widget",
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "index",
        "name",
        "path",
        "title",
        "widgetRepresentationCreationEnabled",
    )

    def __init__(self, name: str, logic=None, path: str = ""):
        self.name, self.path, self._logic, self._widget = name, path, logic, None
        self.title, self.hidden = name, False

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        return self._widget


@stand_in
class qSlicerModuleManager(QtCore.QObject):
    """Knows the modules by name and says when one goes."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def module(self, name):
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self):
        return [entry.name for entry in vars(slicer.modules).values() if isinstance(entry, Module)]


class _ModuleSelector:
    def __init__(self):
        self.selectedModule = ""

    def selectModule(self, name):
        self.selectedModule = name


@stand_in
class qSlicerAppMainWindow(QtWidgets.QMainWindow):
    """Never shown; it has the module selector, so that `slicer.util.selectModule` works."""

    def __init__(self):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = _ModuleSelector()

    def moduleSelector(self):
        return self._selector


class _Signals(QtCore.QObject):
    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)


stand_in(_Signals)


class Application:
    """`slicer.app`. What is not here is asked of the QApplication, as in C++, where the one derives from the other."""

    applicationName = mainApplicationName = mainApplicationDisplayName = "Slicer"
    majorVersion, minorVersion = VERSION
    applicationVersion = f"{VERSION[0]}.{VERSION[1]}.0"
    revision = repositoryRevision = "00000"
    isInstalled = True
    arch, os, platform = platform.machine(), platform.system().lower(), sys.platform

    def __init__(self, qapplication, folder: Path):
        home = folder / "home"
        for path in (home / "share" / "ColorFiles", folder / "tmp", folder / "cache", folder / "extensions"):
            path.mkdir(parents=True, exist_ok=True)
        state = self.__dict__
        state.update(
            _qt=qapplication,
            _signals=_Signals(),
            _io=CoreIOManager(),
            _logic=slicer.vtkSlicerApplicationLogic(),
            _layout=None,
            _modules=qSlicerModuleManager(),
            _keep=[],
            slicerHome=str(home),
            temporaryPath=str(folder / "tmp"),
            cachePath=str(folder / "cache"),
            extensionsInstallPath=str(folder / "extensions"),
            slicerUserSettingsFilePath=str(folder / "Slicer.ini"),
            slicerRevisionUserSettingsFilePath=str(folder / "Slicer-00000.ini"),
            defaultScenePath=str(folder),
            launcherExecutableFilePath="",
            startupWorkingPath=os.getcwd(),
        )

    def __getattr__(self, name):
        return getattr(self.__dict__["_qt"], name)

    def __setattr__(self, name, value):
        if name not in self.__dict__ and not hasattr(type(self), name):
            raise AttributeError(f"'{name}' does not exist on qSlicerApplication")
        self.__dict__[name] = value

    def connect(self, signal, function):
        target = self._signals if signal.split("(")[0] in ("startupCompleted", "mrmlSceneChanged") else self._qt
        return target.connect(signal, function)

    def disconnect(self, signal, function):
        target = self._signals if signal.split("(")[0] in ("startupCompleted", "mrmlSceneChanged") else self._qt
        return target.disconnect(signal, function)

    def applicationLogic(self):
        return self._logic

    def moduleLogic(self, name):
        return getattr(slicer.modules, name.lower()).logic()

    def mrmlScene(self):
        return slicer.mrmlScene

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def moduleManager(self):
        return self._modules

    def layoutManager(self):
        return self._layout

    def testingEnabled(self):
        """False, so that messages are shown as a user would see them."""
        return False

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    environment = startupEnvironment

    def userSettings(self):
        return QtCore.QSettings(self.slicerUserSettingsFilePath, QtCore.QSettings.IniFormat)

    settings = userSettings

    def revisionUserSettings(self):
        return QtCore.QSettings(self.slicerRevisionUserSettingsFilePath, QtCore.QSettings.IniFormat)

    def translate(self, context, text, *_):
        return text

    def commandOptions(self):
        return types.SimpleNamespace(noMainWindow=False, testingEnabled=False)

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass

    def restart(self):
        raise AssertionError("the module asked Slicer to restart")

    def documentationBaseUrl(self):
        return "https://slicer.readthedocs.io/en/latest/"

    def moduleDocumentationUrl(self, name):
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"


def _qapplication():
    """The process's QApplication, with settings in a folder of its own."""
    running = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    running.setOrganizationName("NA-MIC")
    running.setApplicationName("Slicer")
    running.setQuitOnLastWindowClosed(False)
    return running


def start_scene(folder: Path) -> Application:
    """Make `slicer.app`, `slicer.mrmlScene` and `slicer.modules`, whose logics know each other."""
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(folder / "settings"))
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.app = app = Application(_qapplication(), folder)
    data_io, cache = slicer.vtkDataIOManager(), slicer.vtkCacheManager()  # reading .mrb needs both
    data_io.SetFileFormatHelper(slicer.vtkDataFileFormatHelper())
    cache.SetRemoteCacheDirectory(app.cachePath)
    data_io.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(data_io)
    logic = app.applicationLogic()
    logic.SetMRMLScene(scene)
    logic.SetHomeDirectory(app.slicerHome)
    logic.SetShareDirectory("share")
    logic.SetTemporaryPath(app.temporaryPath)
    slicer.modules = types.SimpleNamespace()
    for name, class_name in LOGICS.items():
        module_logic = getattr(slicer, class_name)()
        module_logic.SetMRMLApplicationLogic(logic)
        logic.SetModuleLogic(name.capitalize(), module_logic)
        module_logic.SetMRMLScene(scene)
        setattr(slicer.modules, name, Module(name.capitalize(), module_logic))
    app._layout = LayoutManager(logic)
    app._keep += [data_io, cache, qSlicerAppMainWindow()]
    return app
