"""Which processor computes, in which precision, and how much memory it took."""

from __future__ import annotations

import sys

import torch

from ..errors import UserError


def choose_device(name: str) -> tuple[torch.device, str]:
    """The device called "auto", "cpu", "cuda" or "cuda:N", and why it was chosen. Raises UserError for a missing GPU."""
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


def choose_precision(device: torch.device, precision: str, training: bool = False) -> str:
    """What "auto" means: fp16 on CUDA; on a CPU that computes in it bf16 for predictions, else fp32.

    Not bf16 for a training on the CPU: on some frames its convolutions give gradients that are not numbers (seen with
    torch 2.13).
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "fp16"
    return "bf16" if _computes_bf16() and not training else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The mixed-precision context for ``precision``, as in `choose_precision`, on ``device``."""
    precision = choose_precision(device, precision)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def _computes_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16; elsewhere it is emulated and slow."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # recent versions of torch have them
    return any(getattr(torch.cpu, name, bool)() for name in checks)
