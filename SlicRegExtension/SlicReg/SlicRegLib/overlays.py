"""What lets a person judge a registration: where the two scans' supervoxels agree, and the supervoxels themselves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .bundle import Bundle
from .prediction import Description, describe, predict_layers
from .preparation import Prepared, prepare
from .registration import Registration, prepare_scan
from .volumes import Volume
from .warping import DisplacementField, sample


@dataclass(frozen=True, eq=False)
class Overlays:
    """confidence: float32 from 0 to 1 over the template; supervoxels: uint8, the first layer's class, over each scan."""

    confidence: Volume
    template_supervoxels: Volume
    target_supervoxels: Volume


def overlays(bundle: Bundle, result: Registration, device: torch.device = torch.device("cpu")) -> Overlays:
    """Predict both scans once more, on their own grids of the network's output."""
    net = bundle.net.to(device)
    fixed, moving = (prepare_scan(scan, bundle.preparation) for scan in (result.template, result.target))
    if result.moving_grid:
        moving = Prepared("", prepare(result.target, result.moving_grid), result.moving_grid)
    found = [describe(net, scan) for scan in (fixed, moving)]
    layers = [Volume(predict_layers(net, scan)[0].numpy(), description.grid) for scan, description in zip((fixed, moving), found)]
    return Overlays(agreement(*found, result.dense, fixed), *layers)


def agreement(fixed: Description, moving: Description, field: DisplacementField, scan: Prepared) -> Volume:
    """Cosine between the fixed scan's supervoxel probabilities and the moving scan's where ``field`` leads; 0 outside the body.

    The registration has used the same probabilities at some points only and was then moved on by image features, so that low
    values show where image and anatomy disagree.
    """
    points = field.to(fixed.features.device)(fixed.grid.points(fixed.features.device))
    found = sample(moving.features.movedim(-1, 0), moving.grid, points).movedim(0, -1)
    value = F.cosine_similarity(fixed.features, found, dim=-1).clamp(0, 1).cpu()
    inside = sample(scan.region[None].float(), scan.grid, fixed.grid.points(), "nearest")[0]
    return Volume((value * inside).float().numpy(), fixed.grid)
