"""Overlays to judge a registration by: where it agrees with the network, and the supervoxels of both scans."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..geometry.sampling import sample
from ..images.preparation import PreparedScan
from ..images.volumes import Volume
from ..network.options import STRIDE
from ..network.prediction import expected_positions, predict_layers
from .model import Model
from .result import Registration

HALF_MM = 10.0
"""Distance from the expected position at which the confidence is one half, mm."""


@dataclass(frozen=True, eq=False)
class Overlays:
    """Images that a viewer lays over the scans.

    confidence: float32 from 0 to 1, over the template. supervoxels: uint8, the class in the first layer, over each
    scan.
    """

    confidence: Volume
    template_supervoxels: Volume
    target_supervoxels: Volume


def compute_overlays(model: Model, result: Registration, device: torch.device = torch.device("cpu")) -> Overlays:
    """Confidence and supervoxels of a registration by ``model``, on the network's output grids.

    Raises ValueError for a registration without a network.
    """
    if result.views is None or result.common is None:
        raise ValueError("this registration used no network, so it has no overlays")
    net, moving, views = model.network(device), result.views.moving.to(device), result.views
    positions = expected_positions(net, moving, result.common.fixed).cpu()
    sure = confidence(positions, moving.grid, result.dense, views.fixed)
    own_layer = Volume(predict_layers(net, moving, layers=1)[0].numpy(), moving.grid)
    return Overlays(sure, views.fixed_supervoxels(), own_layer)


def confidence(
    positions: torch.Tensor, grid: Grid, field: DisplacementField, fixed: PreparedScan, thinned: int = 1
) -> Volume:
    """How well the ``field`` fixed -> moving agrees with the network, on the ``fixed`` scan's output grid, from 0 to 1.

    positions: `expected_positions` of the moving scan in the fixed one, (4, i, j, k) on ``grid``. The field takes a
    voxel of the fixed scan's body to a point of the moving scan; the network expects that point at some position in
    the fixed scan. With d the distance from there to the voxel, the confidence is 1 / (1 + (d / 10 mm)^2). It is 0
    outside the body and where the field leads out of the moving scan's body. thinned: only every so many voxels along
    each axis, for a mean.
    """
    step = STRIDE * thinned
    output = fixed.grid.strided(step)
    points = output.points()
    expected = sample(torch.cat([positions[:3] * positions[3], positions[3:]]), grid, field(points), fill=0.0)
    distance = (expected[:3] / expected[3].clamp_min(1e-6) - points.movedim(-1, 0)).norm(dim=0)
    in_both = fixed.region[::step, ::step, ::step] & (expected[3] > 0.01)
    return Volume(torch.where(in_both, 1 / (1 + (distance / HALF_MM) ** 2), 0.0).numpy(), output)
