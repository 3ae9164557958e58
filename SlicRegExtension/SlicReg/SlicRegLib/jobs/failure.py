"""Why a command ended: one sentence from its exit code and what it printed."""

from __future__ import annotations

import re
import signal

from .processes import WINDOWS


def explain_failure(code: int, errors: list[str]) -> str:
    """One sentence: why a command ended with exit code ``code`` after it wrote the lines ``errors`` to stderr."""
    for line in reversed(errors):
        if said := re.match(r"slicreg(?: \w+)?: (?:error: )?(.+)", line):
            return said[1]
    text = "\n".join(errors[-60:])
    if re.search(r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED", text):
        return "The GPU ran out of memory; close other programs that use it, or choose the CPU as device."
    if re.search(
        r"MemoryError|bad_alloc|DefaultCPUAllocator|([Cc]annot|can't) allocate memory|paging file is too small", text
    ):
        return "The computer ran out of memory; close other programs or crop the scans."
    if missing := re.search(r"No module named '([\w.]+)'", text):
        return f"The Python package {missing[1].split('.')[0]} is missing; install what SlicReg needs and try again."
    number = (
        -code if code < 0 and not WINDOWS else code - 128 if 128 < code < 160 else 0
    )  # shells and launchers add 128
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


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
