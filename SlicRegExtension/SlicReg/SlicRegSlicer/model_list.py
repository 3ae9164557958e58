"""The models to choose from: listed, described, added and removed."""

from __future__ import annotations

import qt
import slicer

from SlicRegLib.registration.installed_models import add_model, remove_model
from SlicRegLib.registration.model_header import AUTO, ModelHeader

from .translation import _
from .widgets import DisplayErrors, Panel, first_path, select_data, selected_data


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
        self.ui.modelComboBox.addItem(_("Automatic"), str(AUTO))
        for model in self.models:
            self.ui.modelComboBox.addItem(" - ".join(filter(None, [model.name, describe_mark(model)])), model.name)
        self._filling = False
        if chosen:
            select_data(self.ui.modelComboBox, chosen)
        self.onChosen()

    def find_selected(self) -> ModelHeader | None:
        """The model that the combo box shows; None for "Automatic", and where the parameters name one that is not on
        this computer."""
        index = self.ui.modelComboBox.currentIndex - 1
        return self.models[index] if 0 <= index < len(self.models) else None

    def holdsTemplate(self) -> bool:
        """Whether the chosen model holds a template, so that a registration needs a target only; with "Automatic",
        whether any model does."""
        model = self.find_selected()
        if model:
            return model.holds_template
        chosen = selected_data(self.ui.modelComboBox) == str(AUTO)
        return chosen and any(header.holds_template for header in self.models)

    def chooseDefault(self) -> None:
        """Choose what the list shows, which is "Automatic" at first, unless a model is chosen."""
        if not self.panel.parameters.model:
            self.panel.parameters.model = selected_data(self.ui.modelComboBox) or str(AUTO)

    def showParameters(self) -> None:
        if self.panel.parameters.model:
            select_data(self.ui.modelComboBox, self.panel.parameters.model)

    def onChosen(self, index=None) -> None:
        if self._filling:
            return
        model, chosen = self.find_selected(), selected_data(self.ui.modelComboBox)
        self.ui.modelLineLabel.text = self._summarise(model, chosen)
        self.ui.modelLabel.text = model.describe() if model else "\n".join(map(_name_and_summarise, self.models))
        self.ui.removeModelButton.enabled = bool(model and not model.bundled)
        if self.panel.parameters and chosen:
            self.panel.parameters.model = chosen

    @staticmethod
    def _summarise(model: ModelHeader | None, chosen: str | None) -> str:
        """One line on what is chosen."""
        if model:
            own = describe_own_template(model)
            return f"{_end_sentence(model.summary)} {own}" if own else model.summary
        if chosen:
            return _("The installed model that knows the scans best.")
        return _("No model is selected. Select one or add a model file.")

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
                self.panel.parameters.model = str(AUTO)
                self.fill()
                self.panel.chooseDefaults()


def describe_mark(model: ModelHeader) -> str:
    """What stands beside the name of a model that should not be used without care."""
    return _("cannot be used") if model.problem else model.mark


def describe_own_template(model: ModelHeader) -> str:
    """A sentence on the template that a model holds; "" where it holds none."""
    if not model.holds_template:
        return ""
    if not model.average_scans:
        return _("It holds its template.")
    if not model.organs:
        return _("It holds the average of {n} scans.").format(n=model.average_scans)
    return _("It holds the average of {n} scans with {organs} organs.").format(
        n=model.average_scans, organs=len(model.organs)
    )


def _end_sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _name_and_summarise(model: ModelHeader) -> str:
    return f"{model.name}: {model.summary}"
