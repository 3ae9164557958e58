"""The panel's tab "Training": shows what is asked for, starts the training and watches the folder that it works in."""

import qt
import slicer

from SlicRegLib.jobs import control, status
from SlicRegLib.jobs.status import JobState

from . import training
from .translation import _
from .widgets import select_device, selected, shown_errors, timer

CHECK_MS = 100
WATCH_MS = 1000
SETTING = "SlicReg/TrainingFolder"
MARGIN = 28  # pixels beside a picture

# field of JobOptions -> parameter; the widgets' names begin with the parameters'
PARAMETERS = {
    name: "training" + name.title().replace("_", "")
    for name in (
        "template",
        "images",
        "name",
        "preset",
        "iterations",
        "device",
        "workers",
        "labels",
        "template_label",
        "start",
    )
}
FOLDER = "trainingFolder"
PATHS = (*(PARAMETERS[name] for name in training.PATHS), FOLDER)
BUTTONS = ("Check", "Start", "Pause", "Resume", "Stop", "Curves", "Report")


class TrainingTab:
    """The glue. Its widgets, in the panel's ``ui``, and its parameters are named training...

    The check of the scans is a job of the panel and ends with it. The training is nobody's child: the tab only looks at its
    folder, from a timer while somebody works there.
    """

    def __init__(self, panel):
        self.panel, self.ui, self.logic = panel, panel.ui, panel.logic
        self.folder, self.state, self.config, self.curve = "", JobState(), {}, []
        self.curves = training.Curves()
        self.further = {}  # options that the tab does not show
        self.check, self._said = None, []  # the job that looks at the scans, and its events
        self._picture = None
        self._tips = {name: self._button(name).toolTip for name in BUTTONS}
        self._inputs = [
            widget
            for name, widget in vars(self.ui).items()
            if name.startswith(tuple(PARAMETERS.values())) and not name.endswith("Button")
        ]
        self.ui.trainingDeviceComboBox.setModel(self.ui.deviceComboBox.model())  # the same choices
        self.ui.trainingDeviceComboBox.connect("currentIndexChanged(int)", self.onDeviceChosen)
        for name in PATHS:
            self._path(name).connect("currentPathChanged(QString)", lambda path, name=name: self.onPath(name, path))
        for name in BUTTONS:
            self._button(name).connect("clicked(bool)", getattr(self, f"on{name}"))
        self._checkTimer = timer(CHECK_MS, self.onCheckTimer)
        self._watchTimer = timer(WATCH_MS, self.watch)

    def close(self):
        """The scene or the panel goes: the check ends, the training does not."""
        self._watchTimer.stop()
        self.endCheck()

    def _button(self, name):
        return getattr(self.ui, f"training{name}Button")

    def _path(self, name):
        return getattr(self.ui, f"{name}Path")

    # ---- parameters

    def adopt(self, parameters):
        """Other parameters: those that know no job folder take the one of last time, and it is looked at anew."""
        if not parameters.trainingFolder:
            parameters.trainingFolder = slicer.app.userSettings().value(SETTING, "")
        self.folder = ""

    def values(self):
        return {field: getattr(self.panel._parameterNode, name) for field, name in PARAMETERS.items()}

    def asked(self):
        values = self.values()
        return training.asked(**{**values, "iterations": values["iterations"] or None, **self.further})

    def onPath(self, name, path):
        if self.panel._parameterNode:
            setattr(self.panel._parameterNode, name, path)
            if name == FOLDER:
                slicer.app.userSettings().setValue(SETTING, path)

    def onDeviceChosen(self, index=None):
        if self.panel._parameterNode and self.ui.trainingDeviceComboBox.currentIndex >= 0:
            self.panel._parameterNode.trainingDevice = selected(self.ui.trainingDeviceComboBox)

    def onParameters(self):
        """Show the parameters that no widget is bound to, and another folder's job."""
        parameters = self.panel._parameterNode
        if parameters.trainingFolder != self.folder:
            self.folder, self.state = parameters.trainingFolder, JobState()
            self.endCheck()
            self.watch()
        self.fillIn()
        for name in PATHS:
            if self._path(name).currentPath != getattr(parameters, name):
                self._path(name).currentPath = getattr(parameters, name)
        select_device(self.ui.trainingDeviceComboBox, parameters.trainingDevice)
        self.enable()

    def fillIn(self):
        """In a folder with a job the fields say what that was asked for."""
        parameters = self.panel._parameterNode
        with slicer.util.NodeModify(parameters):
            for field, name in PARAMETERS.items():
                before = getattr(parameters, name)
                value = self.config.get(field, before) or type(before)()  # what was not given is None there
                if value != before:
                    setattr(parameters, name, value)

    def enable(self):
        """Each button only when it makes sense; its tool tip says why it does not."""
        state, values = self.state.state, self.values()
        busy = _("Wait until the packages are installed.") if self.panel.installing else ""
        busy = busy or (_("The scans are being checked.") if self.check else "")
        idle = "" if state in training.WORKING else _("No training runs.")
        ready = busy or ("" if idle else _("The training runs."))
        lacking = training.missing(values["template"], values["images"], values["name"], self.folder)
        reasons = {
            "Check": ready or (_("The scans of this training were checked when it began.") if self.config else lacking),
            "Start": ready
            or (
                _("This training is finished; choose another folder for another one.")
                if state == "finished"
                else ""
                if self.config
                else lacking
            ),
            "Pause": idle or (_("The training is paused.") if state == "paused" else ""),
            "Resume": idle or (_("The training is not paused.") if state == "running" else ""),
            "Stop": "" if self.check else idle,
            "Curves": "" if self.curve else _("There are no curves before the first validation."),
            "Report": "" if training.report(self.folder) else _("The report is written at the end of a training."),
        }
        for name, reason in reasons.items():
            self._button(name).enabled = not reason
            self._button(name).toolTip = reason or self._tips[name]
        for widget in self._inputs:
            widget.enabled = not self.config and not self.check

    # ---- the check of the scans

    def onCheck(self, clicked=False):
        with shown_errors():
            if self.panel.installed():
                self.check, self._said = self.logic.checkScans(self.asked(), self.folder), []
                self._checkTimer.start()
                self.enable()

    def onCheckTimer(self):
        self._said += self.check.poll()
        if self.check.state == "running":
            progress = self.check.progress
            self.showStatus(
                progress.fraction if progress else 0,
                _("Checking the scans: {details}").format(details=progress.message if progress else ""),
            )
            return
        job = self.check
        self.endCheck()
        self.watch()
        if job.state == "finished":
            self.showStatus(1, f"{training.check_in_words(self.folder)}\n{training.estimates(self.folder, self._said)}")
        else:
            slicer.util.errorDisplay(job.error)

    def endCheck(self):
        self._checkTimer.stop()
        if self.check:
            self.check.cancel()  # nothing to do where it has ended
            self.check = None

    # ---- the training

    def onStart(self, clicked=False):
        with shown_errors():
            if self.panel.installed(training=True):
                slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
                try:
                    self.logic.startTraining(self.folder, None if self.config else self.asked())
                finally:
                    slicer.app.restoreOverrideCursor()
                    self.watch()

    def onPause(self, clicked=False):
        self.signal(control.pause)

    def onResume(self, clicked=False):
        self.signal(control.resume)

    def onStop(self, clicked=False):
        if self.check:
            self.endCheck()
            self.watch()
        else:
            self.signal(control.stop)

    def signal(self, action):
        with shown_errors():
            try:
                action(self.folder)
            finally:
                self.watch()

    def watch(self):
        """Look at the folder and show what goes on there; go on looking while somebody works in it."""
        before = self.state.state
        self.state, self.config = training.look(self.folder)
        self.show()
        if self.state.state in training.WORKING:
            self._watchTimer.start()
        else:
            self._watchTimer.stop()
        if self.state.state == "finished" != before:
            self.panel.fillModels()
        if self.state.state == "failed" and before in training.WORKING:
            slicer.util.errorDisplay(self.state.error)

    # ---- showing

    def show(self):
        """The state of the job, or else what a check of the scans found; curves and the newest picture."""
        rows = status.read_curve(self.folder) if self.config else []
        if rows != self.curve:
            self.curve = rows
            self.curves.update(rows, self.config.get("name", ""))
        self.showStatus(
            self.state.fraction,
            training.check_in_words(self.folder)
            if self.state.state == "absent"
            else training.state_in_words(self.state, self.config, self.curve),
        )
        self.showPicture(training.picture(self.folder, self.state))
        if self.panel._parameterNode:
            self.fillIn()
            self.enable()

    def showStatus(self, fraction, text):
        self.ui.trainingProgressBar.value = int(1000 * fraction)
        self.ui.trainingStatusLabel.text = text

    def showPicture(self, path):
        """As wide as the panel at most; read again only where it changed. path: None shows nothing."""
        stamp = path and (path, path.stat().st_mtime_ns)
        if stamp == self._picture:
            return
        self._picture = stamp
        pixmap = qt.QPixmap(str(path)) if path else qt.QPixmap()
        if pixmap.width() > (width := max(200, self.ui.tabs.width - MARGIN)):
            pixmap = pixmap.scaledToWidth(width, qt.Qt.SmoothTransformation)
        self.ui.trainingPictureLabel.setPixmap(pixmap)
        self.ui.trainingPictureLabel.visible = not pixmap.isNull()

    def onCurves(self, clicked=False):
        self.curves.show(self.curve, self.config.get("name", ""))

    def onReport(self, clicked=False):
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(training.report(self.folder))))
