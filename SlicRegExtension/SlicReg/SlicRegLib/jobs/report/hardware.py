"""This computer in words."""

from __future__ import annotations

import platform
from pathlib import Path


def describe_hardware() -> dict[str, str | int | float]:
    """{"processor", "cores" that this process may use, "memory_gb", "gpu": name and memory of each, or "none"}."""
    import joblib
    import psutil
    import torch

    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": _name_processor(),
        "cores": joblib.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GB)" for gpu in gpus) or "none",
    }


def _name_processor() -> str:
    try:  # on Linux, `platform` knows only the architecture
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
