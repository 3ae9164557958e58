"""Whole programs, measured from outside: seconds by the clock, CPU seconds and peak memory. For Linux and macOS.

As a script, it is the small process that starts a program and waits for it. A program inherits the peak memory of the
process that starts it, and a benchmark that has loaded PyTorch is not small.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Of one program, with the processes that it started and waited for, or of several that ran one after the other."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    """Of the largest process."""

    def __add__(self, later: Cost) -> Cost:
        return Cost(
            self.seconds + later.seconds, self.cpu_seconds + later.cpu_seconds, max(self.peak_mb, later.peak_mb)
        )


def run_program(command: list[str | Path], environment: dict[str, str]) -> Cost:
    """Run it to its end; ``environment`` is added to this process's. RuntimeError, with the last line that it printed,
    if it fails."""
    starter = [sys.executable, "-I", "-S", __file__]
    done = subprocess.run([*starter, *map(str, command)], env={**os.environ, **environment}, capture_output=True)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{Path(command[0]).name} failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return Cost(**json.loads(done.stdout))


def find_slicreg() -> list[str]:
    """The program that belongs to this Python."""
    program = Path(sys.executable).with_name("slicreg")
    return [str(program)] if program.exists() else [sys.executable, "-m", "SlicRegLib"]


def start_and_wait(command: list[str]) -> int:
    """Print the `Cost` of a command as JSON; what the command prints goes to stderr. Returns its exit code."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        _, status, used = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    seconds = time.perf_counter() - started
    unit = 2**20 if sys.platform == "darwin" else 2**10
    cost = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / unit}
    print(json.dumps(cost))
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode


if __name__ == "__main__":
    code = start_and_wait(sys.argv[1:])
    sys.exit(code if code >= 0 else 128 - code)
