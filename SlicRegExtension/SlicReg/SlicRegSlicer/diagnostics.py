"""The buttons "Check installation" and "Save log": what a user needs for a bug report."""

from __future__ import annotations

import contextlib
import pathlib

import qt
import slicer

from .parameters import OPTIONS
from .translation import _
from .widgets import DisplayErrors, Panel, first_path


class Diagnostics:
    """Adds to the log of the Registration tab and saves it."""

    def __init__(self, panel: Panel):
        self.panel, self.ui, self.logic = panel, panel.ui, panel.logic
        self._checked = ""
        """What the last check of the installation found."""
        self.ui.checkInstallationButton.connect("clicked(bool)", self.onCheckInstallation)
        self.ui.saveLogButton.connect("clicked(bool)", self.onSaveLog)

    def showParameters(self) -> None:
        self.ui.checkInstallationButton.enabled = not self.panel.isBusy()

    def onCheckInstallation(self, clicked=False) -> None:
        """Slicer stays usable meanwhile, but nothing can be started, which would disturb the check."""
        with DisplayErrors():
            with self.panel.blockStarts(), self._say(_("Checking the installation. This takes some seconds.")):
                text, canRepair = self.logic.checkInstallation()
            self._checked = text
            self.ui.logText.plainText = self._join(self.ui.logText.plainText, text)
            self.ui.logButton.collapsed = False
            if not canRepair:
                slicer.util.infoDisplay(text)
            elif slicer.util.confirmYesNoDisplay(text + "\n\n" + _("Install what is broken or missing now?")):
                with self.panel.blockStarts(), self._say(_("Installing. This may take several minutes.")):
                    self.logic.repair()

    @contextlib.contextmanager
    def _say(self, text: str):
        """Show what is being done; afterwards what was shown before."""
        before, self.ui.statusLabel.text = self.ui.statusLabel.text, text
        slicer.app.processEvents()
        try:
            yield
        finally:
            self.ui.statusLabel.text = before

    @staticmethod
    def _join(*texts: str) -> str:
        return "\n\n".join(text for text in texts if text)

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
                self.ui.logText.plainText
                if self._checked in self.ui.logText.plainText
                else self._join(self.ui.logText.plainText, self._checked),
            ]
        )
