"""The Batch tab: registers many scans to the template, one after another."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from SlicRegLib.errors import UserError
from SlicRegLib.jobs.batch import Batch
from SlicRegLib.jobs.batch_folder import hold_batch_folder
from SlicRegLib.jobs.batch_rows import CANCELLED, WAITING
from SlicRegLib.jobs.command import Command
from SlicRegLib.jobs.outcome import Outcome
from SlicRegLib.jobs.worker_pool import POOL

from .batch_results_view import BatchResultsView
from .batch_words import BatchCounts, count_results, describe_running, estimate_remaining, shorten
from .path_fields import PathFields
from .result_nodes import list_scans
from .scene_batch import BatchPreparation, find_segmentation, list_targets, match_labels
from .translation import _
from .widgets import DisplayErrors, Panel, make_timer

POLL_MS = 50
COUNT_MS = 400
"""A folder is read when its path has not changed for so long."""


class BatchTab:
    """``batch`` is the current one or the last one; ``process`` registers its current scan, None while nothing runs."""

    def __init__(self, panel: Panel, makeRequest, showResult):
        """makeRequest: returns the Registration tab's request, whose template, model and options the batch takes.
        showResult: as for `BatchResultsView`."""
        self.panel, self.ui, self.logic, self._makeRequest = panel, panel.ui, panel.logic, makeRequest
        self.batch: Batch | None = None
        self.preparation: BatchPreparation | None = None  # while the scans are being written
        self.process: Command | None = None
        self.startProcess = _register  # called with the arguments of `slicreg`
        self.results = BatchResultsView(panel, showResult)
        self._held = ExitStack()  # the batch's folder
        self._seconds: list[float] = []  # of each registration of this run
        self._began = 0.0  # when the current one began
        self._counted: tuple | None = None  # what has been counted
        self._timer = make_timer(POLL_MS, self.onTimer)
        self._countTimer = make_timer(COUNT_MS, self.onCountTimer)
        self.ui.batchApplyButton.connect("clicked(bool)", self.onApply)
        self.ui.batchCancelButton.connect("clicked(bool)", self.onCancel)
        self._paths = PathFields(panel, ("batchInput", "batchOutput", "batchLabels"))

    def isRunning(self) -> bool:
        return self.process is not None or self.preparation is not None

    def close(self) -> None:
        """The scene or the panel goes away: end the current registration; a repeated batch resumes there."""
        self._timer.stop()
        self._countTimer.stop()
        self._cancel()
        self.ui.batchCancelButton.enabled = False

    def clear(self) -> None:
        """The scene was closed."""
        self.results.forget()
        self._clearProgress()

    def _clearProgress(self) -> None:
        self.ui.batchStatusLabel.text = ""
        self.ui.batchProgressBar.value = 0

    # ---- parameters

    def showParameters(self) -> None:
        """Enable the start button; its tool tip says what is missing. Count the scans after a change."""
        parameters = self.panel.parameters
        self._paths.showParameters()
        missing = self.findMissing()
        for widget in (self.ui.batchInputPath, self.ui.batchLabelsPath):
            widget.enabled = not parameters.batchScene
        self.ui.batchApplyButton.enabled = not missing and not self.panel.isBusy()
        if parameters.template:
            ready = _("Register all scans to the template, one after another.")
        else:
            ready = _("Segment all scans by the model's own template, one after another.")
        self.ui.batchApplyButton.toolTip = missing or ready
        self.results.showOutput(parameters.batchOutput)
        if self._listChosen() != self._counted:
            self._countTimer.start()

    def findMissing(self) -> str:
        """A sentence that says what must still be chosen; "" if nothing."""
        parameters = self.panel.parameters
        if not parameters.model or not (parameters.template or self.panel.models.holdsTemplate()):
            return _("Choose a template volume and a model on the Registration tab.")
        if not parameters.batchOutput or not (parameters.batchScene or parameters.batchInput):
            return _("Choose the scans and an output folder.")
        return ""

    # ---- counting

    def _listChosen(self) -> tuple:
        """All that the counts depend on, as far as it can be told without reading folders."""
        parameters = self.panel.parameters
        nodes = (parameters.template, parameters.templateSegmentation)
        paths = (parameters.batchInput, parameters.batchLabels, parameters.batchOutput)
        scene = tuple(node.GetID() for node in list_scans()) if parameters.batchScene else None
        return (*(node and node.GetID() for node in nodes), *paths, scene, parameters.model)

    def onCountTimer(self) -> None:
        self._countTimer.stop()
        if self.panel.parameters:
            self._counted = self._listChosen()
            try:
                counts = self.count()
                parameters = self.panel.parameters
                has_labels = bool(parameters.templateSegmentation or not parameters.template)
                text = counts.describe(has_labels) if counts else ""
            except (UserError, OSError) as error:
                text = str(error)
            self.ui.batchCountLabel.text = text

    def count(self) -> BatchCounts | None:
        """The scans that a batch would register; None where nothing is chosen. Raises UserError as the batch would."""
        parameters = self.panel.parameters
        out = parameters.batchOutput
        if parameters.batchScene:
            volumes = self._listVolumes()
            labelled = sum(find_segmentation(volume) is not None for volume in volumes)
            return BatchCounts(len(volumes), labelled, count_results([volume.GetName() for volume in volumes], out))
        folder = parameters.batchInput
        if not folder:
            return None
        targets = list_targets(folder, parameters.template)
        labelled = len(match_labels(targets, parameters.batchLabels))
        return BatchCounts(len(targets), labelled, count_results([name for name, _path in targets], out))

    def _listVolumes(self) -> list:
        return [volume for volume in list_scans() if volume is not self.panel.parameters.template]

    # ---- running

    def onApply(self, clicked=False) -> None:
        with DisplayErrors():
            if not self.panel.ensureInstalled() or not self.panel.parameters or self.findMissing():
                return
            parameters, request = self.panel.parameters, self._makeRequest()
            out = Path(parameters.batchOutput)
            volumes, folder, labels = None, parameters.batchInput, parameters.batchLabels
            if parameters.batchScene:
                volumes, folder, labels = self._listVolumes(), None, ""
            self.preparation = BatchPreparation(request, out, volumes, folder, labels)
            try:
                self._held.enter_context(hold_batch_folder(out))
            except BaseException:
                self.preparation = None
                raise
            self.batch, self._seconds = None, []
            self.results.begin(request, self.preparation.nodes)
            self._showState()

    def onTimer(self) -> None:
        with DisplayErrors():
            if self.preparation:
                self._prepare()
                return
            if self.process.poll():
                self._show()
            if self.process.state != "running":
                self._continue(self.process)

    def _prepare(self) -> None:
        """Write one more node; start the batch when all are written."""
        preparation, ready = self.preparation, False
        try:
            if preparation.step():
                text = _("Writing the scans of the scene: {n} of {total}.")
                self.ui.batchStatusLabel.text = text.format(n=preparation.written, total=preparation.total)
                ready = True
                return
            self.batch, self.preparation, ready = preparation.make(), None, True
        finally:
            if not ready:
                self.preparation = None
                self._showState()
        self._continue()

    def onCancel(self, clicked=False) -> None:
        self.close()
        self._show(_("Stopped. Run the batch again to resume."))
        self.panel.showParameters()

    def _continue(self, ended: Command | None = None) -> None:
        """Enter the registration that has ``ended`` and start the next one. The batch ends where there is none, and
        where one cannot be started."""
        self.process = None
        try:
            if ended:
                self.batch.record(ended)
                self._seconds.append(time.monotonic() - self._began)
                self.ui.logText.plainText += ended.log
            if arguments := self.batch.next():
                self._began = time.monotonic()
                self.process = self.startProcess(arguments)
        finally:
            self._showState()

    def _showState(self) -> None:
        if not self.isRunning():
            for name in self.batch.running() if self.batch else ():  # which could not be started
                self.batch.record(Outcome(CANCELLED, "", 0.0), name)
            self._held.close()
            self._counted = None  # there are new results
        self._show()
        self.ui.batchCancelButton.enabled = self.isRunning()
        self.panel.showParameters()
        if self.isRunning():
            self._timer.start()
        else:
            self._timer.stop()

    def _cancel(self) -> None:
        if self.process:
            self.process.cancel()
            self.batch.record(self.process)
        self.process = self.preparation = None
        self._held.close()

    # ---- showing

    def _show(self, text: str = "") -> None:
        """Progress, how far the batch is or its own summary or ``text``, and the table of scans."""
        if not self.batch:
            self._clearProgress()
            self.ui.batchStatusLabel.text = text
            self.results.showWaiting(self.preparation.list_names() if self.preparation else [])
            return
        rows = self.batch.rows()
        current = self.process.progress if self.process else None
        fraction = self.batch.fraction + (current.fraction if current else 0.0) / len(rows)
        self.ui.batchProgressBar.value = int(self.ui.batchProgressBar.maximum * fraction)
        if self.process:
            waiting = sum(row["status"] == WAITING for row in rows)
            elapsed = time.monotonic() - self._began
            remaining = estimate_remaining(self._seconds, waiting, elapsed, current.remaining if current else None)
            text = describe_running(rows, ", ".join(self.batch.running()), remaining)
        said = text or self.batch.summary()
        self.ui.batchStatusLabel.text = shorten([*said.splitlines(), *self.batch.left_out])
        self.results.show(self.batch)


def _register(arguments: list[str]) -> Command:
    return POOL.register(arguments[1:])
