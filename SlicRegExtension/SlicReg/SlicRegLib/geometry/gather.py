"""Trilinear values of channels-last features at points, gathered row by row."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

from .grid import Grid

CHUNK = 1 << 17
"""Points whose corners are looked up at a time; each takes 250 bytes."""
HAS_WEIGHT_GRADIENT = tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 6)
"""Before 2.6 torch cannot differentiate `embedding_bag` with respect to the weights alone."""


def rows_at(features: torch.Tensor, grid: Grid, points: torch.Tensor) -> torch.Tensor:
    """Trilinear values (N, C) of channels-last ``features`` (i, j, k, C) on ``grid`` at world points (N, 3); the edge
    repeated. Differentiable with respect to the points.

    Gathers the feature vectors of whole voxels, which lie side by side in memory: on the CPU faster than
    ``grid_sample``, which reads channel by channel (``benchmarks/kernels.py``).
    """
    if len(points) > CHUNK:  # bounds memory
        return torch.cat([rows_at(features, grid, chunk) for chunk in points.split(CHUNK)])
    index, weight = corners_of(grid, points.to(features))
    if weight.requires_grad and not HAS_WEIGHT_GRADIENT:
        return torch.bmm(weight[:, None], features.flatten(0, 2)[index])[:, 0]
    return F.embedding_bag(index, features.flatten(0, 2), per_sample_weights=weight, mode="sum")


def corners_of(grid: Grid, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat indices (N, 8) and trilinear weights (N, 8) of the voxels around world points; the weights are
    differentiable."""
    shape = torch.tensor(grid.shape, device=points.device)
    voxel = torch.minimum(grid.to_voxel(points).clamp_min(0), (shape - 1).to(points))
    low = torch.minimum(voxel.detach().floor(), (shape - 2).clamp_min(0).to(points))
    _, width, depth = grid.shape
    strides = torch.tensor([width * depth, depth, 1], device=points.device)
    # an axis of one voxel has no far side; no product of matrices, since CUDA has none of whole numbers
    offsets = (SIDES.T.to(strides) * strides * (shape > 1)).sum(1)
    x, y, z = corner_factors((voxel - low).T)
    return (low.long() * strides).sum(1, keepdim=True) + offsets, x * y * z


SIDES = torch.tensor(list(product((0, 1), repeat=3))).T
"""(3, 8): which corners of a cell, k the fastest, lie on its far side along i, j and k."""


def corner_factors(upper: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Three factors (n, 8), of i, j and k, of the corners' weights in trilinear interpolation.

    upper: (3, n), how far each point is from its cell's first corner towards the last one, 0 to 1. The corners of
    a point lie side by side in each of them, so that products of them pass over memory in its order.
    """
    sides = SIDES.to(upper)
    return tuple(
        torch.addcmul(1 - side, share[:, None], 2 * side - 1) for side, share in zip(sides, upper, strict=True)
    )
