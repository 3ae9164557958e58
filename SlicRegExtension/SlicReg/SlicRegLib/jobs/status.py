"""How far a job is."""

from __future__ import annotations

import csv
import json
import os
import platform
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..errors import UserError
from ..images.files import write_json
from .options import read_config
from .ownership import Owner, find_owner


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    state: "absent" (no job here), "running", "paused", "finished", "failed" (``error`` says why), "stopped", or "interrupted"
    (it ended without saying so). share: of the stage, fraction: of the whole job, 0 to 1. remaining: seconds, None while unknown.
    seconds: spent in each stage by all runs. updated: seconds since 1970.
    """

    state: str = "absent"
    stage: str = ""
    share: float = 0.0
    fraction: float = 0.0
    remaining: float | None = None
    message: str = ""
    error: str = ""
    updated: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)


def read_state(folder: str | Path) -> JobState:
    """Never raises: a folder without a job is in the state "absent"."""
    said = read_last_state(folder)
    if owner := find_owner(folder):
        return replace(said, state="paused" if _is_paused(owner) else "running", error="")
    return replace(said, state="interrupted", remaining=None) if said.state == "running" else said


def read_last_state(folder: str | Path) -> JobState:
    """What the last run said, whether or not it still runs."""
    try:
        return JobState(**json.loads((Path(folder) / "state.json").read_text()))
    except (OSError, ValueError, TypeError):
        return JobState("interrupted" if os.path.isfile(Path(folder) / "job.json") else "absent")


def read_curve(folder: str | Path) -> list[tuple[float, ...]]:
    """Rows of (iteration, seconds, training loss, validation loss, validation accuracy) so far."""
    try:
        name = read_config(folder)["name"]
        with open(Path(folder) / f"{name}_curve.csv", newline="") as file:
            return [tuple(float(value) for value in row) for row in list(csv.reader(file))[1:]]
    except (UserError, OSError, ValueError):
        return []


def _is_paused(owner: Owner) -> bool:
    import psutil

    try:
        return owner.host == platform.node() and psutil.Process(owner.pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def write_state(folder: str | Path, state: JobState) -> None:
    write_json(Path(folder) / "state.json", asdict(state))
