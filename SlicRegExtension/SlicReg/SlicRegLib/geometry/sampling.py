"""Values of a volume at world points: the only caller of ``grid_sample``."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .grid import Grid


def sample(volume: torch.Tensor, grid: Grid, points: torch.Tensor, mode="bilinear", fill: float | None = None):
    """Values of ``volume`` (C, I, J, K) lying on ``grid`` at world ``points`` (..., 3) mm -> (C, ...).

    fill: the value outside the grid; None repeats the edge. mode: "bilinear" (trilinear) or "nearest".
    """
    return sample_normalised(volume, grid.to_normalised(points).flip(-1).to(volume.dtype), mode, fill)


def sample_normalised(volume: torch.Tensor, coordinates: torch.Tensor, mode: str, fill: float | None) -> torch.Tensor:
    """`sample` at normalised coordinates (..., 3) in the order of grid_sample: k, j, i."""
    values = F.grid_sample(
        volume[None], coordinates.reshape(1, 1, 1, -1, 3), mode=mode, padding_mode="border", align_corners=False
    ).reshape(volume.shape[0], *coordinates.shape[:-1])
    if fill is not None:  # as in ITK: a voxel is its whole box, and outside of all boxes there is nothing to blend with
        values.masked_fill_((coordinates.abs() > 1).any(-1), fill)
    return values
