"""The thin-plate spline: scipy's, affine maps and smoothing."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.spline import thin_plate_spline
from tiny import random


@pytest.mark.parametrize("stiffness", [0.0, 0.001, 0.5])
def test_the_spline_is_scipys(stiffness):
    """scipy's "linear" kernel is -|r|, and its smoothing is added to the kernel's diagonal as our stiffness is.

    A smoothed spline depends on the unit of length, so scipy gets coordinates in the unit of 200 mm.
    """
    points, displacements = 60 * random(200, 3) + torch.tensor([20.0, -300, 1000]), 8 * random(200, 3, seed=1)
    grid = Grid.centred(points.mean(0).numpy(), (7, 8, 9), (40.0, 35.0, 30.0))  # also beyond the points
    known = RBFInterpolator(
        points.double().numpy() / 200,
        displacements.double().numpy(),
        smoothing=stiffness,
        kernel="linear",
        degree=1,
    )(grid.points().double().reshape(-1, 3).numpy() / 200)
    found = thin_plate_spline(points, displacements, grid, stiffness)
    assert np.abs(known).max() > 5  # mm: there is something to compare
    np.testing.assert_allclose(found.vectors.reshape(3, -1).T, known, atol=0.01)


@pytest.mark.parametrize("origin_mm", [0.0, -1500.0])
def test_spline_goes_through_its_points(origin_mm):
    """Key points on voxels of the grid that the spline is evaluated on; scanners put their origin anywhere."""
    grid = Grid.centred((origin_mm, 0, 2 * origin_mm), (16, 14, 15), 12.0)
    chosen = torch.randperm(16 * 14 * 15, generator=torch.Generator().manual_seed(0))[:300]
    points = grid.points().reshape(-1, 3)[chosen]
    displacements = 10 * random(300, 3)
    field = thin_plate_spline(points, displacements, grid, 0.0)
    torch.testing.assert_close(field.vectors.reshape(3, -1).T[chosen], displacements, rtol=0, atol=0.05)


@pytest.mark.parametrize("stiffness", [0.0, 0.001, 10.0])
@pytest.mark.parametrize("origin_mm", [0.0, -1500.0])
def test_spline_reproduces_an_affine_map(stiffness, origin_mm):
    points = 60 * random(100, 3) + origin_mm
    grid = Grid.centred([origin_mm] * 3, (8, 9, 10), 40.0)  # far beyond the points
    linear = torch.tensor([[0.1, 0.05, 0], [-0.1, 0.2, 0.0], [0.0, 0.1, -0.15]])
    field = thin_plate_spline(points, (points - origin_mm) @ linear.T + 7, grid, stiffness)
    torch.testing.assert_close(
        field.vectors.movedim(0, -1), (grid.points() - origin_mm) @ linear.T + 7, rtol=1e-3, atol=0.05
    )


def test_stiff_spline_smooths():
    grid = Grid.centred((0, 0, 0), (12, 12, 12), 15.0)
    points, displacements = 50 * random(200, 3), 5 * random(200, 3, seed=1)
    rough = [thin_plate_spline(points, displacements, grid, s).vectors.std().item() for s in (0.0, 0.1, 10.0)]
    assert rough[0] > rough[1] > rough[2]
