"""The command line in a process of its own: started, watched, ended with all its children. Knows nothing of Slicer or Qt."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import platform
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

import SlicRegLib
from SlicRegLib.errors import UserError
from SlicRegLib.estimate import STARTING, Estimate
from SlicRegLib.processes import end_tree

WINDOWS = os.name == "nt"

# Seconds that each stage typically takes on two cores; only their ratios matter once the first has passed. "starting" is what
# comes before the first report: starting Python, importing torch, reading the scans.
STAGES = {
    "register": {STARTING: 2.5, "preparation": 2.0, "prediction": 1.0, "alignment": 0.4, "spline": 0.3, "refinement": 3.0,
                 "unfolding": 0.2, "writing": 10.0},
}
TICK = 0.5  # seconds between progress events while the process is silent

STRAGGLERS = 1.0  # seconds that children may outlive the command


@dataclass(frozen=True)
class Progress:
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


class Job:
    """``slicreg ARGUMENTS`` in its own process group; it runs from construction on.

    Call `poll` from a timer or a loop, always from the same thread. state: "running", then "finished", "failed" (``error``
    says why in a sentence) or "cancelled". log: everything printed so far, and how it was started. output: the lines on
    stdout that are not progress (what `slicreg info` prints).
    """

    def __init__(self, arguments=(), *, python: str | None = None, command: list[str] | None = None,
                 folder: str | Path | None = None):
        """python: the interpreter instead of `python_executable`. command: run this instead (for tests).
        folder: the working directory; relative paths among the arguments start there."""
        arguments = [str(a) for a in arguments]
        python = str(python or python_executable())
        self.command = [str(a) for a in command or (python, "-m", "SlicRegLib", *arguments, "--json")]
        self.state, self.error, self.returncode = "running", "", None
        self.progress: Progress | None = None
        self.output: list[str] = []
        self._errors: list[str] = []
        self._log = [f"{platform.platform()}, Python {platform.python_version()}, SlicReg {SlicRegLib.__version__}",
                     f"{time.strftime('%Y-%m-%d %H:%M:%S')} {subprocess.list2cmdline(self.command)}"]
        self._events: list[Progress | LogLine] = []
        self._lines: queue.Queue = queue.Queue()
        self._started, self._ended, self._last_event = time.monotonic(), None, 0.0
        self._estimate = Estimate(_stages(arguments))
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW if WINDOWS else 0
        try:
            self._process = subprocess.Popen(
                self.command, env=environment(python), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace", start_new_session=not WINDOWS,
                creationflags=flags)
        except OSError as error:
            self._process, self._readers = None, []
            self._end("failed", f"{self.command[0]} cannot be started ({error.strerror or error}).")
            return
        self._readers = [threading.Thread(target=_read, args=(stream, name, self._lines), daemon=True)
                         for stream, name in ((self._process.stdout, "stdout"), (self._process.stderr, "stderr"))]
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

    def poll(self) -> list[Progress | LogLine]:
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
                self._report(self.progress.stage if self.progress else STARTING, self.progress.message if self.progress else "")
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
            self._end("failed", reason(code, self._errors))

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
        self.progress = Progress(stage, fraction, message, self.elapsed, estimated if remaining is None else remaining)
        self._last_event = time.monotonic()
        self._events.append(self.progress)


def reason(code: int, errors: list[str]) -> str:
    """One sentence: why a command ended with exit code ``code`` after it wrote the lines ``errors`` to stderr."""
    for line in reversed(errors):
        if said := re.match(r"slicreg(?: \w+)?: (?:error: )?(.+)", line):
            return said[1]
    text = "\n".join(errors[-60:])
    if re.search(r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED", text):
        return "The GPU ran out of memory; close other programs that use it, or choose the CPU as device."
    if re.search(r"MemoryError|bad_alloc|DefaultCPUAllocator|([Cc]annot|can't) allocate memory|paging file is too small", text):
        return "The computer ran out of memory; close other programs or crop the scans."
    if missing := re.search(r"No module named '([\w.]+)'", text):
        return f"The Python package {missing[1].split('.')[0]} is missing; install what SlicReg needs and try again."
    number = -code if code < 0 and not WINDOWS else code - 128 if 128 < code < 160 else 0  # shells and launchers add 128
    if number == getattr(signal, "SIGKILL", 9):
        return "The system ended the process, most likely since memory ran out; close other programs or crop the scans."
    if number:
        return f"The process was ended by {_signal_name(number)}; the log shows what it did last."
    if WINDOWS and code & 0xFFFFFFFF in (0xC0000017, 0xC000012D):
        return "The computer ran out of memory; close other programs or crop the scans."
    if WINDOWS and code & 0xFFFFFFFF >= 0xC0000000:
        return f"The process crashed (Windows code 0x{code & 0xFFFFFFFF:X}); the log shows what it did last."
    last = next((line.strip() for line in reversed(errors) if line.strip()), "")
    return f"The process ended with code {code}{f' ({last})' if last else ''}; see the log."


def python_executable() -> str:
    """The Python that has torch: PythonSlicer inside Slicer (beside ``sys.executable`` or on the path), else this one."""
    name = "PythonSlicer.exe" if WINDOWS else "PythonSlicer"
    here = Path(sys.executable or ".")
    if (here.parent / name).is_file():
        return str(here.parent / name)
    if found := shutil.which("PythonSlicer"):
        return found
    if not sys.executable or "slicer" in here.name.lower():  # would open a second Slicer window
        raise UserError("PythonSlicer was not found in Slicer's program folder; install Slicer again.")
    return sys.executable


def environment(python: str) -> dict[str, str]:
    """The environment for the command line: finds this library, prints UTF-8 at once, keeps other Pythons' packages out."""
    variables = dict(os.environ)
    library = str(Path(SlicRegLib.__file__).resolve().parents[1])
    others = [p for p in variables.get("PYTHONPATH", "").split(os.pathsep) if p and p != library]
    variables |= {"PYTHONPATH": os.pathsep.join([library, *others]), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1",
                  "PYTHONSAFEPATH": "1",  # a torch.py in the working directory must not be imported
                  "MPLBACKEND": "Agg"}  # Jupyter sets one here that exists only in its own process
    if Path(python).stem == "PythonSlicer":
        variables["PYTHONNOUSERSITE"] = "1"  # another Python's torch or numpy in the user's folder
    if python != sys.executable:
        variables.pop("PYTHONHOME", None)  # Slicer's own breaks every other Python; PythonSlicer sets it again
    return variables


def available_memory() -> int:
    """Bytes that a new process can use without swapping."""
    import psutil

    return psutil.virtual_memory().available


def estimate_memory(voxels_template: int, voxels_target: int) -> int:
    """Bytes that a registration on the CPU takes at its peak, from the number of voxels of both scans.

    The larger of
    - 1.6 GB: 0.6 GB for Python, torch and the libraries, 1.0 GB for network, features and refinement, whose size depends on
      the model's frame and not on the scans;
    - 1.0 GB that stays of it, plus 24 bytes for each voxel of both scans while results are written: 12 for the scan, what is
      warped onto it and a copy of one of them (float32 each), 12 for label maps, overlays and their interpolation.
    Measured (head-and-neck model, whole process) with an earlier refinement: 2 x 2.1 million voxels 1.6 GB, 1.1 GB with
    today's; 2 x 32.8 million 1.8 GB, with labels and overlays 2.5 GB; 2 x 68.4 million 2.7 and 4.0 GB. The estimate says
    1.6, 2.6 and 4.3 GB.
    """
    return max(1_600_000_000, 1_000_000_000 + 24 * (int(voxels_template) + int(voxels_target)))


def _stages(arguments: list[str]) -> dict[str, float]:
    stages = dict(STAGES.get(arguments[0] if arguments else "", {}))
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


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_running: weakref.WeakSet[Job] = weakref.WeakSet()


@atexit.register
def _cancel_all() -> None:
    """Nothing goes on when Slicer is closed."""
    for job in list(_running):
        job.cancel()
