"""The panel: puts its parts together and follows the scene and the parameter node."""

from __future__ import annotations

import contextlib
import sys

import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from .batch_tab import BatchTab
from .carry_section import CarrySection
from .device_list import DeviceList
from .diagnostics import Diagnostics
from .logic import SlicRegLogic
from .mode_list import ModeList
from .model_list import ModelList
from .option_widgets import set_tool_tips
from .own_template_button import OwnTemplateButton
from .parameters import forget_empty_paths
from .registration_tab import RegistrationTab
from .result_nodes import list_scans
from .training_tab import TrainingTab
from .translation import _

PACKAGES = ("SlicRegLib", "SlicRegSlicer")
LAST = -100.0
"""Priority of the scene's observers: after the node selectors, which fill their lists in the same events."""


class SlicRegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; its parts see it as `SlicRegSlicer.widgets.Panel`."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameters = None
        self.installing = False
        self._parameterTag = None
        self._isLoading = False
        """Whether a scene is being closed or loaded: nodes have neither their names nor their references yet."""

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/SlicReg.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        set_tool_tips(self.ui)
        self.logic = SlicRegLogic()
        self.models = ModelList(self)
        self.modes = ModeList(self)
        self.devices = DeviceList(self)
        self.diagnostics = Diagnostics(self)
        self.registration = RegistrationTab(self)
        self.carry = CarrySection(self)
        self.ownTemplate = OwnTemplateButton(self)
        self.batch = BatchTab(self, self.registration.makeRequest, self.registration.showLoaded)
        self.training = TrainingTab(self, onModelFinished=self.models.fill)
        self.ui.tabs.connect("currentChanged(int)", self.onTab)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.EndBatchProcessEvent):
            self.addObserver(scene, event, self.onSceneEnd, priority=LAST)
        self.models.fill()
        self.chooseDefaults()

    def cleanup(self) -> None:
        self.stopEverything()
        self.logic.close()
        self.setParameters(None)
        self.removeObservers()

    def enter(self) -> None:
        self.chooseDefaults()
        self.registration.showPending()
        self.onTab()
        self.logic.warmUp(self.parameters.model)

    def exit(self) -> None:
        """The user goes to another module; what runs continues."""
        self.registration.views.leave()

    def onReload(self) -> None:
        """Slicer's button "Reload": it executes SlicReg.py again, which then imports edited files of both packages."""
        before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in PACKAGES}
        try:
            ScriptedLoadableModuleWidget.onReload(self)
        except BaseException:
            sys.modules.update(before)  # the panel that is still there goes on with what it knows
            raise

    def onTab(self, index=None) -> None:
        if self.ui.tabs.currentIndex == self.ui.tabs.indexOf(self.ui.trainingTab):
            self.devices.fill()
            self.training.watch()  # another process may have started or stopped the training

    # ---- scene

    def onSceneStartClose(self, caller, event) -> None:
        self.stopEverything()
        self.setParameters(None)
        self.registration.clear()
        self.batch.clear()

    def onSceneStartImport(self, caller, event) -> None:
        """A scene is loaded, perhaps into this one: what it says of the parameters must not be overwritten."""
        self.setParameters(None)

    def onSceneEnd(self, caller, event) -> None:
        """The scene was closed or loaded. Loading closes the old one first; only after all of it are nodes listed."""
        if self._isLoading and not slicer.mrmlScene.IsBatchProcessing():
            self._isLoading = False
            if self.parent.isEntered or self.isBusy():
                self.chooseDefaults()

    def stopEverything(self) -> None:
        """End all child processes, before the scene, the panel or the application goes away."""
        for tab in (self.registration, self.batch, self.training):
            tab.close()
        self.showParameters()

    # ---- parameters

    def chooseDefaults(self) -> None:
        """Use the scene's parameters. Without a model "Automatic" is chosen; without a template, where the model holds
        none, the first volume."""
        if self.parameters is None:
            self.setParameters(self.logic.getParameterNode())
        self.models.chooseDefault()
        if not self.parameters.template and not self.models.holdsTemplate():
            self.parameters.template = next(iter(list_scans()), None)

    def setParameters(self, parameters) -> None:
        """Show these parameters from now on; None: none, since the scene is closed or loaded."""
        self._isLoading = parameters is None
        if self.parameters:
            self.parameters.disconnectGui(self._parameterTag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.showParameters)
        self.parameters = parameters
        if parameters:
            forget_empty_paths(parameters)
            self.training.useParameters(parameters)
            bound = [w for w in vars(self.ui).values() if w.property("SlicerParameterName")]
            # unlike connectGui it returns the tag by which to disconnect
            self._parameterTag = parameters.connectParametersToGui(
                {widget.property("SlicerParameterName"): widget for widget in bound}
            )
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.showParameters)
            self.showParameters()

    def showParameters(self, caller=None, event=None) -> None:
        """Show the parameters that no widget is bound to, and enable what can be started now."""
        self.diagnostics.showParameters()
        if self.parameters:
            lists, tabs = (self.models, self.modes, self.devices), (self.registration, self.batch, self.training)
            for part in (*lists, *tabs, self.carry, self.ownTemplate):
                part.showParameters()

    # ---- one thing at a time

    def isBusy(self) -> bool:
        """Whether neither a registration nor a batch can be started now."""
        return self.installing or self.registration.isRunning() or self.batch.isRunning()

    def ensureInstalled(self) -> bool:
        """Whether all packages are installed. Offers to install missing ones."""
        with self.blockStarts():
            return self.logic.installed(ask=True, progress=self.showInstalling)

    @contextlib.contextmanager
    def blockStarts(self):
        """Within it nothing can be started: packages are being installed while the panel handles events."""
        self.installing = True
        self.showParameters()
        try:
            yield
        finally:
            self.installing = False
            self.showParameters()

    def showInstalling(self, stage: str, share: float, details: str) -> None:
        text = _("Installing {packages}. This may take several minutes.") if details else ""
        self.ui.statusLabel.text = text.format(packages=details)
        slicer.app.processEvents()
