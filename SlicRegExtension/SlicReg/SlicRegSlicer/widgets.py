"""What the parts of the panel share: errors shown in a sentence, timers, entries of combo boxes, tables."""

import qt
import slicer

from SlicRegLib.errors import UserError


class shown_errors:
    """Shows a user's mistake as one sentence; what else goes wrong is shown as the failure it is."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, (UserError, OSError)):
            slicer.util.errorDisplay(str(error))
            return True
        return False


def timer(milliseconds, slot):
    result = qt.QTimer()
    result.setInterval(milliseconds)
    result.connect("timeout()", slot)
    return result


def select(box, data):
    """Show the entry with this data, none where there is no such entry."""
    index = box.findData(data)
    if index != box.currentIndex:
        box.setCurrentIndex(index)


def selected(box):
    """The data of the entry that is shown."""
    return box.itemData(box.currentIndex)


def select_device(box, name):
    """Show a device, also one that was not asked for yet or belongs to another computer."""
    if box.findData(name) < 0:
        box.addItem(name, name)
    select(box, name)


def fill_table(table, header, rows):
    table.clear()
    table.setColumnCount(len(header))
    table.setHorizontalHeaderLabels(header)
    table.setRowCount(len(rows))
    for i, row in enumerate(rows):
        for j, text in enumerate(row):
            table.setItem(i, j, qt.QTableWidgetItem(text))
    table.verticalHeader().setVisible(False)
    table.resizeColumnsToContents()
