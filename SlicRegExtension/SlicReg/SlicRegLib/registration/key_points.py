"""Key points of the fixed scan and the features at them. Their number is `AlignmentOptions.key_points`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import UserError
from ..geometry.gather import rows_at
from ..geometry.grid import Grid, unravel
from ..network.prediction import Description
from .options import AlignmentOptions


@dataclass(frozen=True, eq=False)
class KeyPoints:
    """The fixed scan in the form that the alignment needs.

    points: (N, 3) world mm. features: (N, C) at the points; float16 as read from a model file. centroids:
    (layers, classes, 4), as in `Description`.
    """

    points: torch.Tensor
    features: torch.Tensor
    centroids: torch.Tensor

    def to(self, device: torch.device) -> KeyPoints:
        """The key points on another device, their features in float32."""
        return KeyPoints(self.points.to(device), self.features.float().to(device), self.centroids.to(device))


def describe_key_points(
    description: Description, body: torch.Tensor, grid: Grid, options: AlignmentOptions = AlignmentOptions()
) -> KeyPoints:
    """Choose key points in the fixed scan's ``body`` (I, J, K bool on its canonical ``grid``) and take its features
    there. Raises UserError for a body that is too small."""
    points = choose_key_points(body, grid, options).to(description.features.device)
    return KeyPoints(points, features_at(description, points), description.centroids)


def choose_key_points(body: torch.Tensor, grid: Grid, options: AlignmentOptions = AlignmentOptions()) -> torch.Tensor:
    """World positions (N, 3) mm of random voxels of ``body`` (I, J, K bool on ``grid``), the same for the same seed."""
    if int(body.sum()) < 8 * options.neighbours:
        raise UserError("The template's body is too small to place key points in it; choose a scan that shows more.")
    # the first voxels of a random order of all voxels: a body that differs by one voxel keeps the other points
    order = torch.randperm(body.numel(), generator=torch.Generator().manual_seed(options.seed))
    chosen = order[body.flatten()[order]][: options.key_points]
    return grid.to_world(unravel(chosen, body.shape))


def features_at(description: Description, points: torch.Tensor) -> torch.Tensor:
    """Features (N, C) at world points (N, 3) mm: trilinear, the edge repeated, differentiable by the points."""
    return rows_at(description.features, description.grid, points)
