"""From a prepared scan to what the alignment needs: the probability of each supervoxel at each voxel of the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.filters import box_filter
from ..geometry.grid import Grid
from ..images.preparation import PreparedScan, network_input
from .devices import autocast
from .networks import SupervoxelNet
from .options import STRIDE, PredictionOptions


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


def bucket_matrix(options: PredictionOptions, layers: int, classes: int) -> torch.Tensor:
    """(layers, classes, buckets) of 0 and 1: which bucket each class of each layer falls into; the same for all scans."""
    generator = torch.Generator().manual_seed(options.seed)
    rounds = -(-classes // options.buckets)
    bucket = torch.stack(
        [
            torch.cat([torch.randperm(options.buckets, generator=generator) for _ in range(rounds)])[:classes]
            for _ in range(layers)
        ]
    )
    return F.one_hot(bucket, options.buckets).float()


@torch.no_grad()
def describe(net: SupervoxelNet, scan: PreparedScan, options: PredictionOptions = PredictionOptions()) -> Description:
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
    return Description(box_filter(table.reshape(*grid.shape, -1), options.smoothing), grid, moments)


def describe_layers(
    layers: np.ndarray, template: PreparedScan, options: PredictionOptions, device: torch.device
) -> Description:
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
    return Description(box_filter(table.reshape(*grid.shape, -1), options.smoothing), grid, moments)


@torch.no_grad()
def predict_layers(
    net: SupervoxelNet, scan: PreparedScan, options: PredictionOptions = PredictionOptions()
) -> torch.Tensor:
    """The most likely class of each layer, uint8 (layers, i, j, k) on ``scan.grid.strided(2)``; background outside the body."""
    device = next(net.parameters()).device
    features, inside, grid = _encode(net, scan, options, device)
    labels = torch.zeros(net.options.layers, len(features), dtype=torch.uint8, device=device)
    for chunk in inside.split(options.chunk):
        with autocast(device, options.precision):
            labels[:, chunk] = net.logits(features[chunk]).argmax(-1).to(torch.uint8)
    return labels.reshape(-1, *grid.shape).cpu()


@torch.no_grad()
def expected_positions(
    net: SupervoxelNet, scan: PreparedScan, centroids: torch.Tensor, options: PredictionOptions = PredictionOptions()
) -> tuple[torch.Tensor, Grid]:
    """Where the network expects each voxel of ``scan`` in another scan, and the output grid that this lies on.

    centroids: the other scan's (layers, classes, 4), as in `Description`. Returns (4, i, j, k): world mm, the mean over the
    layers' supervoxels, each by its probability; then 1 in the body and 0 elsewhere, where the place is 0 as well.
    """
    device = next(net.parameters()).device
    features, inside, grid = _encode(net, scan, options, device)
    found = torch.zeros(len(features), 4, device=device)
    present = (
        (centroids[:, 1:, :1] > 1).float().to(device)
    )  # a supervoxel that the other scan does not show has no centre
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


def _encode(net: SupervoxelNet, scan: PreparedScan, options: PredictionOptions, device):
    """Trunk features (voxels, C), the flat indices of the body's output voxels, the output grid."""
    net.eval()
    grid = scan.grid.strided(STRIDE)
    inside = scan.region[::STRIDE, ::STRIDE, ::STRIDE].flatten().nonzero()[:, 0].to(device)
    image = network_input(scan.hu)[None, None].to(device, memory_format=torch.channels_last_3d)
    with autocast(device, options.precision):
        return net.features(image)[0].flatten(1).T.contiguous(), inside, grid
