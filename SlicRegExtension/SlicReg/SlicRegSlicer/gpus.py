"""The NVIDIA GPUs of this computer, without torch."""

from __future__ import annotations

import shutil
import subprocess

from SlicRegLib.jobs.processes import WINDOWS

NO_WINDOW = subprocess.CREATE_NO_WINDOW if WINDOWS else 0
"""``creationflags`` for a process that opens no console window."""


def describe_driver() -> str:
    """Name and driver version of each GPU, such as "NVIDIA T4, 550.54; NVIDIA T4, 550.54"; "" if there is none."""
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,driver_version", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            creationflags=NO_WINDOW,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ""


def list_gpus() -> list[tuple[str, str]]:
    """[("cuda:0", its name), ...] of the GPUs that the driver knows; torch may not be able to use all of them."""
    names = [entry.rpartition(",")[0].strip() for entry in describe_driver().split("; ") if entry]
    return [(f"cuda:{index}", name) for index, name in enumerate(names)]
