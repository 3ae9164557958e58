"""Predictions for a prepared scan: the probability of each supervoxel at each voxel of the body."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.filters import box_filter
from ..geometry.grid import Grid, unravel
from ..images.preparation import PreparedScan, network_input
from .devices import autocast, find_wide_device, widen
from .networks import SupervoxelNet
from .options import STRIDE, Precision, PredictionOptions


@dataclass(frozen=True, eq=False)
class EncodedScan:
    """The trunk's features of a prepared scan, from which all predictions are made.

    features: (n, C), the trunk's output at the n voxels of the body region, in the arithmetic of ``precision``.
    voxels: (n,) flat indices of these voxels in ``grid``, the output grid (`STRIDE` times the canonical voxel edge).
    """

    scan: PreparedScan
    features: torch.Tensor
    voxels: torch.Tensor
    grid: Grid
    precision: Precision = "auto"

    def to(self, device: torch.device) -> EncodedScan:
        """The same on ``device``."""
        return replace(self, features=self.features.to(device), voxels=self.voxels.to(device))

    def thinned(self, step: int) -> EncodedScan:
        """Only the voxels whose three indices are multiples of ``step``, on the grid of these."""
        index = unravel(self.voxels, self.grid.shape).long()
        kept, grid = (index % step == 0).all(1), self.grid.strided(step)
        i, j, k = (index[kept] // step).T
        voxels = (i * grid.shape[1] + j) * grid.shape[2] + k
        return replace(self, features=self.features[kept], voxels=voxels, grid=grid)


@dataclass(frozen=True, eq=False)
class Description:
    """A scan's supervoxels in the form that the alignment compares.

    features: (i, j, k, layers * buckets) float32, class probabilities summed in buckets and smoothed, channels last.
    grid: the output grid they lie on (twice the canonical voxel edge).
    centroids: (layers, classes, 4) float64, on a device that has it: probability mass in voxels, then its centre in
    world mm (0 without mass).
    """

    features: torch.Tensor
    grid: Grid
    centroids: torch.Tensor


@torch.no_grad()
def encode(net: SupervoxelNet, scan: PreparedScan, options: PredictionOptions = PredictionOptions()) -> EncodedScan:
    """Run the network's trunk once over a prepared scan.

    Raises ValueError for a network in training mode, whose dropout and batch statistics make results random.
    """
    if net.training:
        raise ValueError("the network is in training mode, which makes results random; call net.eval() first")
    device = next(net.parameters()).device
    grid = scan.grid.strided(STRIDE)
    inside = scan.region[::STRIDE, ::STRIDE, ::STRIDE].flatten().nonzero()[:, 0].to(device)
    image = network_input(scan.hu)[None, None].to(device, memory_format=torch.channels_last_3d)
    with autocast(device, options.precision):
        features = net.features(image)[0].flatten(1).T[inside]
    return EncodedScan(scan, features, inside, grid, options.precision)


def _classify(
    net: SupervoxelNet, encoded: EncodedScan, options: PredictionOptions, layers: int | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Chunk by chunk: flat indices (n,) of voxels of the body and their logits (layers, n, classes)."""
    chunks = encoded.voxels.split(options.chunk), encoded.features.split(options.chunk)
    for voxels, features in zip(*chunks, strict=True):
        with autocast(features.device, encoded.precision):
            # single precision goes in: autocast halves it again without loss, where this device does so
            logits = net.logits(features.float(), layers)
        yield voxels, logits


def bucket_matrix(options: PredictionOptions, layers: int, classes: int) -> torch.Tensor:
    """(layers, classes, buckets) of 0 and 1: the bucket of each class of each layer, the same for all scans."""
    generator = torch.Generator().manual_seed(options.bucket_seed)
    rounds = -(-classes // options.buckets)

    def bucket_of_each_class() -> torch.Tensor:
        draws = [torch.randperm(options.buckets, generator=generator) for _ in range(rounds)]
        return torch.cat(draws)[:classes]

    return F.one_hot(torch.stack([bucket_of_each_class() for _ in range(layers)]), options.buckets).float()


@torch.no_grad()
def describe(net: SupervoxelNet, encoded: EncodedScan, options: PredictionOptions = PredictionOptions()) -> Description:
    """Describe the scan by its supervoxel probabilities, summed in buckets and smoothed, and by their centroids.

    Only the body is classified, chunk by chunk; elsewhere the class is background.
    """
    device, grid = encoded.voxels.device, encoded.grid
    layers, classes = net.options.layers, net.options.classes
    to_buckets = bucket_matrix(options, layers, classes).to(device)
    table = to_buckets[:, 0].flatten().repeat(int(np.prod(grid.shape)), 1)  # background everywhere
    moments = torch.zeros(layers, classes, 4, dtype=torch.float64, device=find_wide_device(device))
    world = grid.points(device).reshape(-1, 3)
    for voxels, logits in _classify(net, encoded, options):
        share = logits.softmax(-1)  # in the precision of the logits
        position = torch.cat([torch.ones(len(voxels), 1, device=device), world[voxels]], 1)
        moments += widen(share.float().transpose(1, 2) @ position)
        if options.features == "labels":
            share = F.one_hot(share.argmax(-1), classes).to(share.dtype)
        table[voxels] = torch.bmm(share, to_buckets.to(share.dtype)).transpose(0, 1).flatten(1).float()
    moments[..., 1:] /= moments[..., :1].clamp_min(1e-9)
    return Description(box_filter(table.reshape(*grid.shape, -1), options.smoothing), grid, moments)


@torch.no_grad()
def locate(net: SupervoxelNet, encoded: EncodedScan, options: PredictionOptions = PredictionOptions()) -> torch.Tensor:
    """Only the centroids of a scan's supervoxels, as in `Description`."""
    device, points = encoded.voxels.device, encoded.grid.points(encoded.voxels.device).reshape(-1, 3)
    shape = (net.options.layers, net.options.classes, 4)
    moments = torch.zeros(*shape, dtype=torch.float64, device=find_wide_device(device))
    for voxels, logits in _classify(net, encoded, options):
        position = torch.cat([torch.ones(len(voxels), 1, device=device), points[voxels]], 1)
        moments += widen(logits.softmax(-1).float().transpose(1, 2) @ position)
    moments[..., 1:] /= moments[..., :1].clamp_min(1e-9)
    return moments


def describe_layers(
    layers: np.ndarray, template: PreparedScan, options: PredictionOptions, device: torch.device
) -> Description:
    """Describe the template by its own supervoxel ``layers``, (layers, I, J, K) on its canonical grid, as published."""
    classes = int(layers.max()) + 1
    grid = template.grid.strided(STRIDE)
    labels = torch.from_numpy(layers[:, ::STRIDE, ::STRIDE, ::STRIDE].reshape(len(layers), -1)).long().to(device)
    to_buckets = bucket_matrix(options, len(layers), classes).to(device)
    table = torch.cat([to_buckets[layer][labels[layer]] for layer in range(len(layers))], 1)
    moments = locate_layers(layers, template.grid, classes, device)
    return Description(box_filter(table.reshape(*grid.shape, -1), options.smoothing), grid, moments)


def locate_layers(layers: np.ndarray, grid: Grid, classes: int, device: torch.device) -> torch.Tensor:
    """The centroids, as in `Description`, of the template's supervoxel ``layers``, (layers, I, J, K) on ``grid``."""
    strided, device = grid.strided(STRIDE), find_wide_device(device)
    labels = torch.from_numpy(layers[:, ::STRIDE, ::STRIDE, ::STRIDE].reshape(len(layers), -1)).long().to(device)
    world = torch.cat([torch.ones(labels.shape[1], 1), strided.points().reshape(-1, 3)], 1).double().to(device)
    moments = torch.zeros(len(layers), classes, 4, dtype=torch.float64, device=device)
    for layer in range(len(layers)):
        moments[layer].index_add_(0, labels[layer], world)
    moments[..., 1:] /= moments[..., :1].clamp_min(1e-9)
    return moments


@torch.no_grad()
def predict_layers(
    net: SupervoxelNet,
    encoded: EncodedScan,
    options: PredictionOptions = PredictionOptions(),
    layers: int | None = None,
) -> torch.Tensor:
    """The most likely class of each layer, uint8 (layers, i, j, k) on the output grid; background outside the body.

    layers: only so many, the first; None: all.
    """
    shape, count = encoded.grid.shape, layers or net.options.layers
    labels = torch.zeros(count, int(np.prod(shape)), dtype=torch.uint8, device=encoded.voxels.device)
    for voxels, logits in _classify(net, encoded, options, layers):
        labels[:, voxels] = logits.argmax(-1).to(torch.uint8)
    return labels.reshape(count, *shape).cpu()


@torch.no_grad()
def expected_positions(
    net: SupervoxelNet,
    encoded: EncodedScan,
    centroids: torch.Tensor,
    options: PredictionOptions = PredictionOptions(),
) -> torch.Tensor:
    """Where the network expects each voxel of a scan in another scan: (4, i, j, k) on the output grid.

    centroids: the other scan's (layers, classes, 4), as in `Description`. The first three channels are world mm: the
    mean of the supervoxels' centres over all layers, weighted by probability. The fourth is 1 in the body and 0
    elsewhere, where the position is 0 as well.
    """
    device, shape = encoded.voxels.device, encoded.grid.shape
    positions = torch.zeros(int(np.prod(shape)), 4, device=device)
    # a supervoxel that the other scan does not show has no centre
    present = (centroids[:, 1:, :1] > 1).float().to(device)
    centres = centroids[:, 1:, 1:].float().to(device)
    centre = (centres * present).sum((0, 1)) / present.sum().clamp_min(1)  # the world's origin may be metres away
    offsets = (centres - centre) * present
    for voxels, logits in _classify(net, encoded, options):
        share = logits.float().softmax(-1)[..., 1:]
        position = torch.bmm(share, offsets).sum(0) / torch.bmm(share, present).sum(0).clamp_min(1e-6) + centre
        positions[voxels] = torch.cat([position, torch.ones_like(position[:, :1])], 1)
    return positions.T.reshape(4, *shape)
