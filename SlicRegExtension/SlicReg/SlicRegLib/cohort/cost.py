"""What a training costs in time, memory and disk."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError

# Measured on a server CPU with 1.15 million voxels (128 x 80 x 112 at 4 mm), unless said otherwise.
MEASURED_VOXELS = 1.15e6
TEACHER_SECONDS = {"refinement": 4.1, "convexadam": 16.5, "deeds": 16.5}
"""Per scan and process of one core: 80 scans took 2 min 44 s and 11 min with 2 processes. deeds: assumed."""
TRAINING_SECONDS = {"compact": 1.45, "unet": 4.0, "paper": 6.1}
"""Per scan and iteration on two cores: compact 2.9 s for 2 scans, paper 24.3 s for 4. unet: estimated, not measured."""
CUDA_TRAINING_SECONDS = {"compact": 0.013, "unet": 0.03, "paper": 0.018}
"""Per scan and iteration on an H200, whole trainings: compact 37 s, paper 211 s. unet: estimated, not measured."""
STUDY_MB = 1.0
"""Per scan in the study: 80 scans take 80 MB."""
TRAINING_GB, TRAINING_GB_PER_SCAN = 0.6, {"compact": 0.45, "unet": 1.0, "paper": 1.75}
"""The process, and each scan of a batch: compact took 1.5 GB with 2; paper 7.6 GB with 4."""
ALL_VOXELS_GB = 2.2
"""More for each scan of a batch of paper if its loss is taken at all voxels: 16.3 GB with 4."""
TEACHER_GB = 1.0
"""Memory of each process that runs the teacher."""


@dataclass(frozen=True)
class TrainingCost:
    """What a training will take."""

    teacher_hours: float
    training_hours: float
    memory_gb: float
    disk_gb: float
    note: str
    """How reliable the figures are."""

    def __str__(self) -> str:
        teacher, training = _format_time(self.teacher_hours), _format_time(self.training_hours)
        return (
            f"about {teacher} for the teacher and {training} for the training, {self.memory_gb:.1f} GB of memory and "
            f"{self.disk_gb:.2g} GB of disk ({self.note})"
        )


def _format_time(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"


def estimate_cost(
    scans: int,
    voxels: int,
    preset: str,
    iterations: int,
    batch: int,
    jobs: int,
    cuda: bool,
    teacher: str = "refinement",
    all_voxels: bool = False,
    rounds: int = 1,
) -> TrainingCost:
    """Time, memory and disk of a training on ``scans`` usable scans.

    voxels: of the canonical frame (`preparation.fit_shape`); everything but the processes' own memory is proportional
    to it. jobs: processes of the teacher. cuda: whether a GPU trains the network; the memory is the computer's, not the
    GPU's. all_voxels: whether the loss is taken at all voxels. rounds: how often the teacher registers each scan.
    """
    seconds = (CUDA_TRAINING_SECONDS if cuda else TRAINING_SECONDS).get(preset)
    if seconds is None:
        raise UserError(f"There is no preset {preset}; choose one of {', '.join(TRAINING_SECONDS)}.")
    size = voxels / MEASURED_VOXELS
    per_scan = TRAINING_GB_PER_SCAN[preset] + ALL_VOXELS_GB * all_voxels
    at_once = max(1, min(jobs, scans))
    note = "extrapolated from a server CPU, with two of its cores for the training; other computers differ"
    if cuda:
        note = "the training time is that of a server's GPU; others take several times as long"
    elif preset == "unet":
        note += "; the time of the unet is estimated, not measured"
    return TrainingCost(
        teacher_hours=TEACHER_SECONDS[teacher] * size * scans * rounds / at_once / 3600,
        training_hours=seconds * size * iterations * batch / 3600,
        memory_gb=max(TRAINING_GB + per_scan * size * batch, TEACHER_GB * max(1.0, size) * at_once),
        disk_gb=STUDY_MB * size * scans / 1000,
        note=note,
    )
