"""The Batch tab: registers many scans to the template, one after another."""

from __future__ import annotations

from contextlib import ExitStack

from SlicRegLib.jobs.batch import CANCELLED, Batch, Row
from SlicRegLib.jobs.batch_folder import hold_batch_folder
from SlicRegLib.jobs.command import Command
from SlicRegLib.jobs.outcome import Outcome
from SlicRegLib.jobs.worker_pool import POOL
from SlicRegLib.registration.verdict_text import GOOD

from .result_nodes import list_scans
from .translation import _
from .verdict_view import describe_word
from .widgets import DisplayErrors, Panel, fill_table, format_cell, make_timer

POLL_MS = 50


class BatchTab:
    """``batch`` is the current one or the last one; ``process`` registers its current scan, None while nothing runs."""

    def __init__(self, panel: Panel, makeRequest):
        """makeRequest: returns the Registration tab's request, whose template, model and options the batch takes."""
        self.panel, self.ui, self.logic, self._makeRequest = panel, panel.ui, panel.logic, makeRequest
        self.batch: Batch | None = None
        self.process: Command | None = None
        self.startProcess = _register  # called with the arguments of `slicreg`
        self._held = ExitStack()  # the batch's folder
        self._timer = make_timer(POLL_MS, self.onTimer)
        self.ui.batchApplyButton.connect("clicked(bool)", self.onApply)
        self.ui.batchCancelButton.connect("clicked(bool)", self.onCancel)

    def isRunning(self) -> bool:
        return self.process is not None

    def close(self) -> None:
        """The scene or the panel goes away: end the current registration; a repeated batch resumes there."""
        self._timer.stop()
        self._cancel()
        self.ui.batchCancelButton.enabled = False

    def clear(self) -> None:
        self.ui.batchStatusLabel.text = ""
        self.ui.batchProgressBar.value = 0

    def showParameters(self) -> None:
        """Enable the start button; its tool tip says what is missing."""
        missing = self.findMissing()
        self.ui.batchInputPath.enabled = not self.panel.parameters.batchScene
        self.ui.batchApplyButton.enabled = not missing and not self.panel.isBusy()
        self.ui.batchApplyButton.toolTip = missing or _("Register all scans to the template, one after another.")

    def findMissing(self) -> str:
        """A sentence that says what must still be chosen; "" if nothing."""
        parameters = self.panel.parameters
        if not parameters.template or not parameters.model:
            return _("Choose a template volume and a model on the Registration tab.")
        empty = ("", ".")  # of a pathlib.Path
        if str(parameters.batchOutput) in empty or (not parameters.batchScene and str(parameters.batchInput) in empty):
            return _("Choose the scans and an output folder.")
        return ""

    # ---- running

    def onApply(self, clicked=False) -> None:
        with DisplayErrors():
            if not self.panel.ensureInstalled() or not self.panel.parameters:
                return
            parameters = self.panel.parameters
            volumes = [v for v in list_scans() if v is not parameters.template] if parameters.batchScene else None
            batch = self.logic.batch(self._makeRequest(), parameters.batchOutput, volumes, parameters.batchInput)
            self._held.enter_context(hold_batch_folder(batch.out))
            self.batch = batch
            self._continue()

    def onTimer(self) -> None:
        if self.process.poll():
            self._show()
        if self.process.state != "running":
            with DisplayErrors():
                self._continue(self.process)

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
                self.ui.logText.plainText += ended.log
            if arguments := self.batch.next():
                self.process = self.startProcess(arguments)
        finally:
            self._showState()

    def _showState(self) -> None:
        if not self.process:
            for name in self.batch.running():  # which could not be started
                self.batch.record(Outcome(CANCELLED, "", 0.0), name)
            self._held.close()
        self._show()
        self.ui.batchCancelButton.enabled = self.isRunning()
        self.panel.showParameters()
        if self.process:
            self._timer.start()
        else:
            self._timer.stop()

    def _cancel(self) -> None:
        if self.process:
            self.process.cancel()
            self.batch.record(self.process)
            self.process = None
        self._held.close()

    # ---- showing

    def _show(self, text: str = "") -> None:
        """Progress, the batch's own summary or ``text``, and the table of scans."""
        rows = self.batch.rows()
        current = self.process.progress.fraction if self.process and self.process.progress else 0.0
        fraction = self.batch.fraction + current / len(rows)
        self.ui.batchProgressBar.value = int(self.ui.batchProgressBar.maximum * fraction)
        self.ui.batchStatusLabel.text = "\n".join([text or self.batch.summary(), *self.batch.left_out])
        fill_table(
            self.ui.batchTable,
            [_("Scan"), _("State"), _("Verdict"), _("Seconds"), _("Folding, %"), _("What to look at")],
            [_format_row(row) for row in rows],
        )


def _register(arguments: list[str]) -> Command:
    return POOL.register(arguments[1:])


def _format_row(row: Row) -> list[str]:
    """The cells of a scan; the last one has the error, or the verdict's sentence unless it is good, and the notes."""
    figures = [format_cell(row[column]) for column in ("seconds", "folding_percent")]
    reason = "" if row["verdict"] == GOOD else row["verdict_reason"]
    look = row["error"] or " ".join(part for part in (reason, row["notes"]) if part)
    return [row["name"], row["status"], describe_word(row["verdict"]), *figures, look]
