"""The panel: shows the parameters, starts and watches registrations, shows their results."""

import contextlib
import pathlib

import qt
import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from SlicRegLib.jobs.command_process import CommandProcess
from SlicRegLib.registration import model_header

from .logic import SlicRegLogic
from .parameters import INPUTS, OPTIONS, OUTPUTS
from .review import Review
from .run import Request, of_other_scans, scalar_volumes
from .training_panel import TrainingTab
from .translation import _
from .widgets import fill_table, select, select_device, selected, shown_errors, timer

POLL_MS = 100
FLICKER_MS = 600


class SlicRegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.run = None  # the registration that goes on, or the last one
        self.review = None
        self.batch = None
        self.batchJob = None
        self.training = None
        self.installing = False
        self._parameterNode = None
        self._parameterTag = None
        self._models = []
        self._devicesKnown = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/SlicReg.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = SlicRegLogic()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        for button, slot in (
            ("apply", self.onApply),
            ("cancel", self.onCancel),
            ("addModel", self.onAddModel),
            ("removeModel", self.onRemoveModel),
            ("checkInstallation", self.onCheckInstallation),
            ("saveLog", self.onSaveLog),
            ("batchApply", self.onBatchApply),
            ("batchCancel", self.onBatchCancel),
        ):
            getattr(self.ui, f"{button}Button").connect("clicked(bool)", slot)
        self._views = {
            "flicker": self.showFlicker,
            "checkerboard": lambda on: self.review.checkerboard() if on else self.review.blend(),
            "blend": lambda on: self.review.blend(0.5 if on else 0.0),
            "confidence": lambda on: self.review.confidence(on),
            "supervoxels": lambda on: self.review.supervoxels(on),
        }
        for name in self._views:
            getattr(self.ui, f"{name}Button").connect("clicked(bool)", lambda on, name=name: self.onView(name, on))
        self.ui.gridButton.connect("clicked(bool)", self.onGrid)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceChosen)
        self._pollTimer = timer(POLL_MS, self.onPoll)
        self._flickerTimer = timer(FLICKER_MS, self.onFlicker)
        self.ui.deviceComboBox.addItem(_("Automatic"), "auto")
        self.ui.advancedButton.connect("contentsCollapsed(bool)", self.fillDevices)
        self.training = TrainingTab(self)
        self.ui.tabs.connect("currentChanged(int)", self.onTab)
        self.fillModels()
        self.initializeParameterNode()

    def cleanup(self):
        self.stopEverything()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()
        self.onTab()

    def onTab(self, index=None):
        if self.ui.tabs.currentIndex == self.ui.tabs.indexOf(self.ui.trainingTab):
            self.fillDevices()
            self.training.watch()  # it may have been started or stopped by others

    def exit(self):
        self._flickerTimer.stop()  # the views belong to the other modules now; a registration goes on
        self.ui.flickerButton.checked = False

    def onSceneStartClose(self, caller, event):
        self.stopEverything()
        self.setParameterNode(None)
        self.clearResult()
        self.ui.statusLabel.text = self.ui.batchStatusLabel.text = ""
        for bar in (self.ui.progressBar, self.ui.batchProgressBar):
            bar.value = 0

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def stopEverything(self):
        """End what runs; called before the scene, the panel or the application goes away."""
        self._pollTimer.stop()
        if self.run:
            self.run.cancel()
        self.stopBatch()
        self.training.close()
        self.stopReview()
        self.run = None
        self.showRunning(False)

    # ---- parameters

    def initializeParameterNode(self):
        if self._parameterNode is None:
            self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.template:
            self._parameterNode.template = next(iter(scalar_volumes()), None)
        if not self._parameterNode.model and self.chosenModel():
            self._parameterNode.model = self.chosenModel().name  # the one that is shown

    def setParameterNode(self, node):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterTag)
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)
        self._parameterNode = node
        if node:
            self.training.adopt(node)
            bound = {
                w.property("SlicerParameterName"): w
                for w in vars(self.ui).values()
                if w.property("SlicerParameterName")
            }
            self._parameterTag = node.connectParametersToGui(
                bound
            )  # unlike connectGui it tells the tag to disconnect by
            self.addObserver(node.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)
            self.onParameters()

    def onParameters(self, caller=None, event=None):
        """Show the parameters that no widget is bound to, and whether Apply can be pressed."""
        self.ui.checkInstallationButton.enabled = not self.installing
        parameters = self._parameterNode
        if not parameters:
            return
        if parameters.model:
            select(self.ui.modelComboBox, parameters.model)
        select_device(self.ui.deviceComboBox, parameters.device)
        missing = self.missing()
        running = self.running()
        self.ui.applyButton.enabled = not missing and not running
        self.ui.applyButton.toolTip = missing or _("Register the target to the template.")
        folders = [
            str(parameters.batchOutput) not in ("", "."),
            parameters.batchScene or str(parameters.batchInput) not in ("", "."),
        ]
        self.ui.batchInputPath.enabled = not parameters.batchScene
        batch = (
            ""
            if parameters.template and parameters.model
            else _("Choose a template volume and a model in the first tab.")
        )
        batch = batch or ("" if all(folders) else _("Choose the scans and a folder for the results."))
        self.ui.batchApplyButton.enabled = not batch and not running
        self.ui.batchApplyButton.toolTip = batch or _("Register all scans to the template, one after the other.")
        self.training.onParameters()

    def missing(self):
        """A sentence on what is still to be chosen, or an empty text."""
        parameters = self._parameterNode
        if not parameters.template:
            return _("Choose a template volume.")
        if not parameters.target:
            return _("Choose a target volume.")
        if parameters.template == parameters.target:
            return _("Template and target are the same volume; choose two.")
        if parameters.targetSegmentation and not parameters.templateSegmentation:
            return _("Choose the template's segmentation too, or none of the target: both are needed to compare them.")
        if not parameters.model:
            return _("Choose a model.")
        if self.ui.modelComboBox.currentIndex < 0:
            return _("The model {model} is not on this computer; choose another.").format(model=parameters.model)
        return ""

    def running(self):
        return bool(self.installing or (self.run and self.run.state == "running") or self.batchJob)

    def request(self):
        """What is chosen. Results of another pair of scans are not overwritten: new ones are made."""
        parameters = self._parameterNode
        for name in OUTPUTS:
            if of_other_scans(getattr(parameters, name), parameters.template, parameters.target):
                setattr(parameters, name, None)
        values = {name: getattr(parameters, name) for name in (*INPUTS, *OUTPUTS, *OPTIONS)}
        return Request(model=self.logic.model(parameters.model), **values)

    # ---- models and devices

    def fillModels(self):
        self._models = self.logic.models()
        chosen = self._parameterNode.model if self._parameterNode else ""
        self.ui.modelComboBox.clear()
        for model in self._models:
            self.ui.modelComboBox.addItem(model.name, model.name)
        if chosen:
            select(self.ui.modelComboBox, chosen)
        self.onModelChosen()

    def chosenModel(self):
        index = self.ui.modelComboBox.currentIndex
        return self._models[index] if 0 <= index < len(self._models) else None

    def onModelChosen(self, index=None):
        model = self.chosenModel()
        self.ui.modelLabel.text = model.describe() if model else _("No model found; add a model file.")
        self.ui.removeModelButton.enabled = bool(model and not model.bundled)
        if self._parameterNode and self.ui.modelComboBox.count == len(self._models):  # not while the list is filled
            if model:
                self._parameterNode.model = model.name

    def onAddModel(self, clicked=False):
        path = qt.QFileDialog.getOpenFileName(self.parent, _("Add a model file"), "", _("SlicReg models (*.slicreg)"))
        path = path[0] if isinstance(path, tuple) else path
        if path:
            with shown_errors():
                model = model_header.add_model(path, self.logic.userModels())
                self.fillModels()
                select(self.ui.modelComboBox, model.name)

    def onRemoveModel(self, clicked=False):
        model = self.chosenModel()
        if (
            model
            and not model.bundled
            and slicer.util.confirmYesNoDisplay(_("Delete the model file {path}?").format(path=model.path))
        ):
            with shown_errors():
                model_header.remove_model(model)
                self._parameterNode.model = ""
                self.fillModels()
                self.initializeParameterNode()

    def fillDevices(self, collapsed=False):
        """Ask for the devices when they are first looked at: the driver may take seconds to answer."""
        if not collapsed and not self._devicesKnown:
            self._devicesKnown = True
            for name, text in [("cpu", _("CPU")), *self.logic.gpus()]:
                if self.ui.deviceComboBox.findData(name) < 0:
                    self.ui.deviceComboBox.addItem(text, name)

    def onDeviceChosen(self, index=None):
        if self._parameterNode and self.ui.deviceComboBox.currentIndex >= 0:
            self._parameterNode.device = selected(self.ui.deviceComboBox)

    # ---- a registration

    def onApply(self, clicked=False):
        with shown_errors():
            if (
                not self.installed() or not self._parameterNode or self.missing()
            ):  # the scene may have changed meanwhile
                return
            self.stopReview()
            self.clearResult()
            self.run = self.logic.start(self.request())
            self.showRunning(True)
            self._pollTimer.start()

    def onCancel(self, clicked=False):
        if self.run and self.run.state == "running":
            self.run.cancel()
            self.ended(_("Cancelled; the scene is as it was."))

    def onPoll(self):
        if self.batchJob:
            self.pollBatch()
        elif self.run:
            state = self.run.poll()
            if state != "running":
                self._pollTimer.stop()
            if self.run.log != self.ui.logText.plainText:
                self.ui.logText.plainText = self.run.log
            self.showProgress(self.ui.progressBar, self.ui.statusLabel, self.run)
            if state == "finished":
                self.showOutputs()
            elif state == "failed":
                self.ended(_("Failed: {reason}").format(reason=self.run.error))
                slicer.util.errorDisplay(self.run.error)

    def installed(self, training=False):
        """Whether all packages are there; those that are missing are asked for first."""
        with self.nothingElse():
            return self.logic.installed(ask=True, progress=self.showInstalling, training=training)

    @contextlib.contextmanager
    def nothingElse(self):
        """Within it nothing can be started: packages are installed, though the panel is drawn."""
        self.installing = True
        self.onParameters()
        try:
            yield
        finally:
            self.installing = False
            self.onParameters()

    def showInstalling(self, stage, share, details):
        self.ui.statusLabel.text = (
            _("Installing {packages}: this may take minutes").format(packages=details) if details else ""
        )
        slicer.app.processEvents()

    @staticmethod
    def showProgress(bar, label, run):
        bar.value = int(1000 * run.fraction)
        text = (
            _("{stage}: {percent:.0f} %")
            if run.remaining is None
            else _("{stage}: {percent:.0f} %, about {seconds:.0f} s left")
        )
        device = "\n" + run.device if run.device else ""
        label.text = text.format(stage=run.message, percent=100 * run.fraction, seconds=run.remaining or 0) + device

    def showRunning(self, running):
        self.ui.cancelButton.enabled = running and not self.batchJob
        self.ui.batchCancelButton.enabled = bool(running and self.batchJob)
        self.onParameters()

    def ended(self, text):
        self._pollTimer.stop()
        self.ui.statusLabel.text = text
        self.ui.progressBar.value = 1000 if self.run and self.run.state == "finished" else 0
        self.ui.logText.plainText = self.run.log if self.run else ""
        self.showRunning(False)

    def showOutputs(self):
        outputs = self.run.outputs
        for name in OUTPUTS:  # so that the next run updates the same nodes
            if getattr(outputs, name):
                setattr(self._parameterNode, name, getattr(outputs, name))
        report = outputs.report
        self.ended(
            _("Done in {seconds:.1f} s on {device}.").format(
                seconds=report["seconds"]["total"], device=report["device_reason"]
            )
        )
        lines = [_("{folding:.2f} % of the template's volume folds.").format(folding=report["folding_percent"])]
        if "after" in report:
            lines.append(
                _("Mean Dice {before:.3f} before, {after:.3f} after.").format(
                    before=report["before"]["mean_dice"], after=report["after"]["mean_dice"]
                )
            )
        if not report["own_template"]:
            lines.append(
                _("The template is not the one this model was trained with: its supervoxels were predicted as well.")
            )
        self.ui.summaryLabel.text = "\n".join(lines)
        fill_table(
            self.ui.resultsTable,
            [_("Segment"), _("Dice before"), _("after"), _("HD95 mm before"), _("after")],
            [
                [name, _number(dice_before), _number(dice_after), _number(hd95_before, 1), _number(hd95_after, 1)]
                for name, dice_before, dice_after, hd95_before, hd95_after in outputs.rows()
            ],
        )
        self.review = Review(self.run.request.template, self.run.request.target, outputs)
        self.enableReview(True)
        self.ui.blendButton.checked = True
        self.review.blend()
        slicer.util.resetSliceViews()

    def clearResult(self):
        self.ui.summaryLabel.text = ""
        self.ui.logText.plainText = ""
        fill_table(self.ui.resultsTable, [], [])

    # ---- judging the result

    def enableReview(self, enabled):
        for name in (*self._views, "grid"):
            button = getattr(self.ui, f"{name}Button")
            button.enabled = enabled
            button.checked = False

    def stopReview(self):
        self._flickerTimer.stop()
        if self.review and self.review.alive():
            self.review.close()
        self.review = None
        self.enableReview(False)

    def onView(self, name, on):
        """One view at a time: the others' buttons are released."""
        self._flickerTimer.stop()
        if not self.review or not self.review.alive():
            self.stopReview()
            self.ui.summaryLabel.text = _("A node of the result was removed; press Apply again to see it.")
            return
        for other in self._views:
            if other != name:
                getattr(self.ui, f"{other}Button").checked = False
        self.review.supervoxels(False)
        self._views[name](on)

    def showFlicker(self, on):
        self.review.blend(1.0 if on else 0.5)
        if on:
            self._flickerTimer.start()

    def onFlicker(self):
        if self.review and self.review.alive():
            self.review.flick()
        else:
            self._flickerTimer.stop()

    def onGrid(self, on):
        if self.review and self.review.alive():
            self.review.grid(on)

    # ---- installation and log

    def onCheckInstallation(self, clicked=False):
        with shown_errors():
            slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
            try:
                text, broken = self.logic.checkInstallation()
            finally:
                slicer.app.restoreOverrideCursor()
            self.ui.logText.plainText = text
            self.ui.logButton.collapsed = False
            if not broken:
                slicer.util.infoDisplay(text)
            elif slicer.util.confirmYesNoDisplay(text + "\n\n" + _("Install what is broken or missing now?")):
                with self.nothingElse():
                    self.logic.repair()

    def onSaveLog(self, clicked=False):
        path = qt.QFileDialog.getSaveFileName(self.parent, _("Save log"), "SlicReg.log", _("Text (*.log *.txt)"))
        path = path[0] if isinstance(path, tuple) else path
        if path:
            with shown_errors():
                pathlib.Path(path).write_text(self.logText(), encoding="utf-8")

    def logText(self):
        options = {name: getattr(self._parameterNode, name) for name in OPTIONS}
        return "\n".join(
            [
                f"Slicer {slicer.app.applicationVersion}",
                f"model {self._parameterNode.model}",
                f"options {options}",
                self.ui.statusLabel.text,
                "",
                self.ui.logText.plainText,
            ]
        )

    # ---- batch

    def onBatchApply(self, clicked=False):
        with shown_errors():
            if not self.installed() or not self._parameterNode:
                return
            parameters = self._parameterNode
            volumes = [v for v in scalar_volumes() if v is not parameters.template] if parameters.batchScene else None
            self.batch = self.logic.batch(self.request(), parameters.batchOutput, volumes, parameters.batchInput)
            self.nextOfBatch()

    def nextOfBatch(self):
        arguments = self.batch.next()
        self.batchJob = CommandProcess(arguments) if arguments else None
        self.showBatch()
        self.showRunning(bool(self.batchJob))
        self._pollTimer.start() if self.batchJob else self._pollTimer.stop()

    def pollBatch(self):
        if self.batchJob.poll():
            self.showBatch()
        if self.batchJob.state != "running":
            self.batch.record(self.batchJob)
            self.ui.logText.plainText += self.batchJob.log
            self.nextOfBatch()

    def onBatchCancel(self, clicked=False):
        self._pollTimer.stop()
        self.stopBatch()
        self.showBatch(_("Stopped; run again to go on."))
        self.showRunning(False)

    def stopBatch(self):
        if self.batchJob:
            self.batchJob.cancel()
            self.batch.record(self.batchJob)
            self.batchJob = None

    def showBatch(self, text=""):
        job = self.batchJob.progress.fraction if self.batchJob and self.batchJob.progress else 0.0
        rows = self.batch.rows()
        self.ui.batchProgressBar.value = int(1000 * (self.batch.fraction + job / len(rows)))
        self.ui.batchStatusLabel.text = "\n".join([text or self.batch.summary(), *self.batch.left_out])
        fill_table(
            self.ui.batchTable,
            [_("Scan"), _("State"), _("Seconds"), _("Folding %"), _("Error")],
            [
                [_number(row[column]) for column in ("name", "status", "seconds", "folding_percent", "error")]
                for row in rows
            ],
        )


def _number(value, digits=3):
    if value is None:
        return ""
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
