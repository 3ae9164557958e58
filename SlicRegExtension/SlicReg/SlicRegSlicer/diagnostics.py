"""The buttons "Check installation" and "Save log": what a user needs for a bug report."""

from __future__ import annotations

import pathlib

import qt
import slicer

from .parameters import OPTIONS
from .translation import _
from .widgets import DisplayErrors, Panel, WaitCursor, first_path


class Diagnostics:
    """Writes to the log of the Registration tab and saves it."""

    def __init__(self, panel: Panel):
        self.panel, self.ui, self.logic = panel, panel.ui, panel.logic
        self.ui.checkInstallationButton.connect("clicked(bool)", self.onCheckInstallation)
        self.ui.saveLogButton.connect("clicked(bool)", self.onSaveLog)

    def showParameters(self) -> None:
        self.ui.checkInstallationButton.enabled = not self.panel.installing

    def onCheckInstallation(self, clicked=False) -> None:
        with DisplayErrors():
            with WaitCursor():
                text, broken = self.logic.checkInstallation()
            self.ui.logText.plainText = text
            self.ui.logButton.collapsed = False
            if not broken:
                slicer.util.infoDisplay(text)
            elif slicer.util.confirmYesNoDisplay(text + "\n\n" + _("Install what is broken or missing now?")):
                with self.panel.blockStarts():
                    self.logic.repair()

    def onSaveLog(self, clicked=False) -> None:
        path = first_path(
            qt.QFileDialog.getSaveFileName(self.panel.parent, _("Save log"), "SlicReg.log", _("Text (*.log *.txt)"))
        )
        if path:
            with DisplayErrors():
                pathlib.Path(path).write_text(self._logText(), encoding="utf-8")

    def _logText(self) -> str:
        parameters = self.panel.parameters
        options = {name: getattr(parameters, name) for name in OPTIONS}
        return "\n".join(
            [
                f"Slicer {slicer.app.applicationVersion}",
                f"model {parameters.model}",
                f"options {options}",
                self.ui.statusLabel.text,
                "",
                self.ui.logText.plainText,
            ]
        )
