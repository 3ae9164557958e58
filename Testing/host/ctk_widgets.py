"""Stand-ins for the CTK widgets, with no public name that PythonQt does not show (``names.json``)."""

from __future__ import annotations

import re

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal, Slot

from .dialogs import dialogs
from .pythonqt import stand_in

HEADER = 24  # pixels: the part of a collapsible button that is clicked


def stored(type_, name: str, default, signal: str | None = None):
    """A Qt property kept as ``_name``; with ``signal``, that signal is emitted when the value changes."""

    def get(self):
        return self.__dict__.get("_" + name, default)

    def set_(self, value):
        if value != get(self):
            self.__dict__["_" + name] = value
            if signal:
                getattr(self, signal).emit(value)

    return Property(type_, get, set_)


def passed_on(type_, part: str, name: str):
    """A Qt property that is the property ``name`` of the child widget ``part``."""
    return Property(
        type_,
        lambda self: getattr(getattr(self, part), name),
        lambda self, value: setattr(getattr(self, part), name, value),
    )


def _row(widget, *parts) -> None:
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)


@stand_in
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box."""


@stand_in
class ctkPushButton(QtWidgets.QPushButton):
    """A push button."""


@stand_in
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for "nothing chosen"."""

    defaultText = stored(str, "defaultText", "")
    currentUserDataAsString = Property(
        str, lambda self: str(self.currentData() or ""), lambda self, text: self.setCurrentIndex(self.findData(text))
    )


@stand_in
class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that can be told not to show itself again."""

    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")


@stand_in
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that shows and hides the widgets laid out below it."""

    contentsCollapsed = Signal(bool)
    collapsedHeight = stored(int, "collapsedHeight", 10)
    flat = stored(bool, "flat", False)

    def __init__(self, *arguments):
        super().__init__(next((value for value in arguments if isinstance(value, QtWidgets.QWidget)), None))
        self._hidden: list[QtWidgets.QWidget] = []
        self.setText(next((value for value in arguments if isinstance(value, str)), ""))
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, HEADER, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(lambda checked: self._collapse(not checked))

    def _set_collapsed(self, value: bool) -> None:
        self.setChecked(not value)

    collapsed = Property(bool, lambda self: not self.isChecked(), _set_collapsed)

    def _collapse(self, collapse: bool) -> None:
        """Widgets that were hidden before stay hidden when the others come back."""
        if collapse:
            self._hidden += [
                w for w in self.findChildren(QtWidgets.QWidget, options=Qt.FindDirectChildrenOnly) if not w.isHidden()
            ]
        for widget in self._hidden:
            widget.setVisible(not collapse)
        if not collapse:
            self._hidden = []
        self.contentsCollapsed.emit(collapse)

    def childEvent(self, event):
        """What is added while collapsed is hidden as well."""
        super().childEvent(event)
        if event.added() and event.child().isWidgetType() and not self.isChecked():
            QtCore.QTimer.singleShot(0, lambda: self.isChecked() or self._collapse(True))

    def hitButton(self, position):
        return position.y() < HEADER

    def sizeHint(self):
        inner = self.layout().sizeHint() if self.layout() and self.isChecked() else QtCore.QSize(0, HEADER)
        return inner.expandedTo(QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text) + 2 * HEADER, HEADER))

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.fillRect(0, 0, self.width, HEADER, self.palette.button())
        painter.drawText(6, HEADER - 7, ("\u25bc  " if self.isChecked() else "\u25b6  ") + self.text)


@stand_in
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box whose title hides its contents."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(
            lambda checked: [
                w.setVisible(checked) for w in self.findChildren(QtWidgets.QWidget, options=Qt.FindDirectChildrenOnly)
            ]
        )

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))


class _Spin(QtWidgets.QWidget):
    """What the widgets share that show a number in a spin box."""

    valueChanged = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._spin = QtWidgets.QDoubleSpinBox()

    value = passed_on(float, "_spin", "value")
    minimum = passed_on(float, "_spin", "minimum")
    maximum = passed_on(float, "_spin", "maximum")
    singleStep = passed_on(float, "_spin", "singleStep")
    decimals = passed_on(int, "_spin", "decimals")
    prefix = passed_on(str, "_spin", "prefix")
    suffix = passed_on(str, "_spin", "suffix")

    @Slot(float)
    def setValue(self, value):
        self._spin.setValue(value)


@stand_in
class ctkSliderWidget(_Spin):
    """A slider and a spin box that show one number."""

    valueIsChanging = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(Qt.Horizontal)
        self._slider.setRange(0, 1000)
        self._spin.setRange(0, 99)
        _row(self, self._slider, self._spin)
        self._spin.valueChanged.connect(self._show)
        self._slider.sliderMoved.connect(
            lambda step: self._spin.setValue(self.minimum + step / 1000 * (self.maximum - self.minimum))
        )

    def _show(self, value: float) -> None:
        self._slider.setValue(round(1000 * (value - self.minimum) / ((self.maximum - self.minimum) or 1)))
        self.valueChanged.emit(value)

    pageStep = stored(float, "pageStep", 10.0)
    tickInterval = stored(float, "tickInterval", 0.0)
    tracking = stored(bool, "tracking", True)
    spinBoxVisible = Property(
        bool, lambda self: not self._spin.isHidden(), lambda self, value: self._spin.setVisible(value)
    )

    @Slot(int)
    def setDecimals(self, value):
        self._spin.setDecimals(value)

    @Slot(bool)
    def setSpinBoxVisible(self, value):
        self._spin.setVisible(value)


@stand_in
class ctkDoubleSpinBox(_Spin):
    """A spin box for numbers with decimals."""

    editingFinished = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        _row(self, self._spin)
        self._spin.valueChanged.connect(self.valueChanged.emit)
        self._spin.editingFinished.connect(self.editingFinished.emit)


class _Chooser(QtWidgets.QWidget):
    """A text or button that stands for a path, and a file chooser that changes it."""

    def _ask(self) -> None:
        chosen = dialogs.next_path(self.objectName)
        if chosen:
            self._choose(str(chosen))


def make_path_pattern(name_filters: list[str]) -> str:
    """The regular expression of a path that `ctkPathLineEdit` accepts; follows CTK's ``ctk::nameFiltersToRegExp``."""
    found = [
        re.search(r"\*\.(\w+)", part)
        for name_filter in name_filters
        for part in re.sub(r".*\((.*)\)", r"\1", name_filter).split()
    ]
    endings = [rf".*\.{match[1]}?$" for match in found if match]
    return f"({'|'.join(endings)})" if endings else ".+"


@stand_in
class ctkPathLineEdit(_Chooser):
    """An editable path with a browse button. Follows CTK's ``Libs/Widgets/ctkPathLineEdit.cpp``.

    ``currentPathChanged`` is emitted for acceptable input only, so never for an empty path; then, as for any change of
    acceptability, ``validInputChanged`` is.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    label = stored(str, "label", "")
    settingKey = stored(str, "settingKey", "")
    filters = stored(int, "filters", int(QtCore.QDir.Files.value))
    minimumContentsLength = stored(int, "minimumContentsLength", 0)

    def __init__(self, *arguments):
        super().__init__(next((value for value in arguments if isinstance(value, QtWidgets.QWidget)), None))
        self._combo, self._button = QtWidgets.QComboBox(), QtWidgets.QToolButton()
        self._combo.setEditable(True)
        self._combo.setInsertPolicy(QtWidgets.QComboBox.NoInsert)
        self._button.setText("...")
        _row(self, self._combo, self._button)
        self._valid, self._filters = False, []
        self._validator = QtGui.QRegularExpressionValidator(self)
        self._set_filters([])
        self._combo.lineEdit().setValidator(self._validator)
        self._combo.lineEdit().textChanged.connect(self._changed)
        self._button.clicked.connect(lambda: self.browse())

    def _set_filters(self, filters) -> None:
        self._filters = list(filters)
        self._validator.setRegularExpression(QtCore.QRegularExpression(make_path_pattern(self._filters)))

    nameFilters = Property("QStringList", lambda self: self._filters, _set_filters)

    def _changed(self, text: str) -> None:
        before, self._valid = self._valid, bool(self._combo.lineEdit().hasAcceptableInput())
        if self._valid:
            self.currentPathChanged.emit(text)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    def _choose(self, path: str) -> None:
        self._combo.lineEdit().setText(path)

    currentPath = Property(str, lambda self: self._combo.currentText, _choose)
    showBrowseButton = Property(
        bool, lambda self: not self._button.isHidden(), lambda self, value: self._button.setVisible(value)
    )
    showHistoryButton = stored(bool, "showHistoryButton", True)

    @Slot(str)
    def setCurrentPath(self, path):
        self._choose(path)

    @Slot()
    def browse(self):
        self._ask()

    @Slot()
    def addCurrentPathToHistory(self):
        if self._combo.findText(self.currentPath) < 0:
            self._combo.addItem(self.currentPath)

    def comboBox(self):
        return self._combo


@stand_in
class ctkDirectoryButton(_Chooser):
    """A button that shows a folder and asks for another when pressed."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)
    directory = stored(str, "directory", ".", "directoryChanged")
    caption = stored(str, "caption", "")

    def __init__(self, *arguments):
        super().__init__(next((value for value in arguments if isinstance(value, QtWidgets.QWidget)), None))
        self._button = QtWidgets.QPushButton()
        _row(self, self._button)
        self._button.clicked.connect(lambda: self.browse())
        self.directoryChanged.connect(lambda path: self._button.setText(path))

    def _choose(self, path: str) -> None:
        self.directory = path
        self.directorySelected.emit(path)

    text = passed_on(str, "_button", "text")

    @Slot()
    def browse(self):
        self._ask()


CLASSES = (
    ctkCheckBox,
    ctkPushButton,
    ctkComboBox,
    ctkMessageBox,
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkSliderWidget,
    ctkDoubleSpinBox,
    ctkPathLineEdit,
    ctkDirectoryButton,
)
