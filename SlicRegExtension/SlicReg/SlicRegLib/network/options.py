"""Options of the network and of its predictions, and the network presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ..errors import refuse
from ..option import SEEDS, Range, find_problems

Features = Literal["probabilities", "labels"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
STRIDE = 2
"""Input voxels per output voxel along each axis, for every network; output voxel o lies on input voxel 2 o."""


@dataclass(frozen=True)
class NetworkOptions:
    """The architecture of a network; stored in the model file."""

    kind: Literal["unet", "deeplab"] = "unet"
    """``"deeplab"`` (as published) or ``"unet"``."""
    layers: Annotated[int, Range(1, 64)] = 16
    """Supervoxel layers; each has a classifier of its own."""
    classes: Annotated[int, Range(2, 256)] = 128
    """Classes per layer: 127 supervoxels and the background."""
    widths: Annotated[tuple[int, ...], Range(1, 1024)] = (24, 64, 128, 192)
    """UNet: channels from stride 2 to stride 16."""
    hidden: Annotated[int, Range(1, 1024)] = 128
    """UNet: channels of the classifier's hidden layer."""
    stem: Annotated[int, Range(0, 256)] = 8
    """UNet: channels of a convolution at full resolution; 0 leaves it out."""

    def __post_init__(self) -> None:
        refuse(
            "The network",
            [
                *(problems := find_problems(self)),
                (not problems and not 2 <= len(self.widths) <= 6, "widths must be 2 to 6 numbers"),
            ],
        )


PRESETS = {
    "paper": NetworkOptions(kind="deeplab"),
    "unet": NetworkOptions(widths=(48, 96, 192, 256), stem=16),
    "compact": NetworkOptions(stem=0),
}
"""Networks by their name on the command line."""


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where to compute."""

    device: str = "auto"
    """Processor: auto (the first CUDA device, else an Apple GPU, else the CPU), cpu, cuda, cuda:N or mps (Apple)."""

    def __post_init__(self) -> None:
        refuse("The command", find_problems(self))


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """How the network's output becomes the features that the alignment compares."""

    features: Features = "probabilities"
    """Compare voxels by the class probabilities predicted in both scans, or by the published hard labels."""
    buckets: Annotated[int, Range(1, 128)] = 16
    """Channels per layer; each is the sum of 8 of the 128 classes, chosen at random."""
    smoothing: Annotated[int, Range(1, 31)] = 5
    """Width of the box filter on the features, in voxels of the output grid."""
    chunk: Annotated[int, Range(1, 65_536)] = 2048
    """Voxels classified at a time. Each has 2048 logits, which are not kept for all voxels at once."""
    precision: Precision = "auto"
    """Arithmetic of the network. auto: fp16 on CUDA, bf16 on CPUs with bf16 instructions, else fp32."""
    bucket_seed: Annotated[int, SEEDS] = 0
    """Random seed of the buckets."""

    def __post_init__(self) -> None:
        refuse(
            "Registration",
            [
                *(problems := find_problems(self)),
                (not problems and self.smoothing % 2 == 0, "smoothing must be an odd number of voxels"),
            ],
        )
