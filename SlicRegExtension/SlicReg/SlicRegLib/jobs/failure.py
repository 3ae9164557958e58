"""Why a command failed: one sentence from its exit code and what it printed."""

from __future__ import annotations

import re
import signal

from .processes import WINDOWS


def explain_failure(code: int, errors: list[str]) -> str:
    """Why a command ended with exit code ``code``. errors: the lines that it wrote to stderr."""
    for line in reversed(errors):
        if sentence := re.match(r"slicreg: (.+)", line):
            return sentence[1]
    text = "\n".join(errors[-60:])
    if re.search(r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED", text):
        return "The GPU ran out of memory; close other programs that use it, or choose the CPU as device."
    if re.search(
        r"MemoryError|bad_alloc|DefaultCPUAllocator|([Cc]annot|can't) allocate memory|paging file is too small", text
    ):
        return "The computer ran out of memory; close other programs or crop the scans."
    if missing := re.search(r"No module named '([\w.]+)'", text):
        return f"The Python package {missing[1].split('.')[0]} is missing; install SlicReg's packages and try again."
    # a signal's number; shells and launchers add 128
    number = -code if code < 0 and not WINDOWS else code - 128 if 128 < code < 160 else 0
    if number == getattr(signal, "SIGKILL", 9):
        return (
            "The system ended the process, most likely because memory ran out; close other programs or crop the scans."
        )
    if number:
        return f"The process was ended by {_name_signal(number)}; see the log."
    if WINDOWS and code & 0xFFFFFFFF in (0xC0000017, 0xC000012D):
        return "The computer ran out of memory; close other programs or crop the scans."
    if WINDOWS and code & 0xFFFFFFFF >= 0xC0000000:
        return f"The process crashed (Windows code 0x{code & 0xFFFFFFFF:X}); see the log."
    last = next((line.strip() for line in reversed(errors) if line.strip()), "")
    return f"The process ended with code {code}{f' ({last})' if last else ''}; see the log."


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
