"""Devices: which one computes, in which precision, and its memory."""

from __future__ import annotations

import contextlib
import ctypes
import sys

import torch

from ..errors import UserError

LACKING_FLOAT64 = {"mps"}
"""Types of devices without double precision."""


def choose_device(name: str) -> tuple[torch.device, str]:
    """The device named "auto", "cpu", "cuda", "cuda:N" or "mps" (Apple's GPU), and why it was chosen, for people.

    Raises UserError for a GPU that is missing.
    """
    if name == "cpu":
        return torch.device("cpu"), "CPU, as requested"
    if name == "auto":
        return _find_device()
    if name in ("mps", "mps:0"):
        if not _offers_mps():
            raise UserError("PyTorch offers no Apple GPU (mps) here; use a Mac with Apple silicon or --device cpu.")
        return torch.device("mps"), "Apple GPU, as requested"
    if name.split(":")[0] != "cuda":
        raise UserError(f"Unknown device {name!r}; give auto, cpu, cuda, cuda:N or mps.")
    if not torch.cuda.is_available():
        reason = "this PyTorch is a CPU build" if torch.version.cuda is None else "no driver or GPU was found"
        raise UserError(f"CUDA was requested, but {reason}; install a CUDA build of PyTorch or use --device cpu.")
    index = name.partition(":")[2] or "0"
    if not index.isdigit() or int(index) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(f"There is no CUDA device {name!r}; use one of the {count}, numbered from 0, or auto.")
    return torch.device("cuda", int(index)), f"{torch.cuda.get_device_name(int(index))}, as requested"


def _find_device() -> tuple[torch.device, str]:
    """CUDA where there is any, then Apple's GPU where it computes what is needed, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda"), f"{torch.cuda.get_device_name()}, found automatically"
    if not _offers_mps():
        return torch.device("cpu"), "CPU, since PyTorch finds no CUDA device"
    if problem := try_operations(torch.device("mps")):
        return torch.device("cpu"), f"CPU, since this PyTorch cannot compute on the Apple GPU ({problem})"
    return torch.device("mps"), "Apple GPU, found automatically"


def _offers_mps() -> bool:
    mps = getattr(torch.backends, "mps", None)  # absent in builds for other systems
    return bool(mps and mps.is_available())


def try_operations(device: torch.device) -> str:
    """Try the operations that a device may lack, on a few numbers: the problem, or "" where all of them work."""
    try:
        scan = torch.ones(1, 1, 4, 4, 4, device=device)
        weight = torch.ones(1, 1, 3, 3, 3, device=device, requires_grad=True)
        field = torch.zeros(1, 2, 2, 2, 3, device=device, requires_grad=True)
        features = torch.nn.functional.conv3d(scan, weight, padding=1)
        torch.nn.functional.grid_sample(features, field, align_corners=False).sum().backward()
        if weight.grad is None or not weight.grad.isfinite().all().item():
            return "wrong results"
    except (RuntimeError, NotImplementedError, TypeError) as error:
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ""


def find_wide_device(device: torch.device) -> torch.device:
    """Where double precision is computed: ``device``, or the CPU for a device that lacks it."""
    return torch.device("cpu") if device.type in LACKING_FLOAT64 else device


def widen(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in double precision, on `find_wide_device`."""
    return tensor.to(find_wide_device(tensor.device)).double()


def is_left_to_cpu(error: BaseException, device: torch.device) -> bool:
    """Whether the CPU may do what failed on ``device``: the memory of a GPU ran out, or Apple's lacks an operation."""
    if device.type == "mps":
        return isinstance(error, (RuntimeError, NotImplementedError, TypeError))
    return device.type != "cpu" and isinstance(error, torch.cuda.OutOfMemoryError)


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Peak memory so far in MB: "process" (resident; not on Windows) and, on a GPU, "gpu" (allocated by torch)."""
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


def return_free_memory() -> None:
    """Return freed memory to the system. By itself glibc keeps most of it, in pieces of which few fit again: a process
    that registers one scan after the other would grow by tens of MB each time. Does nothing elsewhere than on Linux."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)


def choose_precision(device: torch.device, precision: str, training: bool = False) -> str:
    """Resolve "auto": fp16 on CUDA, fp32 on Apple's GPU; on a CPU with bf16 instructions bf16 for predictions, else
    fp32.

    A training on the CPU does not use bf16: for some frames the gradients of its convolutions are NaN (torch 2.13).
    """
    if precision != "auto":
        return precision
    if device.type != "cpu":
        return "fp16" if device.type == "cuda" else "fp32"
    return "bf16" if _computes_bf16() and not training else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The mixed-precision context for ``precision`` ("auto", "fp32", "bf16", "fp16"; see `choose_precision`)."""
    precision = choose_precision(device, precision)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    if precision == "fp32":
        return torch.autocast("cpu", enabled=False)  # older versions of torch know no autocast for Apple's GPU
    return torch.autocast(device.type, dtype=dtype)


def _computes_bf16() -> bool:
    """Whether this CPU has bfloat16 instructions; without them it is emulated and slow."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent in older versions of torch
    return any(getattr(torch.cpu, name, bool)() for name in checks)
