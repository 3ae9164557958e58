"""Options of the network and of its predictions, and the network presets."""

from __future__ import annotations

from dataclasses import dataclass

STRIDE = 2  # input voxels per output voxel; output voxel o sits on input voxel 2 o


@dataclass(frozen=True)
class NetworkOptions:
    """What `build` needs to make a network."""

    kind: str = "unet"  # "deeplab" or "unet"
    layers: int = 16  # supervoxel layers = heads
    classes: int = 128  # per layer
    widths: tuple[int, ...] = (24, 64, 128, 192)  # unet: channels from stride 2 to stride 16
    hidden: int = 128  # unet: channels of the classifier's hidden layer
    stem: int = 8  # unet: channels at full resolution before the stride; 0: the strided convolution sees the image


PRESETS = {
    "paper": NetworkOptions(kind="deeplab"),
    "unet": NetworkOptions(widths=(48, 96, 192, 256), stem=16),
    "compact": NetworkOptions(stem=0),
}


@dataclass(frozen=True)
class PredictionOptions:
    """How a scan is predicted and described."""

    hard: bool = False  # describe voxels by the most likely class of each layer (as published) instead of probabilities
    buckets: int = 16  # channels per layer: each holds 8 of the 128 classes, drawn by `seed`
    smoothing: int = 5  # box filter over this many voxels of the output grid
    chunk: int = 2048  # voxels classified at a time: 2048 logits each should stay in the processor's cache
    precision: str = "auto"  # "fp32", "bf16", "fp16" or "auto": fp16 on CUDA, bf16 on CPUs that compute in it
    seed: int = 0
