"""The button that adds the template of a model to the scene as an ordinary volume."""

from __future__ import annotations

from pathlib import Path

import slicer
import slicer.util

from .own_template import load_own_template, show_in_lists
from .result_nodes import ResultNodes
from .translation import _
from .widgets import DisplayErrors, Panel, WaitCursor


class OwnTemplateButton:
    """Loads the template of the chosen model; with "Automatic", of the one that the last registration took."""

    def __init__(self, panel: Panel):
        self.panel, self.ui = panel, panel.ui
        self._tip = self.ui.ownTemplateButton.toolTip
        self.ui.ownTemplateButton.connect("clicked(bool)", self.onClicked)

    def showParameters(self) -> None:
        """Enable the button where there is something to load; its tool tip says why there is not."""
        reason = ""
        if not self._findModel():
            chosen = self.panel.models.find_selected()
            reason = (
                _("The chosen model holds no template of its own.")
                if chosen
                else _("Choose a model; which one Automatic takes is known after a registration.")
            )
        self.ui.ownTemplateButton.enabled = not reason and not self.panel.installing
        self.ui.ownTemplateButton.toolTip = reason or self._tip

    def onClicked(self, clicked=False) -> None:
        """Show the template in the views, unless they show a result, which the average is a part of."""
        model = self._findModel()
        if not model or not self.panel.ensureInstalled():
            return
        nodes = ResultNodes()
        with DisplayErrors(), WaitCursor():
            try:
                loaded = load_own_template(model, nodes)
            except BaseException:
                nodes.discard()
                raise
            show_in_lists(loaded)
            if not self.panel.registration.views.review:
                slicer.util.setSliceViewerLayers(background=loaded.volume, foreground=None, label=None, fit=True)

    def _findModel(self) -> Path | None:
        """The model's file; None where there is nothing to load."""
        model, run = self.panel.models.find_selected(), self.panel.registration.run
        if model:
            return model.path if model.holds_template else None
        if run and run.state == "finished" and not run.request.template:
            return Path(run.outputs.report["model"])
        return None
