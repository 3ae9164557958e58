"""What a training costs in time, memory and disk."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError
from .check import Cohort

# What a training costs, at 1.15 million voxels (128 x 80 x 112 at 4 mm), measured on a server CPU unless said otherwise.
MEASURED_VOXELS = 1.15e6
TEACHER_SECONDS = 16.5  # convexAdam, per scan and process of one core: 80 scans took 11 minutes with 2 processes
# per scan and iteration on two cores: compact 2.9 s for 2 scans, paper 105 s for 4; unet: not measured, estimated from compact
TRAINING_SECONDS = {"compact": 1.45, "unet": 4.0, "paper": 26.0}
CUDA_TRAINING_SECONDS = {"compact": 0.1, "unet": 0.15, "paper": 0.3}  # not measured: assumed
STUDY_MB = 1.0  # per scan in the study: 80 scans take 80 MB
# the process, and each scan of the batch: compact took 1.5 GB with 2, paper 16.3 GB with 4 (its loss is taken at all voxels)
TRAINING_GB, TRAINING_GB_PER_SCAN = 0.6, {"compact": 0.45, "unet": 1.0, "paper": 4.0}
TEACHER_GB = 1.0  # per process


@dataclass(frozen=True)
class TrainingCost:
    """What a training will take; ``note`` says how far it can be trusted."""

    teacher_hours: float
    training_hours: float
    memory_gb: float
    disk_gb: float
    note: str

    def __str__(self) -> str:
        hours = f"about {_hours(self.teacher_hours)} for the teacher and {_hours(self.training_hours)} for the training"
        return f"{hours}, {self.memory_gb:.1f} GB of memory and {self.disk_gb:.2g} GB of disk ({self.note})"


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"


def estimate_cost(
    cohort: Cohort, voxels: int, preset: str, iterations: int, batch: int, jobs: int, cuda: bool
) -> TrainingCost:
    """Time, memory and disk of a training on the cohort's usable scans.

    voxels: of the canonical frame (`preparation.fit_shape`); all but the processes' own memory grows in proportion to them.
    jobs: processes of the teacher. cuda: whether the network is trained on a GPU; the memory is the computer's, not the GPU's.
    """
    seconds = (CUDA_TRAINING_SECONDS if cuda else TRAINING_SECONDS).get(preset)
    if seconds is None:
        raise UserError(f"There is no preset {preset}; choose one of {', '.join(TRAINING_SECONDS)}.")
    scans, size = len(cohort.usable), voxels / MEASURED_VOXELS
    at_once = max(1, min(jobs, scans))
    note = "reckoned from a server CPU, two of its cores for the training; other computers differ"
    if cuda:
        note = "the training's time on a GPU is assumed, not measured"
    elif preset == "unet":
        note += "; the unet's time is estimated, not measured"
    return TrainingCost(
        teacher_hours=TEACHER_SECONDS * size * scans / at_once / 3600,
        training_hours=seconds * size * iterations * batch / 3600,
        memory_gb=max(TRAINING_GB + TRAINING_GB_PER_SCAN[preset] * size * batch, TEACHER_GB * max(1.0, size) * at_once),
        disk_gb=STUDY_MB * size * scans / 1000,
        note=note,
    )
