"""Trilinear values of channels-last features at points, gathered row by row."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .grid import Grid


def rows_at(features: torch.Tensor, grid: Grid, points: torch.Tensor) -> torch.Tensor:
    """Trilinear values (N, C) of channels-last ``features`` (i, j, k, C) on ``grid`` at world points (N, 3); the edge repeated."""
    index, weight = _corners(grid, points.to(features))
    return F.embedding_bag(index, features.flatten(0, 2), per_sample_weights=weight, mode="sum")


def _corners(grid: Grid, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat indices (N, 8) and trilinear weights (N, 8) of the voxels around world points; differentiable weights.

    Gathering whole feature vectors by row is three times faster on CPU than sampling channel by channel.
    """
    shape = torch.tensor(grid.shape, device=points.device)
    voxel = torch.minimum(grid.to_voxel(points).clamp_min(0), (shape - 1).to(points))
    low = torch.minimum(voxel.detach().floor().long(), (shape - 2).clamp_min(0))
    upper = voxel - low
    index, weight = 0, 1
    for axis, n in enumerate(grid.shape):
        pair = torch.stack([low[:, axis], (low[:, axis] + 1).clamp_max(n - 1)], 1)
        part = torch.stack([1 - upper[:, axis], upper[:, axis]], 1)
        view = [-1, 1, 1, 1]
        view[axis + 1] = 2
        index = index * n + pair.reshape(view)
        weight = weight * part.reshape(view)
    return index.expand(-1, 2, 2, 2).flatten(1), weight.expand(-1, 2, 2, 2).flatten(1)
