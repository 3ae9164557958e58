"""Options of the training and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import refuse


@dataclass(frozen=True)
class AugmentationOptions:
    """Random changes of a training scan, drawn anew for each sample."""

    affine_noise: float = 0.07  # linear part: I + noise * randn(3, 3) in the normalised frame
    shift_noise: float = 0.07  # of half the frame's extent, per axis
    gain_noise: float = 0.0  # HU are multiplied by 1 + noise * randn
    hu_noise: float = 0.0  # sd of noise added per voxel, HU
    rotation: float = 0.0  # up to this many degrees about any axis, in `pose_share` of the samples
    scaling: float = 0.0  # and sizes from 1 - scaling to 1 / (1 - scaling)
    pose_share: float = 0.5
    crop_share: float = 0.0  # of the samples see a part of the scan, as if the field of view ended there
    crop_mm: tuple[float, float] = (120.0, 320.0)  # length of that part along the body (world S axis)


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained; `training_preset` has the values that go with each network preset."""

    iterations: int = 1500
    batch: int = 2
    learning_rate: float = 0.002  # of Adam
    decay: bool = True  # cosine from learning_rate to a hundredth of it; False: constant
    loss_voxels: int | None = 2500  # body voxels per scan in the loss; None: every voxel of the output grid
    validation_scans: int = 4  # kept apart from training, spread over the cohort; at most a fifth of it
    validation_every: int = 100  # iterations
    checkpoint_every: int = 50  # iterations
    checkpoint_seconds: float = 60.0  # where that many iterations take longer
    loaders: int | None = None  # threads that make batches; None: as many as help on the device
    precision: str = "auto"  # "fp32", "bf16", "fp16" or "auto": fp16 on CUDA, fp32 on CPUs
    seed: int = 0
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)

    def __post_init__(self):
        refuse(
            "Training",
            [
                (self.iterations < 1, "iterations must be at least 1"),
                (self.batch < 1, "batch must be at least 1"),
                (not 0 < self.learning_rate < 1, "the learning rate must lie between 0 and 1"),
                (self.loss_voxels is not None and self.loss_voxels < 1, "loss voxels must be at least 1"),
                (self.validation_every < 1, "validation every must be at least 1 iteration"),
                (self.checkpoint_every < 1, "checkpoint every must be at least 1 iteration"),
                (self.loaders is not None and self.loaders < 0, "loaders must not be negative"),
                (self.precision not in ("auto", "fp32", "bf16", "fp16"), f"unknown precision {self.precision!r}"),
            ],
        )


def training_preset(preset: str, **changes) -> TrainingOptions:
    """Options for a network preset; "paper": the published schedule, the others what suits a small dense UNet."""
    if preset == "paper":
        base = dict(iterations=3000, batch=4, learning_rate=0.004, decay=False, loss_voxels=None)
    else:
        base = dict(
            augmentation=AugmentationOptions(
                shift_noise=0.12, gain_noise=0.05, hu_noise=15.0, rotation=28.0, scaling=0.16, crop_share=0.35
            )
        )
    return TrainingOptions(**{**base, **changes})
