"""The state of a training job in the user's words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from SlicRegLib.jobs.status import JobState
from SlicRegLib.stages import AVERAGE, CHECK, TEACHER, TRAINING

from .stage_texts import LEARN as STAGES
from .translation import _

STATES = {
    "running": _("Running, {percent}: {stage}."),
    "paused": _("Paused at {percent}: {stage}."),
    "stopped": _("Stopped at {percent}. Press Start to resume."),
    "interrupted": _("Interrupted at {percent}: the process or the computer was shut down. Press Start to resume."),
    "failed": _("Failed: {error}"),
}


def describe_duration(seconds: float) -> str:
    """Two units at most: "40 s", "12 min", "3 h 20 min", "2 days 4 h"."""
    if seconds < 59.5:
        return _("{n} s").format(n=round(seconds))
    minutes = round(seconds / 60)
    if minutes < 60:
        return _("{n} min").format(n=minutes)
    if minutes < 24 * 60:
        return _join_units(_("{n} h").format(n=minutes // 60), minutes % 60, _("min"))
    days, hours = divmod(round(seconds / 3600), 24)
    return _join_units(_("1 day") if days == 1 else _("{n} days").format(n=days), hours, _("h"))


def _join_units(larger: str, number: int, unit: str) -> str:
    return f"{larger} {number} {unit}" if number else larger


def describe_stage(state: JobState, config: Mapping[str, Any]) -> str:
    """Such as "registering scan 12 of 80"; the numbers come from the message that the stage reports.

    config: the content of job.json.
    """
    counting = {CHECK: _("checking scan {n} of {total}"), TEACHER: _("registering scan {n} of {total}")}
    if state.stage in counting and (count := re.match(r"(\d+) of (\d+)", state.message)):
        return counting[state.stage].format(n=max(1, int(count[1])), total=count[2])
    if state.stage == AVERAGE and (step := re.match(r"round (\d+): (?:.*?(\d+) of (\d+))?", state.message)):
        scan = _(", scan {n} of {total}").format(n=step[2], total=step[3]) if step[2] else ""
        return _("averaging the scans, round {n}{scan}").format(n=step[1], scan=scan)
    if state.stage == TRAINING and (step := re.match(r"iteration (\d+), loss ([\d.]+)", state.message)):
        total = _(" of {total}").format(total=config["iterations"]) if config.get("iterations") else ""
        return _("training, iteration {n}{of_total}, loss {loss}").format(n=step[1], of_total=total, loss=step[2])
    return STAGES.get(state.stage, state.stage)


def describe_state(state: JobState, config: Mapping[str, Any], curve: Sequence[tuple[float, ...]]) -> str:
    """What the job does, how long it still takes, and how good the network is; "" where there is no job.

    curve: rows as from `SlicRegLib.jobs.status.read_curve`.
    """
    if state.state == "finished":
        text = (
            _("Finished. The model {name} is in the model list on the Registration tab.")
            if config.get("models")
            else _("Finished. The model {name} is in the job folder. Add it on the Registration tab.")
        )
    else:
        text = STATES.get(state.state, "")
    text = text.format(
        percent=f"{100 * state.fraction:.0f} %",
        stage=describe_stage(state, config),
        name=config.get("name", ""),
        error=state.error or _("the cause is unknown; the end of job.log in the folder shows the last steps."),
    )
    if state.state == "running" and state.remaining is not None:
        text += " " + _("About {time} left.").format(time=describe_duration(state.remaining))
    return "\n".join(filter(None, [text, _describe_validation(curve)]))


def _describe_validation(curve: Sequence[tuple[float, ...]]) -> str:
    if not curve:
        return ""
    iteration, _seconds, training, validation, accuracy = curve[-1]
    return _(
        "Last validation (iteration {n}): training loss {training:.3f}, validation loss {validation:.3f}, "
        "{percent:.1f} % of voxels classified correctly."
    ).format(n=int(iteration), training=training, validation=validation, percent=100 * accuracy)
