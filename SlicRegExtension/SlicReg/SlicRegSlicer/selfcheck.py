"""Checks an installation by trying it: each device in a process of its own, which a broken torch may crash."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from SlicRegLib.jobs.failure import explain_failure
from SlicRegLib.jobs.python import find_python, make_environment

from .device_probe import MARK, PACKAGES_ONLY
from .findings import SILENT, Finding, judge_device, judge_packages, judge_torch, judge_unused_gpu
from .gpus import describe_driver
from .requirements import REQUIREMENTS
from .translation import _
from .waiting import run_program

TIMEOUT = 180.0
"""Seconds for one device: the first import of torch from a slow disk takes most of them."""


def check_installation(python: str | None = None, timeout: float = TIMEOUT) -> list[Finding]:
    """Try what a registration does on the CPU and on every GPU. Takes seconds, in which the application handles events.

    python: the interpreter to check instead of the one that registrations run in.
    """
    python = python or find_python()
    report, problem = probe_device(python, "cpu", timeout)
    findings = [judge_torch(report, problem)]
    if "absent" in report and ("version" in report or not problem.startswith(SILENT)):
        # in a process of its own: whether torch works says nothing about the others, nor they about it
        findings.append(judge_packages(*probe_device(python, PACKAGES_ONLY, timeout)))
    if "version" not in report:
        return findings
    findings.append(judge_device(_("The CPU"), report, problem, blocking=True))
    driver, devices = describe_driver(), report.get("devices", [])
    if driver and not devices:
        findings.append(judge_unused_gpu(report, driver))
    gpus = [
        (f"cuda:{index}", _("The GPU {index} ({name})").format(index=index, name=name))
        for index, name in enumerate(devices)
    ]
    if report.get("mps"):
        gpus.append(("mps", _("The Apple GPU (mps)")))
    for device, title in gpus:
        findings.append(judge_device(title, *probe_device(python, device, timeout), blocking=False))
    if not driver and not gpus:
        findings.append(Finding(True, _("No GPU was found"), _("Registrations run on the CPU.")))
    return findings


def probe_device(python: str, device: str, timeout: float) -> tuple[dict[str, Any], str]:
    """(what `device_probe` reported, why it did not finish or "")."""
    packages = {name: package.distribution for name, package in REQUIREMENTS.items() if name != "torch"}
    words = [python, "-m", "SlicRegSlicer.device_probe", device, json.dumps(packages)]
    try:
        done = run_program(words, timeout, make_environment(python))
    except OSError as error:
        reason = error.strerror or error
        return {}, _("{python} cannot be started ({reason}).").format(python=python, reason=reason)
    report, errors = _parse_reports(done.output), done.errors.splitlines()
    if done.code is None:
        return report, f"{SILENT} {timeout:.0f} s."
    if done.code == 0:
        return report, ""
    if done.code == 1:  # an exception: its last line says most
        return report, next((line.strip() for line in reversed(errors) if line.strip()), _("no message"))
    return report, explain_failure(done.code, errors)


def _parse_reports(output: str) -> dict[str, Any]:
    """All reports in one dictionary."""
    values: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith(MARK):
            with contextlib.suppress(ValueError):  # a line that a crash cut off
                values |= json.loads(line[len(MARK) :])
    return values
