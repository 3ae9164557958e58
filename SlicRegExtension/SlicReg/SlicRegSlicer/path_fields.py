"""The panel's path fields, whose parameters are text: pathlib's empty path would be shown as "."."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .widgets import Panel


class PathFields:
    """Ties fields of the class ctkPathLineEdit to parameters: "batchInput" to the widget "batchInputPath".

    A field that is cleared emits no ``currentPathChanged``, which is for acceptable paths only, but
    ``validInputChanged``.
    """

    def __init__(self, panel: Panel, names: Iterable[str], onChanged: Callable[[str, str], None] | None = None):
        """names: of the parameters. onChanged: called with name and path when a field has changed its parameter."""
        self.panel, self._onChanged = panel, onChanged
        self.edits = {name: getattr(panel.ui, f"{name}Path") for name in names}
        for name, edit in self.edits.items():
            edit.connect("currentPathChanged(QString)", lambda path, name=name: self._take(name))
            edit.connect("validInputChanged(bool)", lambda isValid, name=name: self._take(name))

    def showParameters(self) -> None:
        for name, edit in self.edits.items():
            if edit.currentPath != getattr(self.panel.parameters, name):
                edit.currentPath = getattr(self.panel.parameters, name)

    def _take(self, name: str) -> None:
        path = self.edits[name].currentPath
        if self.panel.parameters and path != getattr(self.panel.parameters, name):
            setattr(self.panel.parameters, name, path)
            if self._onChanged:
                self._onChanged(name, path)
