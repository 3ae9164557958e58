"""Checks an installation by trying it: each device in a process of its own, which a broken torch may crash."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import Any

from SlicRegLib.jobs.failure import explain_failure
from SlicRegLib.jobs.python import find_python, make_environment

from .device_probe import MARK
from .findings import SILENT, Finding, judge_device, judge_packages, judge_torch, judge_unused_gpu
from .gpus import NO_WINDOW, describe_driver
from .requirements import REQUIREMENTS

TIMEOUT = 180.0
"""Seconds for one device: the first import of torch from a slow disk takes most of them."""


def check_installation(python: str | None = None, timeout: float = TIMEOUT) -> list[Finding]:
    """Try what a registration does on the CPU and on every CUDA device. Takes seconds.

    python: the interpreter to check instead of the one that registrations run in.
    """
    python = python or find_python()
    report, problem = probe_device(python, "cpu", timeout)
    findings = [judge_torch(report, problem)]
    if "version" not in report:
        return [*findings, judge_packages(report)] if report.get("absent") else findings
    findings += [judge_packages(report), judge_device("The CPU", report, problem, blocking=True)]
    driver, devices = describe_driver(), report.get("devices", [])
    if driver and not devices:
        findings.append(judge_unused_gpu(report, driver))
    for index, name in enumerate(devices):
        own_report, own_problem = probe_device(python, f"cuda:{index}", timeout)
        findings.append(judge_device(f"The GPU {index} ({name})", own_report, own_problem, blocking=False))
    if not driver and not devices:
        findings.append(Finding(True, "No NVIDIA GPU was found", "Registrations run on the CPU."))
    return findings


def probe_device(python: str, device: str, timeout: float) -> tuple[dict[str, Any], str]:
    """(what `device_probe` reported, why it did not finish or "")."""
    packages = {name: package.distribution for name, package in REQUIREMENTS.items() if name != "torch"}
    try:
        done = subprocess.run(
            [python, "-m", "SlicRegSlicer.device_probe", device, json.dumps(packages)],
            env=make_environment(python),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
            creationflags=NO_WINDOW,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        output = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
        return _parse_reports(output), f"{SILENT} {timeout:.0f} s."
    except OSError as error:
        return {}, f"{python} cannot be started ({error.strerror or error})."
    errors = done.stderr.splitlines()
    if done.returncode == 0:
        problem = ""
    elif done.returncode == 1:  # an exception: its last line says most
        problem = next((line.strip() for line in reversed(errors) if line.strip()), "no message")
    else:
        problem = explain_failure(done.returncode, errors)
    return _parse_reports(done.stdout), problem


def _parse_reports(output: str) -> dict[str, Any]:
    """All reports in one dictionary."""
    values: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith(MARK):
            with contextlib.suppress(ValueError):  # a line that a crash cut off
                values |= json.loads(line[len(MARK) :])
    return values
