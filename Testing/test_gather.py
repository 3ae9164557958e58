"""Features gathered row by row: the values and the slope of trilinear interpolation."""

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.gather import corners_of, rows_at
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.sampling import sample
from tiny import random

OBLIQUE = np.array([[1.9, -0.6, 0.0, 12.0], [0.6, 1.9, 0.3, -7.0], [-0.1, -0.28, 3.0, 40.0], [0, 0, 0, 1]])


@pytest.mark.parametrize("shape", [(5, 4, 6), (2, 3, 1)])
def test_features_are_sampled_trilinearly(shape):
    grid = Grid(shape, OBLIQUE)
    features = random(*shape, 7)
    voxels = (
        torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) * (torch.tensor(shape) + 2) - 1.5
    )  # also outside
    points = grid.to_world(torch.cat([voxels, torch.tensor([[0.0, 0, 0], [1, 2, 0], [s - 1 for s in shape]])]))
    wanted = sample(features.movedim(-1, 0), grid, points).T
    torch.testing.assert_close(rows_at(features, grid, points), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("torch_before_2_6", [False, True])
def test_gradient_of_sampling_is_the_slope(monkeypatch, torch_before_2_6):
    if torch_before_2_6:
        monkeypatch.setattr("SlicRegLib.geometry.gather.HAS_WEIGHT_GRADIENT", False)
    grid = Grid((6, 5, 7), OBLIQUE)
    features = random(6, 5, 7, 4).double()
    voxels = torch.rand(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3.5 + 0.01
    weights = random(30, 4, seed=2).double()

    def objective(points):  # as rows_at, in double precision for finite differences
        index, weight = corners_of(grid, points)
        return (torch.einsum("nec,ne->nc", features.flatten(0, 2)[index], weight) * weights).sum()

    points = grid.to_world(voxels).requires_grad_()
    assert torch.autograd.gradcheck(objective, points, eps=1e-6, atol=1e-5)
    single = points.detach().float().requires_grad_()
    rows = rows_at(features.float(), grid, single)
    torch.testing.assert_close((rows * weights).sum(), objective(points), rtol=1e-3, atol=1e-3)
    (rows * weights).sum().backward()
    (wanted,) = torch.autograd.grad(objective(points), points)
    torch.testing.assert_close(single.grad.double(), wanted, rtol=1e-3, atol=1e-3)


def test_gradient_outside_the_grid_is_zero():
    point = torch.tensor([[100.0, 2.3, 1.6]], requires_grad=True)
    rows_at(random(5, 5, 5, 3), Grid((5, 5, 5), np.eye(4)), point).square().sum().backward()
    assert point.grad[0, 0] == 0 and (point.grad[0, 1:] != 0).all()
