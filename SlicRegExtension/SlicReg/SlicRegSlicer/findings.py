"""What the reports of `device_probe` mean for a user, and what to do about it.

``report`` is the dictionary of a probe's reports, ``problem`` why the probe did not finish, "" where it did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .requirements import PIP, REQUIREMENTS, count_packages, is_older
from .translation import _

SILENT = _("No answer within")
"""Begins the problem of a probe that took too long."""
INSTALL = _("Press Apply and confirm the installation.")
REINSTALL = _(
    "Reinstall PyTorch: in the module PyTorch Utils press Uninstall PyTorch, restart Slicer, "
    "then press Install PyTorch."
)
UPDATE_DRIVER = _("Update the NVIDIA driver, or choose the CPU as device.")
NEWER_SLICER = _("Install a newer Slicer.")
WAIT = _("Wait until other programs have finished, then check again.")

# text of an error on a device -> cure; the first that matches counts
DEVICE_CURES = (
    (
        re.compile(r"(?i)numpy is not available|_ARRAY_API|numpy\.core\.multiarray|compiled using NumPy 1"),
        _("The versions of PyTorch and numpy do not match. {reinstall}").format(reinstall=REINSTALL),
    ),
    (
        re.compile(r"no kernel image|not compatible with the current PyTorch"),
        _(
            "This PyTorch was not built for this GPU; choose the CPU as device, or install PyTorch for another CUDA "
            "version in the module PyTorch Utils."
        ),
    ),
    (
        re.compile(r"out of memory"),
        _("Close other programs that use the GPU, or choose the CPU as device."),
    ),
    (
        re.compile(r"(?i)\bmps\b"),
        _("Install a newer PyTorch in the module PyTorch Utils, or choose the CPU as device."),
    ),
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
    repair: tuple[str, ...] = ()
    """Import names of the packages that must be installed, or installed again, for a cure."""


def judge_torch(report: dict[str, Any], problem: str) -> Finding:
    """Whether torch can be imported and is new enough."""
    if version := report.get("version"):
        minimum = REQUIREMENTS["torch"].minimum
        place = report.get("place", "")
        if is_older(version, minimum):
            title = _("PyTorch {version} is too old").format(version=version)
            detail = _("Version {minimum} or newer is needed. {place}").format(minimum=minimum, place=place).strip()
            return Finding(False, title, detail, REINSTALL, blocking=True, repair=("torch",))
        title = (
            _("PyTorch {version}, built for CUDA {cuda}")
            if report.get("cuda")
            else _("PyTorch {version}, built for the CPU")
        )
        return Finding(True, title.format(version=version, cuda=report.get("cuda")), place)
    repair: tuple[str, ...] = ("torch",)
    if "absent" not in report:
        title, detail, cure, repair = _("Slicer's Python does not start"), problem, _("Install Slicer again."), ()
    elif problem.startswith("ModuleNotFoundError: No module named 'torch'"):
        cure = _("{install} It uses the PyTorch extension.").format(install=INSTALL)
        title, detail = _("PyTorch is not installed"), ""
    elif problem.startswith(SILENT):
        title, detail, cure, repair = _("PyTorch takes too long to be imported"), problem, WAIT, ()
    else:
        title, detail = _("PyTorch cannot be imported: its installation is incomplete"), problem
        cure = REINSTALL
    return Finding(False, title, detail, cure, blocking=True, repair=repair)


def judge_packages(report: dict[str, Any], problem: str = "") -> Finding:
    """Whether all packages but torch can be imported and are new enough."""
    absent = report.get("absent", [])
    broken = {name: why for name, why in report.get("broken", {}).items() if name not in absent}
    if problem.startswith(SILENT):
        return Finding(False, _("The Python packages take too long to be imported"), problem, WAIT)
    if problem and report.get("importing"):
        broken[report["importing"]] = problem  # the process ended there
    old = {
        name: version
        for name, version in report.get("versions", {}).items()
        if name not in broken and is_older(version, REQUIREMENTS[name].minimum)
    }
    unusable = {*absent, *broken, *old}
    if not unusable:
        names = ", ".join(name for name in REQUIREMENTS if name != "torch")
        return Finding(True, _("All other Python packages are installed"), names)
    details = [
        *(_("{name} is missing").format(name=name) for name in absent),
        *(_("{name} cannot be imported ({reason})").format(name=name, reason=why) for name, why in broken.items()),
        *(
            _("{package} is needed, {version} is installed").format(
                package=REQUIREMENTS[name].requirement, version=version
            )
            for name, version in old.items()
        ),
    ]
    by_pip = {name for name in unusable if REQUIREMENTS[name].source == PIP}
    names = " ".join(REQUIREMENTS[name].distribution for name in broken if name in by_pip)
    reinstall = _("In Slicer's Python console: {command}.").format(
        command=f"slicer.util.pip_install('--force-reinstall --no-deps {names}')"
    )
    cures = [
        *([INSTALL] if by_pip - set(broken) else []),
        *([reinstall] if names else []),
        *([NEWER_SLICER] if by_pip != unusable else []),
    ]
    title = _("{packages} cannot be used").format(packages=count_packages(len(details)))
    repair = tuple(name for name in REQUIREMENTS if name in by_pip)
    return Finding(False, title, "; ".join(details), " ".join(cures), blocking=True, repair=repair)


def judge_device(device: str, report: dict[str, Any], problem: str, blocking: bool) -> Finding:
    """Whether the computation on a device succeeded; device: as it begins a sentence, such as "The CPU"."""
    if "seconds" in report:
        detail = _("A convolution and a resampling with gradients took {seconds:.2f} s.")
        title = _("{device} works").format(device=device)
        return Finding(True, title, detail.format(seconds=report["seconds"]))
    known = (cure for pattern, cure in DEVICE_CURES if pattern.search(problem))
    cure = WAIT if problem.startswith(SILENT) else next(known, REINSTALL if blocking else UPDATE_DRIVER)
    repair = ("torch",) if blocking and REINSTALL in cure else ()
    return Finding(False, _("{device} does not work").format(device=device), problem, cure, blocking, repair)


def judge_unused_gpu(report: dict[str, Any], driver: str) -> Finding:
    """Why torch sees no GPU although there is an NVIDIA driver; driver: as from `describe_driver`."""
    values = {
        "version": report["version"],
        "cuda": report.get("cuda"),
        "driver": driver,
        "reason": report.get("no_cuda", ""),
    }
    title, cure = _("The NVIDIA GPU is not used"), UPDATE_DRIVER
    if not values["cuda"]:
        detail = _("PyTorch {version} is a build without CUDA, although there is {driver}.")
        cure = _("For faster registrations install PyTorch with CUDA. {reinstall}").format(reinstall=REINSTALL)
    elif "driver" in values["reason"] and "old" in values["reason"]:
        title = _("The NVIDIA driver is too old for this PyTorch")
        detail = _("{driver}; PyTorch {version} is built for CUDA {cuda}: {reason}")
        cure = _("Update the NVIDIA driver, or install PyTorch for an older CUDA version in the module PyTorch Utils.")
    elif values["reason"]:
        detail = _("PyTorch {version} finds no GPU, although there is {driver}: {reason}")
    else:
        detail = _("PyTorch {version} finds no GPU, although there is {driver}.")
    return Finding(False, title, detail.format(**values), cure)
