"""Errors that nobody raises: exceptions in slots and observers, and VTK's error messages."""

from __future__ import annotations

import contextlib
import sys
import traceback

import vtk


class Problems(list):
    """Texts, one for each hidden error since the watch began."""

    def check(self) -> None:
        if self:
            found = "\n\n".join(self)
            self.clear()
            raise AssertionError(f"hidden errors:\n{found}")

    def take(self) -> list[str]:
        """The errors so far, which a test expected; they count no more."""
        found = list(self)
        self.clear()
        return found


@contextlib.contextmanager
def watch():
    """Collect hidden errors; at the end raise AssertionError if one is left.

    Exceptions in slots and in observers end in `sys.excepthook`. VTK writes to its output window.
    """
    problems = Problems()
    previous_hook, previous_window = sys.excepthook, vtk.vtkOutputWindow.GetInstance()
    window = vtk.vtkStringOutputWindow()

    def note(_window, _event, text):
        problems.append(text.strip())

    note.CallDataType = vtk.VTK_STRING
    tag = window.AddObserver(vtk.vtkCommand.ErrorEvent, note)
    vtk.vtkOutputWindow.SetInstance(window)
    sys.excepthook = lambda *error: problems.append("".join(traceback.format_exception(*error)))
    try:
        yield problems
    finally:
        sys.excepthook = previous_hook
        window.RemoveObserver(tag)
        vtk.vtkOutputWindow.SetInstance(previous_window)
    problems.check()
