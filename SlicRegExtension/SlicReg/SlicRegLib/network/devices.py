"""Which processor computes, and how much memory it took."""

from __future__ import annotations

import sys

import torch

from ..errors import UserError


def choose_device(name: str) -> tuple[torch.device, str]:
    """("auto", "cpu", "cuda" or "cuda:N") -> the device and why it was taken. Raises UserError for a GPU that is not there."""
    if name == "cpu":
        return torch.device("cpu"), "CPU, as asked"
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"{torch.cuda.get_device_name()}, found automatically"
        return torch.device("cpu"), "CPU, since PyTorch finds no CUDA device"
    if name.split(":")[0] != "cuda":
        raise UserError(f"Unknown device {name!r}; give auto, cpu, cuda or cuda:N.")
    if not torch.cuda.is_available():
        reason = "this PyTorch is a CPU build" if torch.version.cuda is None else "no driver or GPU was found"
        raise UserError(f"CUDA was asked for but {reason}; install a CUDA build of PyTorch or use --device cpu.")
    index = name.partition(":")[2] or "0"
    if not index.isdigit() or int(index) >= torch.cuda.device_count():
        raise UserError(f"There is no CUDA device {name!r}; this machine has {torch.cuda.device_count()}.")
    return torch.device("cuda", int(index)), f"{torch.cuda.get_device_name(int(index))}, as asked"


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Peak memory so far in MB: of the whole process, and of the GPU where one computes."""
    result = {}
    try:
        import resource  # not on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result["process"] = round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
    except ImportError:
        pass
    if device.type == "cuda":
        result["gpu"] = round(torch.cuda.max_memory_allocated(device) / (1 << 20), 1)
    return result


def autocast(device: torch.device, precision: str):
    """The mixed-precision context for ``precision`` on ``device``."""
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "bf16" if _computes_bf16() else "fp32"
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def _computes_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16; elsewhere it is emulated and slow."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # recent versions of torch have them
    return any(getattr(torch.cpu, name, bool)() for name in checks)
