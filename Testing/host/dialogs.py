"""Records and answers what would wait for a person: message boxes, questions, file choosers.

Follows ``messageBox`` and the ``...Display`` functions of Slicer's ``Base/Python/slicer/util.py``, and Qt's
QMessageBox, QFileDialog and QDesktopServices.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from PySide6 import QtGui, QtWidgets


@dataclass
class Shown:
    """One message or question as the user would have seen it. ``kind``: error, warning, info or question."""

    kind: str
    text: str
    title: str = ""
    details: str = ""


@dataclass
class Dialogs:
    """The record. ``answer`` and ``choose_path`` are given before the code under test asks."""

    shown: list[Shown] = field(default_factory=list)
    asked_paths: list[str] = field(default_factory=list)  # the captions of file choosers
    opened: list[str] = field(default_factory=list)  # files and addresses given to other programs
    _answers: deque = field(default_factory=deque)
    _paths: deque = field(default_factory=deque)

    def clear(self) -> None:
        for entries in (self.shown, self.asked_paths, self.opened, self._answers, self._paths):
            entries.clear()

    def answer(self, *values) -> None:
        """Answers to the next questions: True (OK, Yes), False (Cancel, No), or a standard button."""
        self._answers.extend(values)

    def choose_path(self, *paths) -> None:
        """Results of the next file choosers; "" is Cancel."""
        self._paths.extend(paths)

    def texts(self, kind: str | None = None) -> list[str]:
        return [entry.text for entry in self.shown if kind in (None, entry.kind)]

    def next_path(self, caption: str):
        self.asked_paths.append(caption)
        if not self._paths:
            raise AssertionError(f"no path was prepared for the file chooser {caption!r}")
        return self._paths.popleft()

    def next_answer(self, text: str):
        if not self._answers:
            raise AssertionError(f"no answer was prepared for the question {text!r}")
        return self._answers.popleft()


dialogs = Dialogs()
_Buttons = QtWidgets.QMessageBox
_YES = [_Buttons.Ok, _Buttons.Yes, _Buttons.Retry, _Buttons.Save, _Buttons.Open, _Buttons.Apply, _Buttons.YesToAll]
_NO = [
    _Buttons.Cancel,
    _Buttons.No,
    _Buttons.Close,
    _Buttons.Abort,
    _Buttons.Discard,
    _Buttons.Ignore,
    _Buttons.NoToAll,
]
_KINDS = {
    _Buttons.Critical: "error",
    _Buttons.Warning: "warning",
    _Buttons.Information: "info",
    _Buttons.Question: "question",
}


def show(text, buttons=_Buttons.Ok, icon=_Buttons.Information, title="", details=""):
    """Record a message box and return the button that was pressed."""
    offered = [button for button in _YES + _NO if button & buttons] or [_Buttons.Ok]
    kind = "question" if len(offered) > 1 else _KINDS.get(icon, "info")
    dialogs.shown.append(Shown(kind, str(text), str(title or ""), str(details or "")))
    if len(offered) == 1:
        return offered[0]
    answer = dialogs.next_answer(str(text))
    if isinstance(answer, bool):
        answer = next(button for button in (_YES if answer else _NO) if button in offered)
    return answer


def message_box(
    text, parent=None, standardButtons=_Buttons.Ok, icon=_Buttons.Information, windowTitle="", detailedText="", **kwargs
):
    """In place of `slicer.util.messageBox`, through which every display and confirm function of `slicer.util` goes."""
    return show(text, standardButtons, icon, windowTitle, detailedText)


def _exec_message_box(box, *_):
    """A `QMessageBox` that a module made itself; buttons of its own are answered by their text."""
    box.setResult(0)
    if box.standardButtons:
        return show(
            box.text,
            box.standardButtons,
            box.icon if not callable(box.icon) else box.icon(),
            box.windowTitle,
            box.detailedText,
        )
    wanted = dialogs.next_answer(box.text)
    dialogs.shown.append(Shown("question", box.text, box.windowTitle))
    button = next(button for button in box.buttons() if button.text == wanted)
    button.click()
    return button


def _exec_dialog(dialog, *_):
    """Any other modal dialog; the answer is a function that is called with the dialog and returns its result."""
    return dialogs.next_answer(f"modal dialog {dialog.windowTitle!r}")(dialog)


def _static_box(icon, default):
    def box(parent, title, text, buttons=default, *_):
        return show(text, buttons, icon, title)

    return staticmethod(box)


def _path_chooser(many: bool):
    def chooser(parent=None, caption="", *_, **__):
        chosen = dialogs.next_path(caption)
        return [str(path) for path in chosen] if many else str(chosen)

    return staticmethod(chooser)


def _open_url(url) -> bool:
    """`QDesktopServices.openUrl`: the browser or another program; the path of a local file is recorded as such."""
    dialogs.opened.append(url.toLocalFile() or url.toString())
    return True


def install() -> None:
    """Replace what would open a window and wait, or another program, in Qt's classes and in `slicer.util`."""
    import slicer

    box = QtWidgets.QMessageBox
    box.exec = box.exec_ = _exec_message_box
    for name, icon, default in (
        ("critical", box.Critical, box.Ok),
        ("warning", box.Warning, box.Ok),
        ("information", box.Information, box.Ok),
        ("question", box.Question, box.Yes | box.No),
    ):
        setattr(box, name, _static_box(icon, default))
    QtWidgets.QDialog.exec = QtWidgets.QDialog.exec_ = _exec_dialog
    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory", "getOpenFileNames"):
        setattr(QtWidgets.QFileDialog, name, _path_chooser(name.endswith("s")))
    QtGui.QDesktopServices.openUrl = staticmethod(_open_url)
    slicer.util.messageBox = message_box
    slicer.util.delayDisplay = lambda message, *_, **__: slicer.app.processEvents()
