"""The Training tab: shows the options of a training, starts it and watches its job folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import qt
import slicer

from SlicRegLib.jobs import control
from SlicRegLib.jobs.command import LogLine
from SlicRegLib.jobs.command_process import CommandProcess
from SlicRegLib.jobs.options import MAY_CHANGE, JobOptions, read_options
from SlicRegLib.jobs.status import JobState
from SlicRegLib.jobs.view import JobView, view_job

from .finished_model import find_finished_model
from .path_fields import PathFields
from .training_buttons import BUTTONS, find_next_folder, find_reasons, is_finished
from .training_nodes import LossChart
from .training_pictures import PictureLabel
from .training_request import (
    FOLDER,
    PARAMETERS,
    PATHS,
    TEMPLATE_FILE,
    find_inputs,
    find_missing_input,
    make_job_options,
    write_template,
)
from .training_words import describe_state
from .translation import _
from .widgets import DisplayErrors, Panel, WaitCursor, make_timer

CHECK_MS = 100
WATCH_MS = 1000
SETTING = "SlicReg/TrainingFolder"
"""The application setting that remembers the last job folder."""


class TrainingTab:
    """The tab that checks scans and trains a model. Names of its widgets and parameters begin with "training".

    The check of the scans is a child process of the panel and ends with it. The training is an independent process that
    survives Slicer; the tab only looks at the job folder, repeatedly while a process works there.
    """

    def __init__(self, panel: Panel, onModelFinished):
        """onModelFinished: called when a training that was watched has put its model into the user's models."""
        self.panel, self.ui, self.logic, self._onModelFinished = panel, panel.ui, panel.logic, onModelFinished
        self.folder = ""
        self.job = JobView()
        self.check: CommandProcess | None = None
        self._checkLines: list[str] = []
        self.chart = LossChart()
        self.extraOptions: dict = {}
        """Options of `JobOptions` that the tab does not show."""
        self._filledFrom = ""
        """The folder whose job has filled the form. From then on the user may change what another job can have, after a
        finished one, or what may change when this one is resumed."""
        self.picture = PictureLabel(self.ui.trainingPictureLabel, self.ui.tabs)
        self.checkPicture = PictureLabel(self.ui.trainingCheckPictureLabel, self.ui.tabs)
        self._tips = {name: self._button(name).toolTip for name in BUTTONS}
        self._inputs = {option: find_inputs(self.ui, parameter) for option, parameter in PARAMETERS.items()}
        self._paths = PathFields(panel, PATHS, self.onPath)
        self._own: dict | None = None
        """What the user had entered before the options of the folder's job were shown instead; None without a job."""
        for name in BUTTONS:
            self._button(name).connect("clicked(bool)", getattr(self, f"on{name}"))
        self._checkTimer = make_timer(CHECK_MS, self.onCheckTimer)
        self._watchTimer = make_timer(WATCH_MS, self.watch)

    def close(self) -> None:
        """The scene or the panel goes away: the check ends, the training continues."""
        self._watchTimer.stop()
        self._endCheck()

    def _button(self, name: str):
        return getattr(self.ui, f"training{name}Button")

    # ---- parameters

    def useParameters(self, parameters) -> None:
        """Called before the panel shows other parameters. Those without a job folder get the last one that was used."""
        if not parameters.trainingFolder:
            parameters.trainingFolder = slicer.app.userSettings().value(SETTING, "")
        self.folder, self._own, self._filledFrom = "", None, ""  # look at it again

    def makeOptions(self) -> JobOptions:
        """The options that are shown. A template of the scene is written into the job folder. Raises UserError, see
        `make_job_options`."""
        values = {**self._values(), **self.extraOptions}
        values["iterations"] = values["iterations"] or None
        if volume := self.panel.parameters.trainingTemplateVolume:
            make_job_options({**values, "template": values["images"]})  # so that no other mistake leaves a file
            write_template(volume, self.folder)
        return make_job_options(values)

    def _values(self) -> dict:
        values = {option: getattr(self.panel.parameters, name) for option, name in PARAMETERS.items()}
        if self.panel.parameters.trainingTemplateVolume and self.folder:
            values["template"] = str(Path(self.folder) / TEMPLATE_FILE)
        return values

    def onPath(self, name: str, path: str) -> None:
        if name == FOLDER:
            slicer.app.userSettings().setValue(SETTING, path)

    def showParameters(self) -> None:
        """Show the paths, which have no connector to parameters, and the job of a folder that was chosen."""
        parameters = self.panel.parameters
        if parameters.trainingFolder != self.folder:
            self._leaveJob(parameters.trainingFolder)
            self._filledFrom = ""
            self.folder, self.job = parameters.trainingFolder, replace(self.job, state=JobState())
            self._endCheck()
            self.watch()
        self._fillIn()
        self._paths.showParameters()
        self._enable()

    def _leaveJob(self, folder: str) -> None:
        """Before another folder is looked at. If its path was typed on past the job's, nobody wanted that job: what the
        user had entered comes back. Otherwise the job's options stay, as a start for the next one."""
        own, self._own = self._own, None
        if (
            own
            and not self._isEdited()
            and self.folder
            and (folder.startswith(self.folder) or folder == self.folder[:-1])
        ):
            with slicer.util.NodeModify(self.panel.parameters):
                for name, value in own.items():
                    setattr(self.panel.parameters, name, value)

    def _isEdited(self) -> bool:
        """Whether the form shows other options than those of the finished job."""
        values = {option: getattr(self.panel.parameters, name) for option, name in PARAMETERS.items()}
        config = self.job.config
        return is_finished(self.job) and any((config.get(o, v) or type(v)()) != v for o, v in values.items())

    def _fillIn(self) -> None:
        """Set the parameters to the options of the folder's job, if there is one. Those of a finished job are only a
        start for the next one, and so are those that may change when a job is resumed."""
        parameters, filled = self.panel.parameters, self._filledFrom == self.folder
        if filled and is_finished(self.job):
            return
        if self.job.config and self._own is None:
            self._own = {name: getattr(parameters, name) for name in PARAMETERS.values()}
        with slicer.util.NodeModify(parameters):
            for option, name in PARAMETERS.items():
                if option in MAY_CHANGE and filled and not self.job.is_active:
                    continue
                before = getattr(parameters, name)
                value = self.job.config.get(option, before) or type(before)()  # job.json may hold None
                if value != before:
                    setattr(parameters, name, value)
            if self.job.config:
                parameters.trainingTemplateVolume = None  # the file is in the job's options
        self._filledFrom = self.folder if self.job.config else ""

    def _enable(self) -> None:
        """Enable what makes sense now; the tool tips of the other buttons give the reason."""
        for name, reason in self._findReasons().items():
            self._button(name).enabled = not reason
            self._button(name).toolTip = reason or self._tips[name]
        paused = self.job.state.state == "paused"
        self.ui.trainingPauseButton.text = _("Resume") if paused else _("Pause")
        if paused:
            self.ui.trainingPauseButton.toolTip = _("Continue the paused training.")
        for option, widgets in self._inputs.items():
            free = not self.job.config or is_finished(self.job) or (option in MAY_CHANGE and not self.job.is_active)
            for widget in widgets:
                widget.enabled = free and not self.check
        volume = self.panel.parameters.trainingTemplateVolume
        self.ui.trainingTemplatePath.enabled = self.ui.trainingTemplatePath.enabled and not volume

    def _findNextFolder(self) -> str:
        return find_next_folder(self.job, self.folder, self.panel.parameters.trainingName)

    def _findReasons(self) -> dict[str, str]:
        busy = _("Wait until the packages are installed.") if self.panel.installing else ""
        busy = busy or (_("The scans are being checked.") if self.check else "")
        missing = find_missing_input(self._values(), self.folder)
        return find_reasons(self.job, busy, bool(self.check), missing, self._findNextFolder())

    # ---- the check of the scans

    def onCheck(self, clicked=False) -> None:
        with DisplayErrors():
            if self.panel.ensureInstalled():
                self.check = self.logic.checkScans(self.makeOptions(), self.folder)
                self._checkLines = []
                self._checkTimer.start()
                self._enable()

    def onCheckTimer(self) -> None:
        check = self.check
        self._checkLines += [event.text for event in check.poll() if isinstance(event, LogLine)]
        if check.state == "running":
            progress = check.progress
            text = _("Checking the scans: {details}").format(details=progress.message if progress else "")
            self._showStatus(progress.fraction if progress else 0, text)
            return
        self._endCheck()
        self.watch()
        if check.state == "finished":
            printed = "\n".join(self._checkLines)  # warnings, then the findings and what the training will cost
            self._showStatus(1, printed[max(0, printed.find(self.job.findings)) :])
        else:
            slicer.util.errorDisplay(check.error)

    def _endCheck(self) -> None:
        self._checkTimer.stop()
        if self.check:
            self.check.cancel()
            self.check = None

    # ---- the training

    def onStart(self, clicked=False) -> None:
        with DisplayErrors():
            if self.panel.ensureInstalled():
                try:
                    with WaitCursor(), self.panel.blockStarts():
                        self._openNextFolder()
                        options = self._changeOptions() if self.job.config else self.makeOptions()
                        self.logic.startTraining(self.folder, options)
                finally:
                    self.watch()

    def _changeOptions(self) -> JobOptions | None:
        """Those of the job that is to be resumed, with what was changed in the form; None where nothing was."""
        chosen = {o: v for o, v in self._values().items() if o in MAY_CHANGE and v != self.job.config.get(o)}
        return replace(read_options(self.folder), **chosen) if chosen else None

    def _openNextFolder(self) -> None:
        """After a finished job, go on in the folder of the next one."""
        if folder := self._findNextFolder():
            self._own = None  # the form is the next job's
            self.panel.parameters.trainingFolder = folder
            self.onPath(FOLDER, folder)
            self.showParameters()

    def onPause(self, clicked=False) -> None:
        self._control(control.resume if self.job.state.state == "paused" else control.pause)

    def onStop(self, clicked=False) -> None:
        if self.check:
            self._endCheck()
            self.watch()
        else:
            self._control(control.stop)

    def _control(self, action) -> None:
        with DisplayErrors():
            try:
                action(self.folder)
            finally:
                self.watch()

    def watch(self) -> None:
        """Look at the folder and show its job; repeat while a process works in it."""
        before, self.job = self.job, view_job(self.folder)
        if self.job.curve != before.curve:
            self.chart.update(self.job.curve, self._title())
        self._show()
        if self.job.is_active:
            self._watchTimer.start()
        else:
            self._watchTimer.stop()
        if self.job.state.state == "finished" != before.state.state:
            self._onModelFinished()
        if self.job.state.state == "failed" and before.is_active:
            slicer.util.errorDisplay(self.job.state.error)

    # ---- showing

    def _show(self) -> None:
        job = self.job
        absent = job.state.state == "absent"
        text = job.findings if absent else describe_state(job.state, job.config, job.curve)
        self._showStatus(job.state.fraction, text)
        self.picture.show(job.picture)
        self.checkPicture.show(None if absent else job.check_picture)
        if self.panel.parameters:
            self._fillIn()
            self._enable()

    def _showStatus(self, fraction: float, text: str) -> None:
        self.ui.trainingProgressBar.value = int(self.ui.trainingProgressBar.maximum * fraction)
        self.ui.trainingStatusLabel.text = text

    def _title(self) -> str:
        return self.job.config.get("name", "")

    def onCurves(self, clicked=False) -> None:
        self.chart.show(self.job.curve, self._title())

    def onReport(self, clicked=False) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.job.report)))

    def onUse(self, clicked=False) -> None:
        """Choose the finished model on the Registration tab, and open that."""
        with DisplayErrors():
            model = find_finished_model(Path(self.folder), self.job.config["name"], self.logic.userModels())
            self._onModelFinished()
            self.panel.parameters.model = model.name
            self.ui.tabs.setCurrentWidget(self.ui.registrationTab)
