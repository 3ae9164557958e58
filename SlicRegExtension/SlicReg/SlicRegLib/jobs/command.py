"""A command that runs elsewhere, seen from the program that waits for it: state, progress, log. Needs no Qt."""

from __future__ import annotations

import atexit
import json
import platform
import queue
import subprocess
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..stages import STARTING
from .processes import make_group_options
from .python import make_environment
from .remaining_time import RemainingTime

TICK = 0.5
"""Seconds between progress events while the command is silent."""


@dataclass(frozen=True)
class ProgressEvent:
    """How far the command is."""

    stage: str
    fraction: float
    """How much of the whole command is done, 0 to 1; it never falls."""
    message: str
    elapsed: float
    """Seconds since the command was started."""
    remaining: float | None
    """Estimated seconds to the end; None while unknown."""


@dataclass(frozen=True)
class LogLine:
    """A line of text that the command printed."""

    text: str
    error: bool = False
    """Whether it was on stderr."""


def start_process(
    command: Sequence[str], stdin: int, python: str | None = None, folder: str | Path | None = None
) -> subprocess.Popen[str]:
    """``command`` in a process group of its own, with pipes of text. python: the interpreter, if it is not the first
    word. folder: its working directory. Raises OSError."""
    return subprocess.Popen(
        command,
        env=make_environment(python or command[0]),
        cwd=folder,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        **make_group_options(),
    )


class Command(ABC):
    """A command that has been started. Call `poll` from a timer or a loop, always from the same thread.

    state: "running", then "finished", "failed" (the reason is in ``error``, a sentence) or "cancelled". output: the
    lines on stdout that are no progress, such as the answer of `slicreg info`.
    """

    def __init__(self, shown: Sequence[str], estimate: RemainingTime):
        """shown: the command line, for the log."""
        self.state, self.error = "running", ""
        self.progress: ProgressEvent | None = None
        self.output: list[str] = []
        self._errors: list[str] = []
        self._log = [
            f"{platform.platform()}, Python {platform.python_version()}, SlicReg {__version__}",
            f"{time.strftime('%Y-%m-%d %H:%M:%S')} {subprocess.list2cmdline(shown)}",
        ]
        self._events: list[ProgressEvent | LogLine] = []
        self._started, self._last_event = time.monotonic(), 0.0
        self._ended: float | None = None
        self._estimate = estimate
        _running.add(self)

    @property
    def log(self) -> str:
        """How the command was started, and all that it printed so far, with the time of each progress step."""
        return "\n".join(self._log) + "\n"

    @property
    def elapsed(self) -> float:
        """Seconds from the start until now or until the end."""
        return (time.monotonic() if self._ended is None else self._ended) - self._started

    def poll(self) -> list[ProgressEvent | LogLine]:
        """The events since the last call, in order; updates ``state``. Never waits."""
        self._advance()
        events, self._events = self._events, []
        return events

    def wait(self, timeout: float | None = None) -> str:
        """Wait at most ``timeout`` seconds for the end; returns ``state``. Events are kept for `poll`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._advance()
        while self.state == "running" and (deadline is None or time.monotonic() < deadline):
            time.sleep(0.02)
            self._advance()
        return self.state

    @abstractmethod
    def cancel(self) -> None:
        """End the command in less than two seconds. Does nothing if it has ended already."""

    @abstractmethod
    def _advance(self) -> None:
        """Take in what there is to know."""

    def _end(self, state: str, error: str = "", code: str = "") -> None:
        """code: how the process ended, for the log."""
        self._ended = self._ended or time.monotonic()
        self.state, self.error = state, error
        if state == "finished":
            self._estimate.fraction = 1.0
            self._report(self.progress.stage if self.progress else "", "", remaining=0.0)
        self._log.append(f"{self.elapsed:7.1f} s {state}{code}{': ' if error else ''}{error}")
        _running.discard(self)

    def _tick(self) -> None:
        """Report the time where the command was silent for a while."""
        if time.monotonic() - self._last_event > TICK:
            last = self.progress
            self._report(last.stage if last else STARTING, last.message if last else "")

    def _take_step(self, stage: str, share: float, message: str) -> None:
        self._estimate.update(stage, share, self.elapsed)
        self._log.append(f"{self.elapsed:7.1f} s {stage} {share:.0%} {message}".rstrip())
        self._report(stage, message)

    def _take_text(self, line: str, source: str) -> None:
        """A line that is no step. source: "stdout" or "stderr"."""
        if line:
            (self.output if source == "stdout" else self._errors).append(line)
            self._log.append(line)
            self._events.append(LogLine(line, source == "stderr"))

    def _report(self, stage: str, message: str, remaining: float | None = None) -> None:
        fraction, estimated = self._estimate.estimate(self.elapsed)
        self.progress = ProgressEvent(
            stage, fraction, message, self.elapsed, estimated if remaining is None else remaining
        )
        self._last_event = time.monotonic()
        self._events.append(self.progress)


class Streams:
    """The lines on a process's stdout and stderr, read in threads."""

    def __init__(self, process: subprocess.Popen[str]):
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self._readers = []
        for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            reader = threading.Thread(target=_read, args=(stream, name, self._lines), daemon=True)
            reader.start()
            self._readers.append(reader)

    @property
    def is_open(self) -> bool:
        """Whether more lines may come."""
        return any(reader.is_alive() for reader in self._readers)

    def join(self, seconds: float) -> None:
        """Wait at most so long for the end of each stream."""
        for reader in self._readers:
            reader.join(seconds)

    def take(self) -> list[tuple[str, str]]:
        """("stdout" or "stderr", line) of the lines that came since the last call."""
        # Let the reader threads run: in Qt's event loop the application may hold Python's global lock.
        time.sleep(0.001)
        lines = []
        while True:
            try:
                lines.append(self._lines.get_nowait())
            except queue.Empty:
                return lines


def parse_object(line: str) -> dict[str, Any] | None:
    """The JSON object in a line; None where there is none."""
    if not line.startswith("{"):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def parse_step(content: dict[str, Any] | None) -> tuple[str, float, str] | None:
    """(stage, share, message) of a step of `slicreg --json`; None for anything else."""
    try:
        return (str(content["stage"]), float(content["share"]), str(content.get("details", ""))) if content else None
    except (ValueError, KeyError, TypeError):
        return None


def _read(stream: IO[str] | None, source: str, lines: queue.Queue[tuple[str, str]]) -> None:
    """In a thread: put the lines of a stream into a queue."""
    assert stream is not None
    with stream:
        for line in stream:
            lines.put((source, line.rstrip()))


_running: weakref.WeakSet[Command] = weakref.WeakSet()


@atexit.register
def _cancel_all() -> None:
    """When Slicer is closed, its registrations end, too."""
    for command in list(_running):
        command.cancel()
