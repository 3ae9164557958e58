"""The list of presets of a registration; the raw numbers show for the preset "Custom" alone."""

from __future__ import annotations

from SlicRegLib.registration.options import MODES

from .request import CUSTOM
from .translation import _
from .widgets import Panel, select_data, selected_data

TEXTS = {"default": _("Default"), "fast": _("Fast"), "published": _("As published"), CUSTOM: _("Custom")}
EXPLANATIONS = {
    "default": _("The whole method."),
    "fast": _("Half the steps of the refinement, in three quarters of the time."),
    "published": _("The method of the paper: from the centres of mass, without refinement."),
    CUSTOM: _("The numbers below."),
}


class ModeList:
    """The combo box of presets; ``parameters.mode`` is one of `MODES` or `CUSTOM`."""

    def __init__(self, panel: Panel):
        self.panel, self.ui = panel, panel.ui
        for mode in (*MODES, CUSTOM):
            self.ui.modeComboBox.addItem(TEXTS[mode], mode)
        self.ui.modeComboBox.connect("currentIndexChanged(int)", self.onChosen)
        self._show("default")

    def showParameters(self) -> None:
        mode = self.panel.parameters.mode
        select_data(self.ui.modeComboBox, mode if mode in TEXTS else "default")
        self._show(selected_data(self.ui.modeComboBox))

    def onChosen(self, index=None) -> None:
        mode = selected_data(self.ui.modeComboBox)
        if self.panel.parameters and mode:
            self.panel.parameters.mode = mode
        self._show(mode)

    def _show(self, mode: str) -> None:
        self.ui.customOptions.visible = mode == CUSTOM
        self.ui.modeLabel.text = EXPLANATIONS[mode]
