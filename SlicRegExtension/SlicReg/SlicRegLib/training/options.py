"""Options of the training and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from ..errors import refuse
from ..network.options import DeviceOptions
from ..option import SEEDS, Range, Word, find_problems

ITERATIONS, BATCH, LEARNING_RATE = Range(1, 10_000_000), Range(1, 256), Range(1e-12, 1)


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions:
    """Random changes of a training scan, drawn for each sample."""

    affine_noise: Annotated[float, Range(0, 1)] = 0.07
    """Standard deviation of the linear part, I + noise * randn(3, 3) in the normalised frame."""
    shift_noise: Annotated[float, Range(0, 1)] = 0.07
    """Standard deviation of the shift along each axis, as a share of half the frame's extent."""
    gain_noise: Annotated[float, Range(0, 1)] = 0.0
    """HU are multiplied by 1 + noise * randn."""
    hu_noise: Annotated[float, Range(0, 1000)] = 0.0
    """Standard deviation of the noise that is added to each voxel, HU."""
    rotation: Annotated[float, Range(0, 180)] = 0.0
    """Largest rotation about a random axis, degrees; applied to `pose_share` of the samples."""
    scaling: Annotated[float, Range(0, 0.9)] = 0.0
    """The same samples are scaled by 1 - scaling to 1 / (1 - scaling)."""
    pose_share: Annotated[float, Range(0, 1)] = 0.5
    """Share of the samples that are rotated and scaled."""
    crop_share: Annotated[float, Range(0, 1)] = 0.0
    """Share of the samples that show only a part of the scan, as if its field of view were shorter."""
    crop_mm: Annotated[tuple[float, float], Range(1, 10_000)] = (120.0, 320.0)
    """Shortest and longest such part along the body (world S axis), mm."""

    def __post_init__(self) -> None:
        refuse(
            "Training",
            [
                *(problems := find_problems(self)),
                (not problems and self.crop_mm[0] > self.crop_mm[1], "crop mm must be the shortest, then the longest"),
            ],
        )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a network is trained; `training_preset` gives the values for each network preset."""

    iterations: Annotated[int, ITERATIONS] = 1500
    """Training steps."""
    batch: Annotated[int, BATCH] = 2
    """Scans per step."""
    learning_rate: Annotated[float, LEARNING_RATE] = 0.002
    """Initial learning rate of Adam."""
    decay: bool = True
    """Reduce the learning rate to a hundredth along a cosine; otherwise it is constant."""
    loss_voxels: Annotated[int | None, Range(1, 1_000_000)] = 2500
    """Voxels of the body per scan in the loss; None: all voxels of the output grid."""
    validation_scans: Annotated[int, Range(0, 100_000)] = 4
    """Scans held out for validation, at most a fifth of the cohort."""
    validation_every: Annotated[int, Range(1, 1_000_000)] = 100
    """Iterations between validations."""
    checkpoint_every: Annotated[int, Range(1, 1_000_000)] = 50
    """Iterations between checkpoints."""
    checkpoint_seconds: Annotated[float, Range(0, 86_400)] = 60.0
    """Longest time between checkpoints, seconds."""
    loaders: Annotated[int | None, Range(0, 64)] = None
    """Threads that make batches in advance; None: chosen for the device."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of loss and validation. auto: fp16 on CUDA, fp32 on CPUs."""
    seed: Annotated[int, SEEDS] = 0
    """Random seed of weights and samples."""
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)

    def __post_init__(self) -> None:
        refuse("Training", find_problems(self))


def training_preset(preset: str, **changes: Any) -> TrainingOptions:
    """Options for a network preset: for "paper" the published schedule, for the others one that suits a small UNet.

    The published loss is taken at all voxels (``loss_voxels=None``), which takes more time and memory.
    """
    if preset == "paper":
        base: dict[str, Any] = dict(iterations=3000, batch=4, learning_rate=0.004, decay=False)
    else:
        base = dict(
            augmentation=AugmentationOptions(
                shift_noise=0.12, gain_noise=0.05, hu_noise=15.0, rotation=28.0, scaling=0.16, crop_share=0.35
            )
        )
    return TrainingOptions(**{**base, **changes})


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """The preset of network and training, and changes to it."""

    preset: Literal["paper", "unet", "compact"] = "compact"
    """paper: 3-D DeepLab as published; unet: larger 3-D UNet; compact: small 3-D UNet that can be trained on a CPU."""
    iterations: Annotated[int | None, Word(metavar="N"), ITERATIONS] = None
    """Training steps; by default 3000 for paper, else 1500."""
    batch: Annotated[int | None, Word(metavar="N"), BATCH] = None
    """Scans per step; by default 4 for paper, else 2."""
    learning_rate: Annotated[float | None, Word(metavar="RATE"), LEARNING_RATE] = None
    """Initial learning rate; by default 0.004 for paper, else 0.002."""
    loss_voxels: Annotated[int | None, Word(metavar="N"), Range(0, 1_000_000)] = None
    """Voxels of the body per scan in the loss; by default 2500. 0: all voxels of the frame, as published."""
    seed: Annotated[int, SEEDS] = 0
    """Random seed of weights and samples."""

    def __post_init__(self) -> None:
        refuse("Training", find_problems(self))

    def training(self) -> TrainingOptions:
        """The preset's options with these changes."""
        changes = {"iterations": self.iterations, "batch": self.batch, "learning_rate": self.learning_rate}
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        if self.loss_voxels is not None:
            given["loss_voxels"] = self.loss_voxels or None
        return training_preset(self.preset, seed=self.seed, **given)


@dataclass(frozen=True, kw_only=True)
class TrainRequest(ScheduleOptions, DeviceOptions):
    """Train a network on a study."""

    study: Path
    """Folder made by `slicreg prepare`."""
    out: Path
    """Model file to write (.slicreg). The checkpoint and the learning curve are written beside it."""
    start: Annotated[str, Word("from", "MODEL")] = ""
    """Start from the weights of this model; where the study has other supervoxels, from those of its trunk."""
    resume: bool = False
    """Resume the same run from its checkpoint; --iterations may be more than before, to train for longer."""
    cohort: str = ""
    """A line about the training scans, stored in the model."""
    include_template: Annotated[Path | None, Word(metavar="SCAN")] = None
    """Put the template's scan into the model. Only for data that may be shared."""
    include_labels: Annotated[Path | None, Word(metavar="LABELS")] = None
    """Put the template's labels into the model, together with its scan."""
