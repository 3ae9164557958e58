"""The models to choose from: listed, described, added and removed."""

from __future__ import annotations

import qt
import slicer

from SlicRegLib.registration.model_header import ModelHeader, add_model, remove_model

from .translation import _
from .widgets import DisplayErrors, Panel, first_path, select_data


class ModelList:
    """The combo box of models with its buttons and the description of the selected model."""

    def __init__(self, panel: Panel):
        self.panel, self.ui = panel, panel.ui
        self.models: list[ModelHeader] = []
        self._filling = False
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onChosen)
        self.ui.addModelButton.connect("clicked(bool)", self.onAdd)
        self.ui.removeModelButton.connect("clicked(bool)", self.onRemove)

    def fill(self) -> None:
        """Read the model folders again and keep the chosen model selected."""
        chosen = self.panel.parameters.model if self.panel.parameters else ""
        self.models = self.panel.logic.models()
        self._filling = True  # so that what is selected meanwhile is not taken for the user's choice
        self.ui.modelComboBox.clear()
        for model in self.models:
            self.ui.modelComboBox.addItem(model.name, model.name)
        self._filling = False
        if chosen:
            select_data(self.ui.modelComboBox, chosen)
        self.onChosen()

    def find_selected(self) -> ModelHeader | None:
        """The model that the combo box shows; None where the parameters name one that is not on this computer."""
        index = self.ui.modelComboBox.currentIndex
        return self.models[index] if 0 <= index < len(self.models) else None

    def showParameters(self) -> None:
        if self.panel.parameters.model:
            select_data(self.ui.modelComboBox, self.panel.parameters.model)

    def onChosen(self, index=None) -> None:
        if self._filling:
            return
        model = self.find_selected()
        self.ui.modelLabel.text = (
            model.describe() if model else _("No model is selected. Select one or add a model file.")
        )
        self.ui.removeModelButton.enabled = bool(model and not model.bundled)
        if self.panel.parameters and model:
            self.panel.parameters.model = model.name

    def onAdd(self, clicked=False) -> None:
        path = first_path(
            qt.QFileDialog.getOpenFileName(
                self.panel.parent, _("Add a model file"), "", _("SlicReg models (*.slicreg)")
            )
        )
        if path:
            with DisplayErrors():
                model = add_model(path, self.panel.logic.userModels())
                self.fill()
                select_data(self.ui.modelComboBox, model.name)

    def onRemove(self, clicked=False) -> None:
        model = self.find_selected()
        if not model or model.bundled:
            return
        if slicer.util.confirmYesNoDisplay(_("Delete the model file {path}?").format(path=model.path)):
            with DisplayErrors():
                remove_model(model)
                self.panel.parameters.model = ""
                self.fill()
                self.panel.chooseDefaults()
