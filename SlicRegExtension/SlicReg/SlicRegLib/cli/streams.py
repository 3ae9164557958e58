"""stdout and stderr as they may be: closed, a pipe that nobody reads, a full disk, an encoding without umlauts."""

from __future__ import annotations

import contextlib
import io
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


class _Tolerant(io.FileIO):
    """What cannot be written vanishes."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


def tolerate_closed_streams() -> None:
    """Let stdout and stderr take everything from now on, also where nobody reads them any more: a process that stays
    must not fail because a library prints a warning."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        with contextlib.suppress(OSError, ValueError):
            getattr(sys, name).flush()
        buffer = io.BufferedWriter(_Tolerant(descriptor, "w", closefd=False))
        stream = io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        setattr(sys, name, stream)


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
