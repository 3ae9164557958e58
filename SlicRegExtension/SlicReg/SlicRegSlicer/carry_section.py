"""The section "Points and models" of the Registration tab: carries markups and models along a registration."""

from __future__ import annotations

from .carry import TO_TARGET, TO_TEMPLATE, carry_node
from .translation import _
from .widgets import DisplayErrors, Panel, selected_data


class CarrySection:
    """Its selectors are no parameters: what is carried is chosen anew each time."""

    def __init__(self, panel: Panel):
        self.panel, self.ui = panel, panel.ui
        self._transform = ""  # ID of the last result's
        self.ui.carryDirectionComboBox.addItem(_("From the template to the target"), TO_TARGET)
        self.ui.carryDirectionComboBox.addItem(_("From the target to the template"), TO_TEMPLATE)
        self._tip = self.ui.carryApplyButton.toolTip
        for selector in (self.ui.carryNodeSelector, self.ui.carryTransformSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self.onChosen)
        self.ui.carryApplyButton.connect("clicked(bool)", self.onApply)

    def showParameters(self) -> None:
        """Choose the transform of the last result, once."""
        transform = self.panel.parameters.transform
        id_ = transform.GetID() if transform else ""
        if id_ != self._transform:
            self._transform = id_
            if transform:
                self.ui.carryTransformSelector.setCurrentNode(transform)
        self._enable()

    def onChosen(self, node=None) -> None:
        self.ui.carryLabel.text = ""
        self._enable()

    def _enable(self) -> None:
        missing = ""
        if not self.ui.carryNodeSelector.currentNode():
            missing = _("Choose markups or a model.")
        elif not self.ui.carryTransformSelector.currentNode():
            missing = _("Choose the transform of a registration.")
        self.ui.carryApplyButton.enabled = not missing
        self.ui.carryApplyButton.toolTip = missing or self._tip

    def onApply(self, clicked=False) -> None:
        with DisplayErrors():
            node, transform = self.ui.carryNodeSelector.currentNode(), self.ui.carryTransformSelector.currentNode()
            made = carry_node(node, transform, selected_data(self.ui.carryDirectionComboBox))
            self.ui.carryLabel.text = _("Made: {name}.").format(name=made.GetName())
