"""What lets a person judge a registration: where it does what the network expects, and the supervoxels themselves."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..geometry.sampling import sample
from ..images.preparation import PreparedScan, prepare_scan
from ..images.volumes import Volume
from ..network.options import STRIDE
from ..network.prediction import describe, expected_positions, predict_layers
from .model import Model
from .result import Registration

HALF_MM = 10.0  # from what the network expects: a confidence of one half


@dataclass(frozen=True, eq=False)
class Overlays:
    """confidence: float32 from 0 to 1 over the template; supervoxels: uint8, the first layer's class, over each scan."""

    confidence: Volume
    template_supervoxels: Volume
    target_supervoxels: Volume


def compute_overlays(bundle: Model, result: Registration, device: torch.device = torch.device("cpu")) -> Overlays:
    """Predict both scans once more, on their own grids of the network's output."""
    net = bundle.net.to(device)
    fixed = prepare_scan(result.template, bundle.preparation)
    moving = prepare_scan(result.target, bundle.preparation, result.moving_grid)
    layers = [Volume(predict_layers(net, scan)[0].numpy(), scan.grid.strided(STRIDE)) for scan in (fixed, moving)]
    places, grid = expected_positions(net, moving, describe(net, fixed).centroids)
    return Overlays(confidence(places.cpu(), grid, result.dense, fixed), *layers)


def confidence(places: torch.Tensor, grid: Grid, field: DisplacementField, fixed: PreparedScan) -> Volume:
    """How near the field fixed -> moving comes to what the network expects: 1 at the place, 0.5 at 10 mm from it.

    places: `expected_places` of the moving scan in the fixed one, on ``grid``. At each voxel of the fixed scan's body the field
    leads to a place in the moving scan, which the network expects somewhere in the fixed one: the distance from there to
    the voxel is what counts, 1 / (1 + (distance / 10 mm)^2). 0 outside the body, and where the field leads out of the other's.
    """
    own = fixed.grid.strided(STRIDE)
    points = own.points()
    found = sample(torch.cat([places[:3] * places[3], places[3:]]), grid, field(points), fill=0.0)
    distance = (found[:3] / found[3].clamp_min(1e-6) - points.movedim(-1, 0)).norm(dim=0)
    seen = fixed.region[::STRIDE, ::STRIDE, ::STRIDE] & (found[3] > 0.01)
    return Volume(torch.where(seen, 1 / (1 + (distance / HALF_MM) ** 2), 0.0).numpy(), own)
