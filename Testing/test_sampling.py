"""Values of volumes at points, inside the grid and beyond it."""

import numpy as np
import torch

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.sampling import sample


def test_sample_outside_fills_or_repeats_the_edge():
    volume = torch.arange(8.0).reshape(1, 2, 2, 2) + 10
    grid = Grid((2, 2, 2), np.eye(4))
    points = torch.tensor([[0.0, 0, 0], [1, 0, 1], [0.5, 0.5, 0.5], [-5, -5, -5], [9, 9, 9], [-0.5, 0, 0]])
    np.testing.assert_allclose(sample(volume, grid, points)[0], (10, 15, 13.5, 10, 17, 10), atol=1e-5)
    np.testing.assert_allclose(sample(volume, grid, points, fill=-2.0)[0], (10, 15, 13.5, -2, -2, 10), atol=1e-5)
