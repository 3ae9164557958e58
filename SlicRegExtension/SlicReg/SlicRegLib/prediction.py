"""From a prepared scan to what the alignment needs: the probability of each supervoxel at each voxel of the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .geometry import Grid
from .networks import STRIDE, SupervoxelNet
from .preparation import Prepared, network_input


@dataclass(frozen=True)
class PredictionOptions:
    """How a scan is predicted and described."""

    hard: bool = False  # describe voxels by the most likely class of each layer (as published) instead of probabilities
    buckets: int = 16  # channels per layer: each holds 8 of the 128 classes, drawn by `seed`
    smoothing: int = 5  # box filter over this many voxels of the output grid
    chunk: int = 2048  # voxels classified at a time: 2048 logits each should stay in the processor's cache
    precision: str = "auto"  # "fp32", "bf16", "fp16" or "auto": fp16 on CUDA, bf16 on CPUs that compute in it
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Description:
    """A scan as the network sees it.

    features: (i, j, k, layers * buckets) float32, class probabilities summed in buckets and smoothed, channels last.
    grid: the output grid they lie on (twice the canonical voxel edge).
    centroids: (layers, classes, 4) float64: probability mass, then its centre in world mm (0 where there is no mass).
    """

    features: torch.Tensor
    grid: Grid
    centroids: torch.Tensor


def autocast(device: torch.device, precision: str):
    """The mixed-precision context for ``precision`` on ``device``."""
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "bf16" if _computes_bf16() else "fp32"
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def _computes_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16; elsewhere it is emulated and slow."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # recent versions of torch have them
    return any(getattr(torch.cpu, name, bool)() for name in checks)


def bucket_matrix(options: PredictionOptions, layers: int, classes: int) -> torch.Tensor:
    """(layers, classes, buckets) of 0 and 1: which bucket each class of each layer falls into; the same for all scans."""
    generator = torch.Generator().manual_seed(options.seed)
    rounds = -(-classes // options.buckets)
    bucket = torch.stack([torch.cat([torch.randperm(options.buckets, generator=generator) for _ in range(rounds)])[:classes]
                          for _ in range(layers)])
    return F.one_hot(bucket, options.buckets).float()


@torch.no_grad()
def describe(net: SupervoxelNet, scan: Prepared, options: PredictionOptions = PredictionOptions()) -> Description:
    """The scan's supervoxel probabilities, bucketed and smoothed, and each supervoxel's centroid.

    Only the body is classified, chunk by chunk; elsewhere the class is background.
    """
    device = next(net.parameters()).device
    layers, classes = net.options.layers, net.options.classes
    features, inside, grid = _encode(net, scan, options, device)
    to_buckets = bucket_matrix(options, layers, classes).to(device)
    table = to_buckets[:, 0].flatten().repeat(len(features), 1)  # background everywhere
    moments = torch.zeros(layers, classes, 4, dtype=torch.float64, device=device)
    world = grid.points(device).reshape(-1, 3)
    for chunk in inside.split(options.chunk):
        with autocast(device, options.precision):
            logits = net.logits(features[chunk])  # (layers, n, classes)
        share = logits.softmax(-1)  # in the precision of the logits
        position = torch.cat([torch.ones(len(chunk), 1, device=device), world[chunk]], 1)
        moments += (share.float().transpose(1, 2) @ position).double()
        if options.hard:
            share = F.one_hot(share.argmax(-1), classes).to(share.dtype)
        table[chunk] = torch.bmm(share, to_buckets.to(share.dtype)).transpose(0, 1).flatten(1).float()
    moments[..., 1:] /= moments[..., :1].clamp_min(1e-9)
    return Description(smoothed(table.reshape(*grid.shape, -1), options.smoothing), grid, moments)


def describe_layers(layers: np.ndarray, template: Prepared, options: PredictionOptions, device: torch.device) -> Description:
    """The template described by its own supervoxel ``layers`` (layers, I, J, K), as published; on the output grid."""
    classes = int(layers.max()) + 1
    grid = template.grid.strided(STRIDE)
    labels = torch.from_numpy(layers[:, ::STRIDE, ::STRIDE, ::STRIDE].reshape(len(layers), -1)).long().to(device)
    to_buckets = bucket_matrix(options, len(layers), classes).to(device)
    table = torch.cat([to_buckets[layer][labels[layer]] for layer in range(len(layers))], 1)
    world = torch.cat([torch.ones(labels.shape[1], 1), grid.points().reshape(-1, 3)], 1).double().to(device)
    moments = torch.zeros(len(layers), classes, 4, dtype=torch.float64, device=device)
    for layer in range(len(layers)):
        moments[layer].index_add_(0, labels[layer], world)
    moments[..., 1:] /= moments[..., :1].clamp_min(1e-9)
    return Description(smoothed(table.reshape(*grid.shape, -1), options.smoothing), grid, moments)


@torch.no_grad()
def predict_layers(net: SupervoxelNet, scan: Prepared, options: PredictionOptions = PredictionOptions()) -> torch.Tensor:
    """The most likely class of each layer, uint8 (layers, i, j, k) on ``scan.grid.strided(2)``; background outside the body."""
    device = next(net.parameters()).device
    features, inside, grid = _encode(net, scan, options, device)
    labels = torch.zeros(net.options.layers, len(features), dtype=torch.uint8, device=device)
    for chunk in inside.split(options.chunk):
        with autocast(device, options.precision):
            labels[:, chunk] = net.logits(features[chunk]).argmax(-1).to(torch.uint8)
    return labels.reshape(-1, *grid.shape).cpu()


@torch.no_grad()
def expected_places(net: SupervoxelNet, scan: Prepared, centroids: torch.Tensor,
                    options: PredictionOptions = PredictionOptions()) -> tuple[torch.Tensor, Grid]:
    """Where the network expects each voxel of ``scan`` in another scan, and the output grid that this lies on.

    centroids: the other scan's (layers, classes, 4), as in `Description`. Returns (4, i, j, k): world mm, the mean over the
    layers' supervoxels, each by its probability; then 1 in the body and 0 elsewhere, where the place is 0 as well.
    """
    device = next(net.parameters()).device
    features, inside, grid = _encode(net, scan, options, device)
    found = torch.zeros(len(features), 4, device=device)
    present = (centroids[:, 1:, :1] > 1).float().to(device)  # a supervoxel that the other scan does not show has no centre
    centres = centroids[:, 1:, 1:].float().to(device)
    centre = (centres * present).sum((0, 1)) / present.sum().clamp_min(1)  # the world's origin may be metres away
    offsets = (centres - centre) * present
    for chunk in inside.split(options.chunk):
        with autocast(device, options.precision):
            logits = net.logits(features[chunk])
        share = logits.float().softmax(-1)[..., 1:]
        place = torch.bmm(share, offsets).sum(0) / torch.bmm(share, present).sum(0).clamp_min(1e-6) + centre
        found[chunk] = torch.cat([place, torch.ones_like(place[:, :1])], 1)
    return found.T.reshape(4, *grid.shape), grid


def _encode(net: SupervoxelNet, scan: Prepared, options: PredictionOptions, device):
    """Trunk features (voxels, C), the flat indices of the body's output voxels, the output grid."""
    net.eval()
    grid = scan.grid.strided(STRIDE)
    inside = scan.region[::STRIDE, ::STRIDE, ::STRIDE].flatten().nonzero()[:, 0].to(device)
    image = network_input(scan.hu)[None, None].to(device, memory_format=torch.channels_last_3d)
    with autocast(device, options.precision):
        return net.features(image)[0].flatten(1).T.contiguous(), inside, grid


def smoothed(features: torch.Tensor, width: int) -> torch.Tensor:
    """Box filter of ``width`` voxels over (i, j, k, C), at the edges the mean of what is there.

    One product with a band matrix per axis: on CPU several times faster than pooling, which sums channel by channel.
    """
    i, j, k, channels = features.shape
    band_i, band_j, band_k = (_band(n, width, features) for n in (i, j, k))
    features = (band_i @ features.reshape(i, -1)).reshape(i, j, -1)
    features = torch.matmul(band_j, features).reshape(i * j, k, channels)
    return torch.matmul(band_k, features).reshape(i, j, k, channels)


def _band(n: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(n, n) matrix that averages each place with those up to width // 2 away."""
    index = torch.arange(n, device=like.device)
    near = ((index[:, None] - index).abs() <= width // 2).to(like.dtype)
    return near / near.sum(1, keepdim=True)
