"""stdout and stderr as they may be: closed, a pipe that nobody reads, a full disk, an encoding without umlauts."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO

from ..errors import UserError
from ..images.files import check_path
from ..progress import Bars, JsonLines, Quiet


def prepare_streams() -> None:
    """Make stdout and stderr such that printing raises nothing but `OSError`."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file to be opened would get its number, and what C++ prints
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  until the process ends
        with contextlib.suppress(AttributeError, ValueError, OSError):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def settle_streams() -> None:
    """Send what is still to be printed, so that Python has nothing to complain about when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _close(stream)


def print_text(text: str, stream: TextIO) -> None:
    """Print a text; that nobody reads it is no error. Raises UserError if it cannot be written, to a full disk."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        _close(stream)
    except (OSError, ValueError) as error:
        _close(stream)
        raise UserError(f"The output cannot be written ({getattr(error, 'strerror', None) or error}).") from error


def check_words(words: list[str]) -> None:
    """Raise UserError for an argument that no file can be called."""
    for word in words:
        check_path(word)


class Guarded:
    """A progress that falls silent where it cannot be shown: no reason to end the work."""

    def __init__(self, progress: Bars | JsonLines | Quiet):
        self.progress = progress

    def __call__(self, stage: str, share: float, details: str = "") -> None:
        try:
            self.progress(stage, share, details)
        except (OSError, ValueError):
            self._silence()

    def close(self) -> None:
        try:
            self.progress.close()
        except (OSError, ValueError):
            self._silence()

    def _silence(self) -> None:
        stream = sys.stdout if isinstance(self.progress, JsonLines) else sys.stderr
        if isinstance(self.progress, Bars) and self.progress.bar is not None:
            self.progress.bar.disable = True
        self.progress = Quiet()
        _close(stream)


def _close(stream: Any) -> None:
    """Let whatever else is printed to the stream vanish."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
