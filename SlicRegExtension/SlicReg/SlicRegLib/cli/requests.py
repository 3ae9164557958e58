"""What the command line asks for beyond the library's own requests."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from ..errors import UserError, refuse
from ..images.options import FrameOptions
from ..jobs.options import JobOptions
from ..jobs.worker_pool import FOLDER_PREFIX
from ..network.options import DeviceOptions
from ..option import Range, Word, find_problems
from ..registration.model_header import PHANTOM_TRUNK
from ..teaching.options import WORKERS, TeacherOptions
from ..training.options import ScheduleOptions


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How a command reports."""

    json: bool = False
    """Print progress as JSON on stdout, one line per step."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True, kw_only=True)
class LearnRequest(JobOptions):
    """Train a model in a job folder: check, teacher, training, report. Resumes after any interruption."""

    out: Annotated[Path, Word(metavar="FOLDER")]
    """Job folder. Given alone, it resumes the training in that folder."""
    quiet: bool = False
    """Show no progress; it is in FOLDER/state.json and FOLDER/job.log."""

    def job(self) -> JobOptions:
        return JobOptions(**{f.name: getattr(self, f.name) for f in fields(JobOptions)})


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """Show, pause, resume or stop the training that runs in a folder."""

    action: Annotated[Literal["status", "pause", "resume", "stop"], Word(positional=True)]
    """What to do."""
    folder: Annotated[Path, Word(metavar="FOLDER", positional=True)]
    """Job folder of `slicreg learn`."""


@dataclass(frozen=True, kw_only=True)
class InfoRequest:
    """Show what a model contains and how it was made."""

    model: Annotated[Path, Word(metavar="MODEL", positional=True)]
    """Model file (.slicreg), or the name of a bundled model."""


@dataclass(frozen=True, kw_only=True)
class DemoRequest(DeviceOptions):
    """Register synthetic trunks with the bundled model and measure the result."""

    out: Annotated[Path, Word(metavar="DIR")] = Path("demo")
    """Folder for everything that is written."""
    model: Path = Path(PHANTOM_TRUNK)
    """Model file (.slicreg), the name of a bundled model, or auto: the installed one that knows the phantoms best."""
    train: bool = False
    """Run the whole method: phantoms, teacher, supervoxels, training, registration."""
    iterations: Annotated[int, Range(1, 100_000)] = 800
    """Training steps, with --train."""
    scans: Annotated[int, Range(1, 30)] = 30
    """Size of the cohort, with --train."""
    workers: Annotated[int, Word("jobs", "N"), WORKERS] = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes of the teacher, with --train; by default one for each core."""


@dataclass(frozen=True, kw_only=True)
class RecipeRequest(ScheduleOptions, TeacherOptions, FrameOptions, DeviceOptions):
    """Repeat the paper's experiment on its data set: check, prepare, train, evaluate, print both tables."""

    recipe: Annotated[Literal["abdomen"], Word(positional=True)]
    """Which experiment: abdomen, 13 organs in 30 CT scans."""
    data: Annotated[Path, Word(metavar="DIR", positional=True)]
    """Folder that holds AbdomenIsoCrop."""
    out: Annotated[Path, Word(metavar="FOLDER")] = Path("abdomen")
    """Folder for study, model, results and table. Repeat the command to resume an interrupted run."""
    supervoxels: Annotated[str, Word(metavar="FILE")] = ""
    """Optional. The warped supervoxels that the paper's authors offer (.pth): no teacher runs."""
    preset: Literal["paper", "unet", "compact"] = "paper"
    """paper: 3-D DeepLab as published; unet: larger 3-D UNet; compact: small 3-D UNet that can be trained on a CPU."""
    shape: Annotated[tuple[int, int, int] | None, Word(metavar="R A S"), Range(16, 1024)] = (96, 80, 128)
    """Voxels of the network's frame along R, A and S, half of the scans' 192 x 160 x 256."""
    check_only: bool = False
    """Only say what the data lack."""


@dataclass(frozen=True, kw_only=True)
class ServeRequest:
    """Register on request: JSON lines on standard input and output, for programs that register often."""

    idle_minutes: Annotated[float, Range(0.001, 10_000)] = 10.0
    """Minutes without a request after which the process ends."""
    parent: Annotated[int, Word(metavar="PID"), Range(0, 2**31 - 1)] = 0
    """Number of a process with which this one ends; 0: the one that started it."""
    temporary: Annotated[Path | None, Word(metavar="DIR")] = None
    """Folder of temporary files that is removed if that process dies: SlicRegSession-... in the folder for such."""

    def __post_init__(self) -> None:
        refuse("The server", find_problems(self))
        if self.temporary is not None and not _is_session_folder(self.temporary):
            raise UserError(
                f"{self.temporary} would be removed with all that it holds; give a folder {FOLDER_PREFIX}... in "
                f"{tempfile.gettempdir()}."
            )


def _is_session_folder(path: Path) -> bool:
    full = Path(os.path.abspath(path))
    return full.name.startswith(FOLDER_PREFIX) and os.path.realpath(full.parent) == os.path.realpath(
        tempfile.gettempdir()
    )
