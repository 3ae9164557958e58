"""The two combo boxes in which a device is chosen: for registrations and for trainings."""

from __future__ import annotations

from .parameters import find_default
from .translation import _
from .widgets import Panel, select_data, selected_data


class DeviceList:
    """Both boxes list the same devices. They are looked up once, when one of the boxes is first seen."""

    def __init__(self, panel: Panel):
        self.panel = panel
        self.boxes = {"device": panel.ui.deviceComboBox, "trainingDevice": panel.ui.trainingDeviceComboBox}
        self._listed = False
        self._list = self.boxes["device"]
        self._list.addItem(_("Automatic"), find_default("device"))
        self.boxes["trainingDevice"].setModel(self._list.model())
        for parameter, box in self.boxes.items():
            box.connect("currentIndexChanged(int)", lambda index, parameter=parameter: self.onChosen(parameter))
        panel.ui.advancedButton.connect("contentsCollapsed(bool)", self.onCollapsed)

    def fill(self) -> None:
        """List the computer's devices. Not done at start, since a driver may take seconds to answer."""
        if not self._listed:
            self._listed = True
            for name, text in [("cpu", _("CPU")), *self.panel.logic.gpus()]:
                if self._list.findData(name) < 0:
                    self._list.addItem(text, name)

    def showParameters(self) -> None:
        """Select the chosen devices. A device that is not listed, or not yet, is added."""
        for parameter, box in self.boxes.items():
            name = getattr(self.panel.parameters, parameter)
            if self._list.findData(name) < 0:
                self._list.addItem(name, name)
            select_data(box, name)

    def onCollapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self.fill()

    def onChosen(self, parameter: str) -> None:
        box = self.boxes[parameter]
        if self.panel.parameters and box.currentIndex >= 0:
            setattr(self.panel.parameters, parameter, selected_data(box))
