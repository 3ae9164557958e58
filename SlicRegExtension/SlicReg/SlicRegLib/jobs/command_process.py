"""The command line in a process of its own: started, watched, ended with all its children. Knows nothing of Slicer or Qt."""

from __future__ import annotations

import atexit
import json
import platform
import queue
import subprocess
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..stages import REGISTER, STARTING
from .failure import explain_failure
from .processes import WINDOWS, end_tree
from .python import find_python, make_environment
from .remaining_time import RemainingTime

TICK = 0.5  # seconds between progress events while the process is silent

STRAGGLERS = 1.0  # seconds that children may outlive the command


@dataclass(frozen=True)
class ProgressEvent:
    """Where the whole command is. fraction: 0 to 1, never falls. elapsed, remaining: seconds; remaining None while unknown."""

    stage: str
    fraction: float
    message: str
    elapsed: float
    remaining: float | None


@dataclass(frozen=True)
class LogLine:
    """A line of text that the command printed; ``error``: on stderr."""

    text: str
    error: bool = False


class CommandProcess:
    """``slicreg ARGUMENTS`` in its own process group; it runs from construction on.

    Call `poll` from a timer or a loop, always from the same thread. state: "running", then "finished", "failed" (``error``
    says why in a sentence) or "cancelled". log: everything printed so far, and how it was started. output: the lines on
    stdout that are not progress (what `slicreg info` prints).
    """

    def __init__(
        self,
        arguments=(),
        *,
        python: str | None = None,
        command: list[str] | None = None,
        folder: str | Path | None = None,
    ):
        """python: the interpreter instead of `find_python`. command: run this instead (for tests).
        folder: the working directory; relative paths among the arguments start there."""
        arguments = [str(a) for a in arguments]
        python = str(python or find_python())
        self.command = [str(a) for a in command or (python, "-m", "SlicRegLib", *arguments, "--json")]
        self.state, self.error, self.returncode = "running", "", None
        self.progress: ProgressEvent | None = None
        self.output: list[str] = []
        self._errors: list[str] = []
        self._log = [
            f"{platform.platform()}, Python {platform.python_version()}, SlicReg {__version__}",
            f"{time.strftime('%Y-%m-%d %H:%M:%S')} {subprocess.list2cmdline(self.command)}",
        ]
        self._events: list[ProgressEvent | LogLine] = []
        self._lines: queue.Queue = queue.Queue()
        self._started, self._ended, self._last_event = time.monotonic(), None, 0.0
        self._estimate = RemainingTime(_stages(arguments))
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW if WINDOWS else 0
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
                start_new_session=not WINDOWS,
                creationflags=flags,
            )
        except OSError as error:
            self._process, self._readers = None, []
            self._end("failed", f"{self.command[0]} cannot be started ({error.strerror or error}).")
            return
        self._readers = [
            threading.Thread(target=_read, args=(stream, name, self._lines), daemon=True)
            for stream, name in ((self._process.stdout, "stdout"), (self._process.stderr, "stderr"))
        ]
        for reader in self._readers:
            reader.start()
        _running.add(self)

    @property
    def log(self) -> str:
        """All that was printed so far, with the time of each progress step."""
        return "\n".join(self._log) + "\n"

    @property
    def elapsed(self) -> float:
        """Seconds from start to now or to the end."""
        return (time.monotonic() if self._ended is None else self._ended) - self._started

    def poll(self) -> list[ProgressEvent | LogLine]:
        """What has happened since the last call, in order; updates ``state``. Never waits."""
        self._advance()
        events, self._events = self._events, []
        return events

    def wait(self, timeout: float | None = None) -> str:
        """Wait until the command has ended, at most ``timeout`` seconds; returns ``state``. Events stay for `poll`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._advance()
        while self.state == "running" and (deadline is None or time.monotonic() < deadline):
            time.sleep(0.02)
            self._advance()
        return self.state

    def cancel(self) -> None:
        """End the command and all processes that it started, in less than two seconds. Does nothing once it has ended."""
        self._advance()
        if self.state != "running":
            return
        end_tree(self._process.pid)
        for reader in self._readers:
            reader.join(0.05)
        self._take_lines()
        self._end("cancelled")

    def _advance(self) -> None:
        if self.state != "running":
            return
        self._take_lines()
        code = self._process.poll()
        if code is None:
            if time.monotonic() - self._last_event > TICK:
                self._report(
                    self.progress.stage if self.progress else STARTING, self.progress.message if self.progress else ""
                )
            return
        if self._ended is None:
            self._ended = time.monotonic()
        if any(reader.is_alive() for reader in self._readers):
            if time.monotonic() - self._ended < STRAGGLERS:
                return  # the last lines are on their way
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
        time.sleep(0.001)  # while Qt's loop runs, the application may hold Python's lock: this lets the readers go on
        while True:
            try:
                source, line = self._lines.get_nowait()
            except queue.Empty:
                return
            step = _step(line) if source == "stdout" else None
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
        fraction, estimated = self._estimate.at(self.elapsed)
        self.progress = ProgressEvent(
            stage, fraction, message, self.elapsed, estimated if remaining is None else remaining
        )
        self._last_event = time.monotonic()
        self._events.append(self.progress)


def _stages(arguments: list[str]) -> dict[str, float]:
    stages = dict(REGISTER) if arguments[:1] == ["register"] else {}
    if "--no-refine" in arguments:
        stages.pop("refinement", None)
    return stages


def _step(line: str) -> tuple[str, float, str] | None:
    """(stage, share, message) of a line of `slicreg --json`; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        step = json.loads(line)
        return str(step["stage"]), float(step["share"]), str(step.get("details", ""))
    except (ValueError, KeyError, TypeError):
        return None


def _read(stream, source: str, lines: queue.Queue) -> None:
    """A reader thread: it puts lines into a queue and touches nothing else."""
    with stream:
        for line in stream:
            lines.put((source, line.rstrip()))


_running: weakref.WeakSet[CommandProcess] = weakref.WeakSet()


@atexit.register
def _cancel_all() -> None:
    """Nothing goes on when Slicer is closed."""
    for job in list(_running):
        job.cancel()
