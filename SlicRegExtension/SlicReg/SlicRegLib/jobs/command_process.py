"""The command line in a process of its own: started, watched, and ended with all its children. Needs no Qt."""

from __future__ import annotations

import atexit
import json
import platform
import queue
import subprocess
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .. import __version__
from ..stages import REFINEMENT, REGISTER, STARTING
from .failure import explain_failure
from .processes import end_tree, make_group_options
from .python import find_python, make_environment
from .remaining_time import RemainingTime

TICK = 0.5
"""Seconds between progress events while the process is silent."""
STRAGGLERS = 1.0
"""Seconds that children may outlive the command."""


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


class CommandProcess:
    """``slicreg ARGUMENTS`` in a process group of its own; the constructor starts it.

    Call `poll` from a timer or a loop, always from the same thread. state: "running", then "finished", "failed" (the
    reason is in ``error``, a sentence) or "cancelled". output: the lines on stdout that are no progress, such as the
    answer of `slicreg info`.
    """

    def __init__(
        self,
        arguments: Sequence[object] = (),
        *,
        python: str | None = None,
        command: Sequence[object] | None = None,
        folder: str | Path | None = None,
    ):
        """python: the interpreter; None: `find_python`. command: run this instead (for tests). folder: the working
        directory, where relative paths among the arguments start."""
        words = [str(word) for word in arguments]
        python = str(python or find_python())
        self.command = [str(word) for word in command or (python, "-m", "SlicRegLib", *words, "--json")]
        self.state, self.error = "running", ""
        self.returncode: int | None = None
        self.progress: ProgressEvent | None = None
        self.output: list[str] = []
        self._errors: list[str] = []
        self._log = [
            f"{platform.platform()}, Python {platform.python_version()}, SlicReg {__version__}",
            f"{time.strftime('%Y-%m-%d %H:%M:%S')} {subprocess.list2cmdline(self.command)}",
        ]
        self._events: list[ProgressEvent | LogLine] = []
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self._started, self._last_event = time.monotonic(), 0.0
        self._ended: float | None = None
        self._estimate = RemainingTime(_find_stages(words))
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        try:
            self._process = subprocess.Popen(
                self.command,
                env=make_environment(python),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                **make_group_options(),
            )
        except OSError as error:
            self._end("failed", f"{self.command[0]} cannot be started ({error.strerror or error}).")
            return
        for stream, name in ((self._process.stdout, "stdout"), (self._process.stderr, "stderr")):
            reader = threading.Thread(target=_read, args=(stream, name, self._lines), daemon=True)
            reader.start()
            self._readers.append(reader)
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

    def cancel(self) -> None:
        """End the command and all its children in less than two seconds. Does nothing if it has ended already."""
        self._advance()
        if self.state != "running" or self._process is None:
            return
        end_tree(self._process.pid)
        for reader in self._readers:
            reader.join(0.05)
        self._take_lines()
        self._end("cancelled")

    def _advance(self) -> None:
        if self.state != "running" or self._process is None:
            return
        self._take_lines()
        code = self._process.poll()
        if code is None:
            if time.monotonic() - self._last_event > TICK:
                last = self.progress
                self._report(last.stage if last else STARTING, last.message if last else "")
            return
        if self._ended is None:
            self._ended = time.monotonic()
        if any(reader.is_alive() for reader in self._readers):
            if time.monotonic() - self._ended < STRAGGLERS:
                return  # the last lines may not have been read yet
            end_tree(self._process.pid, at_once=True, ended=True)  # a child holds the pipes open
            for reader in self._readers:
                reader.join(0.2)
        self._take_lines()
        self.returncode = code
        if code == 0:
            self._end("finished")
        else:
            self._end("failed", explain_failure(code, self._errors))

    def _end(self, state: str, error: str = "") -> None:
        self._ended = self._ended or time.monotonic()
        self.state, self.error = state, error
        if self._process is not None and self.returncode is None:
            self.returncode = self._process.poll()
        if state == "finished":
            self._estimate.fraction = 1.0
            self._report(self.progress.stage if self.progress else "", "", remaining=0.0)
        code = f" (exit code {self.returncode})" if self.returncode else ""
        self._log.append(f"{self.elapsed:7.1f} s {state}{code}{': ' if error else ''}{error}")
        _running.discard(self)

    def _take_lines(self) -> None:
        # Let the reader threads run: in Qt's event loop the application may hold Python's global lock.
        time.sleep(0.001)
        while True:
            try:
                source, line = self._lines.get_nowait()
            except queue.Empty:
                return
            step = _parse_step(line) if source == "stdout" else None
            if step is not None:
                stage, share, message = step
                self._estimate.update(stage, share, self.elapsed)
                self._log.append(f"{self.elapsed:7.1f} s {stage} {share:.0%} {message}".rstrip())
                self._report(stage, message)
            elif line:
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


def _find_stages(arguments: list[str]) -> dict[str, float]:
    stages = dict(REGISTER) if arguments[:1] == ["register"] else {}
    if "--no-refine" in arguments:
        stages.pop(REFINEMENT, None)
    return stages


def _parse_step(line: str) -> tuple[str, float, str] | None:
    """(stage, share, message) of a line of `slicreg --json`; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        step = json.loads(line)
        return str(step["stage"]), float(step["share"]), str(step.get("details", ""))
    except (ValueError, KeyError, TypeError):
        return None


def _read(stream: IO[str] | None, source: str, lines: queue.Queue[tuple[str, str]]) -> None:
    """In a thread: put the lines of a stream into a queue."""
    assert stream is not None
    with stream:
        for line in stream:
            lines.put((source, line.rstrip()))


_running: weakref.WeakSet[CommandProcess] = weakref.WeakSet()


@atexit.register
def _cancel_all() -> None:
    """When Slicer is closed, its registrations end, too."""
    for process in list(_running):
        process.cancel()
