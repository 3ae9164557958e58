"""The feature difference and its written-out gradient, against autograd through grid_sample and finite differences."""

import pytest
import torch
import torch.nn.functional as F

from SlicRegLib.registration.comparison import FeatureComparison
from SlicRegLib.registration.image_features import CELL, ImageFeatures
from tiny import random

SHAPE = (8, 9, 10)  # control points
VOXELS = tuple(CELL * n for n in SHAPE)
CORNERS = [None, (0, 0, 0), (1, 0, 1)]
IDS = ["averaged", "first corner", "another corner"]


def at(volume: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Values (n, C) of a volume (C, i, j, k) at voxel positions (n, 3) by torch's grid_sample; the edge repeated."""
    size = torch.tensor(volume.shape[1:]).to(positions)
    coordinates = (2 * positions / (size - 1) - 1).flip(-1)
    return F.grid_sample(volume[None], coordinates[None, None, None], padding_mode="border", align_corners=True)[
        0, :, 0, 0
    ].T


def features(seed: int, first: tuple[int, int, int] = (0, 0, 0), shape=VOXELS) -> ImageFeatures:
    smooth = F.avg_pool3d(random(1, 5, *shape, seed=seed), 3, 1, 1)[0]
    return ImageFeatures(smooth.movedim(0, -1).contiguous().double(), torch.tensor(first))


def make_region() -> torch.Tensor:
    region = torch.zeros(VOXELS, dtype=torch.bool)
    region[2:14, 3:16, 5:19] = True
    return region


def compare(fixed, moving, region, corner) -> FeatureComparison:
    if corner is None:
        fixed, moving = fixed.average, moving.average
    comparison = FeatureComparison(fixed, moving, region, SHAPE, corner)
    if comparison.between:
        comparison.between.matrices = [m.double() for m in comparison.between.matrices]
    return comparison


def reference(fixed, moving, region, corner, spline) -> tuple[torch.Tensor, int]:
    """The sum of squared differences over the region, differentiable, and the number of voxels compared."""
    cells = torch.stack(torch.meshgrid(*map(torch.arange, SHAPE), indexing="ij"), -1).reshape(-1, 3)
    if corner is None:
        fixed, moving, step = fixed.average, moving.average, 1
        voxels, displacement = cells, spline.flatten(1).T
        compared = F.max_pool3d(region[None].float(), CELL)[0].flatten() > 0
    else:
        corner, step = torch.tensor(corner), CELL
        voxels = CELL * cells + corner
        displacement = at(spline, cells + (corner.double() + 0.5) / CELL - 0.5)
        compared = region[tuple(voxels.T)]
    values = at(moving.values.movedim(-1, 0), voxels + step * displacement - moving.first)
    difference = (values - fixed.values[tuple((voxels - fixed.first).T)])[compared]
    return difference.square().sum(), int(compared.sum())


@pytest.mark.parametrize("corner", CORNERS, ids=IDS)
def test_value_and_gradient_are_those_of_autograd(corner):
    """Also where displacements lead beyond the moving scan, whose features begin elsewhere."""
    fixed, moving, region = features(0), features(1, first=(2, 4, 2), shape=(14, 12, 16)), make_region()
    spline = (2 * random(3, *SHAPE, seed=2)).double().requires_grad_()
    total, count = reference(fixed, moving, region, corner, spline)
    (known,) = torch.autograd.grad(total, spline)
    value, gradient = compare(fixed, moving, region, corner).gradient(spline.detach())
    torch.testing.assert_close(value, total.detach() / count)
    torch.testing.assert_close(gradient, known, rtol=1e-5, atol=1e-8)
    assert (known != 0).float().mean() > 0.1  # the region; elsewhere both are zero


@pytest.mark.parametrize("corner", CORNERS, ids=IDS)
def test_the_gradient_is_the_slope_of_the_difference(corner):
    comparison = compare(features(0), features(1), make_region(), corner)
    place, way = (random(3, *SHAPE, seed=seed).double() for seed in (2, 3))
    gradient = comparison.gradient(2 * place)[1]
    count, small = len(comparison.index), 1e-6
    after, before = (comparison.gradient(2 * place + sign * small * way)[0] for sign in (1, -1))
    slope = (after - before) * count / (2 * small)
    assert slope.item() == pytest.approx((gradient * way).sum().item(), rel=1e-3)
