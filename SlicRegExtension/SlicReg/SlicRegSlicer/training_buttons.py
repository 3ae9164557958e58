"""Which buttons of the Training tab make sense now, and why the others do not."""

from __future__ import annotations

from pathlib import Path

from SlicRegLib.jobs.view import JobView

from .translation import _

BUTTONS = ("Check", "Start", "Pause", "Stop", "Curves", "Report", "Use")


def is_finished(job: JobView) -> bool:
    return bool(job.config) and job.state.state == "finished"


def find_next_folder(job: JobView, folder: str, name: str) -> str:
    """The folder of another training, beside that of the finished one, for a model with another name; "" where the form
    shows the finished job or none is finished."""
    return str(Path(folder).parent / name) if is_finished(job) and name != job.config["name"] else ""


def find_reasons(job: JobView, busy: str, isChecking: bool, missing: str, another: str) -> dict[str, str]:
    """Button -> why it is disabled; "" where it is enabled.

    busy: why nothing can be started now; "" if it can. missing: what must still be chosen for a new training. another:
    as from `find_next_folder`.
    """
    if job.is_active:
        busy = busy or _("The training is running.")
    idle = "" if job.is_active else _("No training is running.")
    done = ""
    if another and Path(another).exists():
        done = _("The folder {folder} exists already; choose another job folder or model name.").format(folder=another)
    elif is_finished(job) and not another:
        done = _("This training is finished. Enter another model name or job folder for a new one.")
    missing = missing if another or not job.config else ""
    checked = _("The scans were checked when this training started.") if job.config else ""
    return {
        "Check": busy or checked or missing,
        "Start": busy or missing or done,
        "Pause": idle,
        "Stop": "" if isChecking else idle,
        "Curves": "" if job.curve else _("There are no curves before the first validation."),
        "Report": "" if job.report else _("The report is written at the end of the training."),
        "Use": "" if is_finished(job) else _("There is no model before the end of the training."),
    }
