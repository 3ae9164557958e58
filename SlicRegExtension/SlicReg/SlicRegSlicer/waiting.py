"""Waiting in Slicer's main thread without freezing it: the application handles events meanwhile.

Python threads do not run beside the application, so that whatever takes longer than a moment is a process.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from SlicRegLib.jobs.processes import WINDOWS, end_tree

NO_WINDOW = subprocess.CREATE_NO_WINDOW if WINDOWS else 0
"""``creationflags`` for a process that opens no console window."""
PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Ended:
    """A program that has ended, or was ended because it took too long (then ``code`` is None)."""

    code: int | None
    output: str
    errors: str


def handle_events(seconds: float = PAUSE_SECONDS) -> None:
    """Let the application draw and react, then pause. Outside the application: only pause."""
    try:
        import slicer
    except ImportError:
        slicer = None
    if app := getattr(slicer, "app", None):
        app.processEvents()
    time.sleep(seconds)


def run_program(words: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a program and wait for its end, at most ``seconds``. Raises OSError where it cannot be started."""
    # files: a full pipe would stop the program, and one that a grandchild holds open would never end
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            creationflags=NO_WINDOW,
        )
        deadline = time.monotonic() + seconds
        try:
            while process.poll() is None and time.monotonic() < deadline:
                handle_events()
        finally:
            code = process.poll()
            if code is None:
                _end(process)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return Ended(code, *texts)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and, where psutil is installed, what it started: PythonSlicer only starts the real Python."""
    with contextlib.suppress(ImportError):
        end_tree(process.pid, at_once=True)
    process.kill()
    process.wait()
