"""Shared by the parts of the panel: its interface, errors as message boxes, timers, combo boxes, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import qt
import slicer

from SlicRegLib.errors import UserError

ROW_HEIGHT = 22


class Panel(Protocol):
    """What the tabs and lists use of the panel that holds them."""

    ui: Any
    """The widgets of SlicReg.ui as attributes."""
    logic: Any
    """`SlicRegSlicer.logic.SlicRegLogic`."""
    parameters: Any
    """`SlicRegSlicer.parameters.SlicRegParameterNode`; None while there is no scene."""
    installing: bool
    """Whether packages are being installed."""
    parent: Any
    """Window over which dialogs open."""

    def isBusy(self) -> bool: ...
    def blockStarts(self): ...
    def ensureInstalled(self) -> bool: ...
    def showParameters(self) -> None: ...
    def chooseDefaults(self) -> None: ...


class DisplayErrors:
    """Context manager that shows a user's mistake as one sentence. Any other error is raised."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, (UserError, OSError)):
            slicer.util.errorDisplay(str(error))
            return True
        return False


class WaitCursor:
    """Context manager that shows the busy cursor."""

    def __enter__(self):
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)

    def __exit__(self, *error):
        slicer.app.restoreOverrideCursor()


def make_timer(milliseconds: int, slot: Callable):
    """A timer that is not running yet."""
    timer = qt.QTimer()
    timer.setInterval(milliseconds)
    timer.connect("timeout()", slot)
    return timer


def first_path(chosen) -> str:
    """The path that a `QFileDialog` function returned; some versions add the chosen filter."""
    return chosen[0] if isinstance(chosen, tuple) else chosen


def select_data(box, data) -> None:
    """Select the entry of a combo box that has this data; none if there is no such entry."""
    index = box.findData(data)
    if index != box.currentIndex:
        box.setCurrentIndex(index)


def selected_data(box):
    """The data of the selected entry of a combo box."""
    return box.itemData(box.currentIndex)


def fill_table(table, header: Sequence[str], rows: Sequence[Sequence[str]], wide: int) -> None:
    """Replace the content of a `QTableWidget`, in rows of one line. The column ``wide`` takes what the others leave of
    the panel's width; the tool tip of a cell there is all of its text."""
    table.clear()
    table.setColumnCount(len(header))
    table.setHorizontalHeaderLabels(header)
    table.setRowCount(len(rows))
    for i, row in enumerate(rows):
        for j, text in enumerate(row):
            table.setItem(i, j, qt.QTableWidgetItem(text))
        table.item(i, wide).setToolTip(row[wide])  # it may be cut
        table.setRowHeight(i, ROW_HEIGHT)
    table.verticalHeader().setVisible(False)
    if header:
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Interactive)
        table.resizeColumnsToContents()
        table.horizontalHeader().setSectionResizeMode(wide, qt.QHeaderView.Stretch)  # no sideways scroll bar


def format_cell(value, digits: int = 3) -> str:
    """A table cell: "" for None, a float with ``digits`` decimals."""
    if value is None:
        return ""
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
