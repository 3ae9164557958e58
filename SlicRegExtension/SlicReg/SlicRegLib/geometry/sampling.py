"""Values of a volume at world points: the only caller of ``grid_sample``."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from .grid import Grid

Interpolation = Literal["bilinear", "nearest"]
"""torch's names: "bilinear" is trilinear for volumes."""


def sample(
    volume: torch.Tensor,
    grid: Grid,
    points: torch.Tensor,
    mode: Interpolation = "bilinear",
    fill: float | None = None,
) -> torch.Tensor:
    """Values of ``volume`` (C, I, J, K) lying on ``grid`` at world ``points`` (..., 3) mm -> (C, ...).

    fill: the value outside the grid; None repeats the edge.
    """
    return sample_normalised(volume, grid.to_normalised(points).flip(-1).to(volume.dtype), mode, fill)


def sample_normalised(
    volume: torch.Tensor, coordinates: torch.Tensor, mode: Interpolation, fill: float | None
) -> torch.Tensor:
    """`sample` at normalised coordinates (..., 3) in the order of ``grid_sample``: k, j, i."""
    values = F.grid_sample(
        volume[None], coordinates.reshape(1, 1, 1, -1, 3), mode=mode, padding_mode="border", align_corners=False
    ).reshape(volume.shape[0], *coordinates.shape[:-1])
    if fill is not None:  # as in ITK: a voxel fills its box, and beyond all boxes nothing is blended
        values.masked_fill_((coordinates.abs() > 1).any(-1), fill)
    return values
