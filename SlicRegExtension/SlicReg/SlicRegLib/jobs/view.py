"""What a job's folder shows to somebody who watches the job from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..images.json_reading import read_json
from .options import read_config
from .status import JobState, read_curve, read_state

CHECK_FILE, CHECK_PICTURE = "cohort.json", "cohort_unusual.png"
PICTURE, REPORT = "validation.png", "report.html"


@dataclass(frozen=True)
class JobView:
    """One look at a folder. Paths are None where the file is not there."""

    state: JobState = field(default_factory=JobState)
    config: dict[str, Any] = field(default_factory=dict)
    """The content of job.json; empty where there is no job."""
    curve: list[tuple[float, ...]] = field(default_factory=list)
    """As from `read_curve`."""
    findings: str = ""
    """Summary of the last check of the scans."""
    picture: Path | None = None
    """The newest validation; in a folder without a job, the unusual scans."""
    check_picture: Path | None = None
    """The unusual scans of the last check."""
    report: Path | None = None

    @property
    def is_active(self) -> bool:
        """Whether a process works in the folder."""
        return self.state.state in ("running", "paused")


def view_job(folder: str) -> JobView:
    """Look at ``folder``, which may be "". Never raises: a folder that cannot be read shows a failed job."""
    if not folder:
        return JobView()
    path = Path(folder)
    try:
        state = read_state(path)
        config = {} if state.state == "absent" else read_config(path)
    except ImportError:  # packages are missing, so nothing can run either
        state, config = JobState(), {}
    except UserError as error:
        state, config = JobState("failed", error=str(error)), {}
    return JobView(
        state=state,
        config=config,
        curve=read_curve(path) if config else [],
        findings=_read_findings(path),
        picture=_path_if_file(path / (CHECK_PICTURE if state.state == "absent" else PICTURE)),
        check_picture=_path_if_file(path / CHECK_PICTURE),
        report=_path_if_file(path / REPORT),
    )


def _read_findings(folder: Path) -> str:
    try:
        return str(read_json(folder / CHECK_FILE)["summary"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _path_if_file(path: Path) -> Path | None:
    return path if path.is_file() else None
