"""Teachers that log, hang or die, in a module that the workers of a cluster can import."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from tiny import CentreTeacher


@dataclass(frozen=True)
class LoggingTeacher(CentreTeacher):
    """Appends "started NAME PID THREADS" and "finished NAME PID THREADS" to ``log``.

    Its first attempt at ``hangs`` hangs."""

    log: str = ""
    hangs: str = ""

    def register(self, scan, template):
        first = self.hangs == scan.name and f"started {scan.name} " not in Path(self.log).read_text()
        self._note("started", scan)
        time.sleep(600 if first else 0.2)
        field = super().register(scan, template)
        self._note("finished", scan)
        return field

    def _note(self, what, scan):
        with open(self.log, "a") as file:  # a line is written at once, so that lines of several processes do not mix
            file.write(f"{what} {scan.name} {os.getpid()} {torch.get_num_threads()}\n")


@dataclass(frozen=True)
class DeadlyTeacher(CentreTeacher):
    """Its process is killed at one scan, as if memory had run out."""

    deadly: str = ""

    def register(self, scan, template):
        if scan.name == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().register(scan, template)


class UnknownTeacher(CentreTeacher):
    """From a package that the workers lack."""

    def __reduce__(self):
        return _missing, ()


def _missing():
    raise ModuleNotFoundError("No module named 'teachers'")
