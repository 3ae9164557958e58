"""What the reports of `device_probe` mean for a user, and what to do about it.

``report`` is the dictionary of a probe's reports, ``problem`` why the probe did not finish, "" where it did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .requirements import PIP, REQUIREMENTS, count_packages, is_older

SILENT = "No answer within"
"""Begins the problem of a probe that took too long."""
INSTALL = "Press Apply and confirm the installation."
REINSTALL = (
    "Reinstall PyTorch: in the module PyTorch Utils press Uninstall PyTorch, restart Slicer, "
    "then press Install PyTorch."
)
UPDATE_DRIVER = "Update the NVIDIA driver, or choose the CPU as device."
NEWER_SLICER = "Install a newer Slicer."

# text of an error on a device -> cure; the first that matches counts
DEVICE_CURES = (
    (
        r"(?i)numpy is not available|_ARRAY_API|numpy\.core\.multiarray|compiled using NumPy 1",
        f"The versions of PyTorch and numpy do not match. {REINSTALL}",
    ),
    (
        r"no kernel image|not compatible with the current PyTorch",
        "This PyTorch was not built for this GPU; choose the CPU as device, or install PyTorch for another CUDA "
        "version in the module PyTorch Utils.",
    ),
    (r"out of memory", "Close other programs that use the GPU, or choose the CPU as device."),
)


@dataclass(frozen=True)
class Finding:
    """One result of the check."""

    ok: bool
    title: str
    detail: str = ""
    cure: str = ""
    """What to do; "" where ``ok``."""
    blocking: bool = False
    """Whether no registration can run before it is cured."""


def judge_torch(report: dict[str, Any], problem: str) -> Finding:
    """Whether torch can be imported and is new enough."""
    if version := report.get("version"):
        minimum = REQUIREMENTS["torch"].minimum
        if is_older(version, minimum):
            detail = f"Version {minimum} or newer is needed. {report.get('place', '')}".strip()
            return Finding(False, f"PyTorch {version} is too old", detail, REINSTALL, blocking=True)
        build = f"for CUDA {report['cuda']}" if report.get("cuda") else "for the CPU"
        return Finding(True, f"PyTorch {version}, built {build}", report.get("place", ""))
    if "absent" not in report:
        title, detail, cure = "Slicer's Python does not start", problem, "Install Slicer again."
    elif problem.startswith("ModuleNotFoundError: No module named 'torch'"):
        title, detail, cure = "PyTorch is not installed", "", f"{INSTALL} It uses the PyTorch extension."
    elif problem.startswith(SILENT):
        title, detail = "PyTorch takes too long to be imported", problem
        cure = "Wait until other programs have finished, then check again."
    else:
        title, detail = "PyTorch cannot be imported: its installation is incomplete", problem
        cure = REINSTALL
    return Finding(False, title, detail, cure, blocking=True)


def judge_packages(report: dict[str, Any]) -> Finding:
    """Whether all packages but torch can be imported and are new enough."""
    absent = report.get("absent", [])
    broken = {name: why for name, why in report.get("broken", {}).items() if name not in absent}
    old = {
        name: version
        for name, version in report.get("versions", {}).items()
        if name not in broken and is_older(version, REQUIREMENTS[name].minimum)
    }
    unusable = {*absent, *broken, *old}
    if not unusable:
        names = ", ".join(name for name in REQUIREMENTS if name != "torch")
        return Finding(True, "All other Python packages are installed", names)
    details = [
        *(f"{name} is missing" for name in absent),
        *(f"{name} cannot be imported ({why})" for name, why in broken.items()),
        *(f"{REQUIREMENTS[name].requirement} is needed, {version} is installed" for name, version in old.items()),
    ]
    by_pip = {name for name in unusable if REQUIREMENTS[name].source == PIP}
    names = " ".join(REQUIREMENTS[name].distribution for name in broken if name in by_pip)
    reinstall = f"In Slicer's Python console: slicer.util.pip_install('--force-reinstall --no-deps {names}')."
    cures = [
        *([INSTALL] if by_pip - set(broken) else []),
        *([reinstall] if names else []),
        *([NEWER_SLICER] if by_pip != unusable else []),
    ]
    title = f"{count_packages(len(details))} cannot be used"
    return Finding(False, title, "; ".join(details), " ".join(cures), blocking=True)


def judge_device(device: str, report: dict[str, Any], problem: str, blocking: bool) -> Finding:
    """Whether the computation on a device succeeded; device: as it begins a sentence, such as "The CPU"."""
    if "seconds" in report:
        detail = f"A convolution and a resampling with gradients took {report['seconds']:.2f} s."
        return Finding(True, f"{device} works", detail)
    known = (cure for pattern, cure in DEVICE_CURES if re.search(pattern, problem))
    cure = next(known, REINSTALL if blocking else UPDATE_DRIVER)
    return Finding(False, f"{device} does not work", problem, cure, blocking)


def judge_unused_gpu(report: dict[str, Any], driver: str) -> Finding:
    """Why torch sees no GPU although there is an NVIDIA driver; driver: as from `describe_driver`."""
    version, cuda, why = report["version"], report.get("cuda"), report.get("no_cuda", "")
    title, cure = "The NVIDIA GPU is not used", UPDATE_DRIVER
    if not cuda:
        detail = f"PyTorch {version} is a build without CUDA, although there is {driver}."
        cure = f"For faster registrations install PyTorch with CUDA. {REINSTALL}"
    elif "driver" in why and "old" in why:
        title = "The NVIDIA driver is too old for this PyTorch"
        detail = f"{driver}; PyTorch {version} is built for CUDA {cuda}: {why}"
        cure = "Update the NVIDIA driver, or install PyTorch for an older CUDA version in the module PyTorch Utils."
    else:
        detail = f"PyTorch {version} finds no GPU, although there is {driver}{': ' if why else '.'}{why}"
    return Finding(False, title, detail, cure)
