"""Key points: distinct voxels of the body, nearly the same for nearly the same body."""

import numpy as np
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.network.prediction import Description
from SlicRegLib.registration.key_points import choose_key_points, describe_key_points
from SlicRegLib.registration.options import AlignmentOptions
from tiny import random

OBLIQUE = np.array([[1.9, -0.6, 0.0, 12.0], [0.6, 1.9, 0.3, -7.0], [-0.1, -0.28, 3.0, 40.0], [0, 0, 0, 1]])


def test_one_voxel_more_changes_one_key_point():
    """Or rounding at the body's edge would draw other points, and the same scan on another machine another field."""
    grid, body = Grid((10, 12, 14), OBLIQUE), torch.zeros(10, 12, 14, dtype=torch.bool)
    body[2:8, 3:9, 4:10] = True
    before = choose_key_points(body, grid, AlignmentOptions(key_points=100))
    body[8, 5, 5] = True
    after = choose_key_points(body, grid, AlignmentOptions(key_points=100))
    assert len(torch.cat([before, after]).unique(dim=0)) <= 101


def test_key_points_are_distinct_voxels_of_the_body():
    grid, body = Grid((10, 12, 14), OBLIQUE), torch.zeros(10, 12, 14, dtype=torch.bool)
    body[2:8, 3:9, 4:10] = True
    points = choose_key_points(body, grid, AlignmentOptions(key_points=50))
    voxels = grid.to_voxel(points).round().long()
    torch.testing.assert_close(grid.to_world(voxels.float()), points)
    assert body[tuple(voxels.T)].all() and len(voxels.unique(dim=0)) == 50
    assert torch.equal(points, choose_key_points(body, grid, AlignmentOptions(key_points=50)))
    assert not torch.equal(points, choose_key_points(body, grid, AlignmentOptions(key_points=50, seed=1)))
    assert len(choose_key_points(body, grid)) == 6**3  # no more than there are
    with pytest.raises(UserError, match="too small"):
        choose_key_points(body & False, grid)


def test_features_are_those_at_the_points():
    grid, body = Grid((10, 12, 14), OBLIQUE), torch.ones(10, 12, 14, dtype=torch.bool)
    output = grid.strided(2)
    description = Description(random(*output.shape, 5), output, random(1, 3, 4).double())
    found = describe_key_points(description, body, grid, AlignmentOptions(key_points=100))
    known = sample(description.features.movedim(-1, 0), output, found.points).T
    torch.testing.assert_close(found.features, known, rtol=1e-4, atol=1e-4)
    assert found.centroids is description.centroids and len(found.points) == 100
