"""How far a job is: the file state.json, and what can be concluded from the folder's owner."""

from __future__ import annotations

import csv
import os
import platform
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..images.files import write_json
from ..images.json_reading import read_json
from .lock import Owner, find_owner
from .options import read_config

STATES = ("absent", "running", "paused", "finished", "failed", "stopped", "interrupted")


@dataclass(frozen=True)
class JobState:
    """How far a job is."""

    state: str = "absent"
    """ "absent" (no job), "running", "paused", "finished", "failed", "stopped", or "interrupted" (it ended without
    writing its last state)."""
    stage: str = ""
    """One of `stages.LEARN`."""
    share: float = 0.0
    """How much of the stage is done, 0 to 1."""
    fraction: float = 0.0
    """How much of the whole job is done, 0 to 1."""
    remaining: float | None = None
    """Estimated seconds to the end of the job; None if unknown."""
    message: str = ""
    error: str = ""
    """Why the job failed; "" if it did not."""
    updated: float = 0.0
    """When this was written, seconds since 1970."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage -> its time in all runs."""


def read_state(folder: str | Path) -> JobState:
    """The state of the job in ``folder``. Raises nothing: without a job it is "absent"."""
    last = read_last_state(folder)
    if owner := find_owner(folder):
        return replace(last, state="paused" if _is_paused(owner) else "running", error="")
    return replace(last, state="interrupted", remaining=None) if last.state == "running" else last


def read_last_state(folder: str | Path) -> JobState:
    """The last state that a run wrote, whether or not it still runs."""
    try:
        return _make_state(read_json(Path(folder) / "state.json"))
    except (OSError, ValueError, TypeError, AttributeError):
        return JobState("interrupted" if os.path.isfile(Path(folder) / "job.json") else "absent")


def _make_state(content: dict[str, Any]) -> JobState:
    """Raises TypeError or ValueError for a content that is none of a state."""
    state = JobState(**content)
    texts = (state.state, state.stage, state.message, state.error)
    numbers = (
        state.share,
        state.fraction,
        state.updated,
        0.0 if state.remaining is None else state.remaining,
        *state.seconds.values(),
    )
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, (int, float)) for n in numbers):
        raise TypeError("a value has a wrong type")
    if state.state not in STATES:
        raise ValueError("the state is unknown")
    return state


def write_state(folder: str | Path, state: JobState) -> None:
    """Write state.json; atomic."""
    write_json(Path(folder) / "state.json", asdict(state))


def read_curve(folder: str | Path) -> list[tuple[float, ...]]:
    """Rows of (iteration, seconds, training loss, validation loss, validation accuracy); empty if there are none."""
    try:
        name = read_config(folder)["name"]
        with open(Path(folder) / f"{name}_curve.csv", newline="") as file:
            return [tuple(float(value) for value in row) for row in list(csv.reader(file))[1:]]
    except (UserError, OSError, ValueError, KeyError, csv.Error):
        return []


def _is_paused(owner: Owner) -> bool:
    import psutil

    try:
        return owner.host == platform.node() and psutil.Process(owner.pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False
