"""The GPUs of this computer, without torch."""

from __future__ import annotations

import platform
import shutil
import sys

from .translation import _
from .waiting import run_program

DRIVER_SECONDS = 10.0
"""How long the NVIDIA driver may take to answer."""


def describe_driver() -> str:
    """Name and driver version of each NVIDIA GPU, such as "NVIDIA T4, 550.54; NVIDIA T4, 550.54"; "" if there is none.

    The application handles events meanwhile, since a driver may take seconds to answer.
    """
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    try:
        done = run_program([program, "--query-gpu=name,driver_version", "--format=csv,noheader"], DRIVER_SECONDS)
    except OSError:
        return ""
    return "; ".join(line.strip() for line in done.output.splitlines() if line.strip()) if done.code == 0 else ""


def list_gpus() -> list[tuple[str, str]]:
    """[("cuda:0", its name), ...] of the GPUs that the driver knows, and ("mps", ...) on a Mac with Apple silicon.

    Torch may not be able to use all of them.
    """
    names = [entry.rpartition(",")[0].strip() for entry in describe_driver().split("; ") if entry]
    nvidia = [(f"cuda:{index}", name) for index, name in enumerate(names)]
    return [*nvidia, ("mps", _("Apple GPU"))] if has_apple_gpu() else nvidia


def has_apple_gpu() -> bool:
    """Whether this is a Mac with Apple silicon, whose GPU torch calls "mps"."""
    return sys.platform == "darwin" and platform.machine() == "arm64"
