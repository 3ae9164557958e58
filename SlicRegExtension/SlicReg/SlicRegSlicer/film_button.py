"""The button that saves a film of the result that is shown: a process makes it while Slicer stays usable."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import qt
import slicer.util

from SlicRegLib.errors import UserError
from SlicRegLib.images.files import atomic, check_output
from SlicRegLib.jobs.command_process import CommandProcess
from SlicRegLib.jobs.worker_pool import POOL
from SlicRegLib.stages import STARTING

from . import stage_texts
from .film_folder import write_film_folder
from .installing import install_packages
from .requirements import FILM_PACKAGES, is_found
from .review_buttons import ReviewButtons
from .translation import _
from .widgets import DisplayErrors, Panel, WaitCursor, first_path, make_timer

POLL_MS = 100


class FilmButton:
    """Makes one film at a time; while it does, the button cancels it. ``process`` is the current or last one."""

    def __init__(self, panel: Panel, views: ReviewButtons):
        self.panel, self.ui, self._views = panel, panel.ui, views
        self._text, self._tip = self.ui.filmButton.text, self.ui.filmButton.toolTip
        self.process: CommandProcess | None = None
        self._folder, self._out = Path(), Path()
        self._timer = make_timer(POLL_MS, self.onTimer)
        self.ui.filmButton.connect("clicked(bool)", self.onClicked)
        views.onChanged = self.showParameters

    def isRunning(self) -> bool:
        return self.process is not None and self.process.state == "running"

    def close(self) -> None:
        """The panel or the scene goes away."""
        if self.isRunning():
            self._cancel()
        self.ui.filmLabel.text = ""

    def showParameters(self) -> None:
        running = self.isRunning()
        self.ui.filmButton.text = _("Cancel the film") if running else self._text
        self.ui.filmButton.toolTip = _("Nothing is written then.") if running else self._tip
        self.ui.filmButton.enabled = running or bool(self._views.review and not self.panel.installing)

    def onClicked(self, clicked=False) -> None:
        if self.isRunning():
            self._cancel()
            self.ui.filmLabel.text = _("The film was cancelled; nothing was written.")
        elif self._views.review and self._views.review.is_alive():
            with DisplayErrors():
                self._start()

    def onTimer(self) -> None:
        self.process.poll()
        if self.process.state == "running":
            return self._showProgress()
        self._timer.stop()
        with DisplayErrors():
            try:
                if self.process.state != "finished":
                    raise UserError(self.process.error)
                with atomic(self._out) as part:
                    shutil.copyfile(self._folder / self._out.name, part)
                notes = self.process.output[1:]
                self.ui.filmLabel.text = "\n".join([_("Film saved: {path}").format(path=self._out), *notes])
            except (UserError, OSError):
                self.ui.filmLabel.text = _("The film was not saved.")
                raise
            finally:
                self._clean()
        return None

    def _start(self) -> None:
        chosen = first_path(
            qt.QFileDialog.getSaveFileName(
                self.panel.parent, _("Save a film"), "SlicReg.mp4", _("Films (*.mp4 *.gif *.webp)")
            )
        )
        if not chosen:
            return
        out = Path(chosen) if Path(chosen).suffix else Path(f"{chosen}.mp4")
        check_output(out, make_parents=False)
        question = _("{path} exists. Replace it?").format(path=out)  # Qt has asked about the name as it was typed
        if out != Path(chosen) and out.exists() and not slicer.util.confirmYesNoDisplay(question):
            return
        if out.suffix.lower() == ".mp4" and not self._ensureEncoder():
            return
        self._folder, self._out = Path(tempfile.mkdtemp(prefix="SlicReg-", dir=POOL.folder)), out
        try:
            with WaitCursor():
                words = write_film_folder(self._views.review, self._folder)
            # made in the temporary folder, so that however the process ends nothing is left beside the film
            self.process = CommandProcess([*words, "--out", self._folder / out.name])
        except BaseException:
            self._clean()
            raise
        self._showProgress()
        self.showParameters()
        self._timer.start()

    def _ensureEncoder(self) -> bool:
        """Whether films in MP4 can be written; offers to install what they need."""
        missing = [package for name, package in FILM_PACKAGES.items() if not is_found(name)]
        if not missing:
            return True
        question = _(
            "Films in .mp4 need the Python package {package} (about {size} MB to download). Install it now? "
            "Films in .gif and .webp need nothing."
        ).format(package=missing[0].requirement, size=missing[0].megabytes)
        if not slicer.util.confirmOkCancelDisplay(question, _("Install Python packages")):
            return False
        with self.panel.blockStarts(), WaitCursor():
            install_packages([package.requirement for package in missing])
        return True

    def _showProgress(self) -> None:
        event = self.process.progress
        stage = stage_texts.FILM.get(event.stage if event else STARTING, "")
        percent, seconds = (100 * event.fraction, event.remaining) if event else (0, None)
        text = (
            _("{stage}: {percent:.0f} %")
            if seconds is None
            else _("{stage}: {percent:.0f} %, about {seconds:.0f} s left")
        )
        self.ui.filmLabel.text = text.format(stage=stage, percent=percent, seconds=seconds or 0)

    def _cancel(self) -> None:
        self._timer.stop()
        self.process.cancel()
        self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self.showParameters()
