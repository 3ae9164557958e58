"""A registration whose result is known: the target is the template moved by a known warp, the features are perfect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.images.volumes import Volume
from SlicRegLib.network.networks import SupervoxelNet
from SlicRegLib.network.options import PredictionOptions
from SlicRegLib.network.prediction import Description, EncodedScan
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.options import AlignmentOptions, RegistrationOptions
from SlicRegLib.registration.register import register
from SlicRegLib.registration.result import Registration
from tiny import FRAME, phantom, wave

QUICK = RegistrationOptions(
    alignment=AlignmentOptions(key_points=400, iterations=60, learning_rate=0.01, affine_start=False), refine=False
)
APART = torch.tensor([20.0, -30.0, 500.0])
"""From the template's world to the target's, mm."""


def body_points(scan: Volume) -> torch.Tensor:
    """World points (n, 3) mm of the scan's body."""
    prepared = prepare_scan(scan, FRAME)
    return prepared.grid.points()[prepared.body]


def there(points: torch.Tensor) -> torch.Tensor:
    """Template's world -> target's world."""
    return points + wave(points) + APART


def back(points: torch.Tensor) -> torch.Tensor:
    """Target's world -> template's world."""
    found = points - APART
    for _ in range(12):
        found = points - APART - wave(found)
    return found


def describe_perfectly(net: SupervoxelNet, encoded: EncodedScan, options: PredictionOptions) -> Description:
    """In place of `describe`: smooth features of places in the template's world. The target lies far in Superior."""
    generator = torch.Generator().manual_seed(4)
    direction = F.normalize(torch.randn(24, 3, generator=generator), dim=1)
    length, phase = 60 + 190 * torch.rand(24, generator=generator), 6.28 * torch.rand(24, generator=generator)
    points = encoded.grid.points()
    points = back(points) if encoded.scan.grid.centre[2] > 250 else points
    features = 0.3 * (6.28 * (points @ direction.T) / length + phase).sin()
    return Description(features, encoded.grid, torch.zeros(2, 128, 4))


def register_known_warp(model: Model, patch: pytest.MonkeyPatch) -> tuple[Registration, Volume, Volume]:
    """The result with phantom 0 as template, the template's labels and the target's.

    The target lies on an oblique grid of other voxels. patch: undone by the caller.
    """
    template, labels = phantom(0)
    rotation = Rotation.from_euler("xyz", [12, -8, 15], degrees=True).as_matrix()
    shape, spacing = (60, 52, 46), np.array([7.5, 8.0, 10.0])
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = template.grid.centre + APART.numpy() - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Grid(shape, affine)
    points = back(grid.points())
    hu = sample(template.tensor, template.grid, points, fill=-1000.0)[0].numpy()
    moved = sample(labels.tensor, labels.grid, points, "nearest", fill=0.0)[0].numpy().astype(np.uint8)
    for module in ("register", "fixed_side"):
        patch.setattr(f"SlicRegLib.registration.{module}.describe", describe_perfectly)
    return register(model, template, Volume(hu, grid), QUICK), labels, Volume(moved, grid)
