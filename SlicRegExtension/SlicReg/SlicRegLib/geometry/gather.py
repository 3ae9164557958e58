"""Trilinear values of channels-last features at points, gathered row by row."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .grid import Grid

HAS_WEIGHT_GRADIENT = tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 6)
"""Before 2.6 torch cannot differentiate `embedding_bag` with respect to the weights alone."""


def rows_at(features: torch.Tensor, grid: Grid, points: torch.Tensor) -> torch.Tensor:
    """Trilinear values (N, C) of channels-last ``features`` (i, j, k, C) on ``grid`` at world points (N, 3); the edge
    repeated. Differentiable with respect to the points.

    Gathers the feature vectors of whole voxels, which lie side by side in memory: on the CPU faster than
    ``grid_sample``, which reads channel by channel (``benchmarks/kernels.py``).
    """
    index, weight = corners_of(grid, points.to(features))
    if weight.requires_grad and not HAS_WEIGHT_GRADIENT:
        return torch.bmm(weight[:, None], features.flatten(0, 2)[index])[:, 0]
    return F.embedding_bag(index, features.flatten(0, 2), per_sample_weights=weight, mode="sum")


def corners_of(grid: Grid, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat indices (N, 8) and trilinear weights (N, 8) of the voxels around world points; the weights are
    differentiable."""
    shape = torch.tensor(grid.shape, device=points.device)
    voxel = torch.minimum(grid.to_voxel(points).clamp_min(0), (shape - 1).to(points))
    low = torch.minimum(voxel.detach().floor().long(), (shape - 2).clamp_min(0))
    upper = voxel - low
    index = torch.zeros((1, 1, 1, 1), dtype=torch.long, device=points.device)
    weight = torch.ones((1, 1, 1, 1), dtype=points.dtype, device=points.device)
    for axis, n in enumerate(grid.shape):
        pair = torch.stack([low[:, axis], (low[:, axis] + 1).clamp_max(n - 1)], 1)
        part = torch.stack([1 - upper[:, axis], upper[:, axis]], 1)
        view = [-1, 1, 1, 1]
        view[axis + 1] = 2
        index = index * n + pair.reshape(view)
        weight = weight * part.reshape(view)
    return index.expand(-1, 2, 2, 2).flatten(1), weight.expand(-1, 2, 2, 2).flatten(1)
