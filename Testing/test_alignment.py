"""Alignment: the graph of key points, and a known warp recovered from perfect features."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.spline import thin_plate_spline
from SlicRegLib.network.prediction import Description
from SlicRegLib.registration.alignment import align, neighbour_graph
from SlicRegLib.registration.key_points import choose_key_points
from SlicRegLib.registration.options import AlignmentOptions
from tiny import random, wave


def description(features: torch.Tensor, grid: Grid) -> Description:
    return Description(features, grid, torch.zeros(1, 1, 4))


def test_neighbours_on_a_line():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [7, 0, 0]])
    assert neighbour_graph(points, 1).tolist() == [[0, 1, 2, 3], [1, 0, 1, 2]]
    source, target = neighbour_graph(points, 2)
    assert source.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [set(p) for p in target.reshape(4, 2).tolist()] == [{1, 2}, {0, 2}, {1, 0}, {2, 1}]
    assert neighbour_graph(points, 50).shape == (2, 4 * 3)  # no more than there are


def feature_function(channels: int = 24):
    """Smooth random features of world points: waves of random direction and phase, 60 to 250 mm long."""
    generator = torch.Generator().manual_seed(4)
    direction = torch.nn.functional.normalize(torch.randn(channels, 3, generator=generator), dim=1)
    length = 60 + 190 * torch.rand(channels, generator=generator)
    phase = 2 * np.pi * torch.rand(channels, generator=generator)
    return lambda points: 0.3 * (2 * np.pi * (points @ direction.T) / length + phase).sin()


@pytest.mark.parametrize("scale", [1.0, 0.5], ids=["8 mm", "4 mm"])
def test_a_known_smooth_warp_is_recovered(scale):
    """Perfect features: the moving scan's at p + u(p) are the fixed scan's at p. The scans have different frames."""
    spacing = 8.0 * scale
    fixed_grid = Grid.centred((0, 0, 0), (24, 24, 24), spacing)
    moving_grid = Grid.centred((30, -20, 10), (30, 30, 30), spacing)
    shift = torch.tensor([30.0, -20.0, 10.0])

    def warp(points):
        return points + shift + wave(points, 10 * scale, 300 * scale)

    def unwarp(points):
        found = points - shift
        for _ in range(30):
            found = points - shift - wave(found, 10 * scale, 300 * scale)
        return found

    f = feature_function()

    def features(points):
        return f(points / scale)

    moving = description(features(unwarp(moving_grid.points())), moving_grid)
    body = torch.zeros(24, 24, 24, dtype=torch.bool)
    body[2:-2, 2:-2, 2:-2] = True
    options = AlignmentOptions(key_points=600, learning_rate=0.01, iterations=150)
    points = choose_key_points(body, fixed_grid, options)
    start = shift.expand_as(points)
    seen = []
    displacements = align(points, features(points), moving, start, options, lambda *step: seen.append(step))
    field = thin_plate_spline(points, displacements, fixed_grid, options.spline_lambda)
    inner = fixed_grid.points()[4:-4, 4:-4, 4:-4]
    error = (field(inner) - warp(inner)).norm(dim=-1)
    before = (inner + shift - warp(inner)).norm(dim=-1)
    assert before.mean() > spacing
    assert error.mean() < 0.25 * spacing and error.max() < spacing
    assert seen[-1][:2] == ("alignment", 1.0)


def test_stronger_regularisation_is_smoother():
    grid = Grid.centred((0, 0, 0), (12, 12, 12), 10.0)
    points = choose_key_points(torch.ones(12, 12, 12, dtype=torch.bool), grid, AlignmentOptions(key_points=100))
    moving, wanted, start = description(random(12, 12, 12, 8), grid), random(100, 8, seed=1), torch.zeros(100, 3)
    loose, stiff = (align(points, wanted, moving, start, replace(AlignmentOptions(), alpha=a)) for a in (0.001, 10.0))
    assert stiff.std(0).norm() < 0.5 * loose.std(0).norm()
    assert torch.equal(align(points, wanted, moving, start + 3, replace(AlignmentOptions(), iterations=0)), start + 3)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_equal_input_gives_equal_displacements(two_threads):
    """Bit by bit, though threads share the sums; torch's own setting is as before afterwards."""
    grid = Grid.centred((0, 0, 0), (12, 12, 12), 10.0)
    points = choose_key_points(torch.ones(12, 12, 12, dtype=torch.bool), grid, AlignmentOptions(key_points=1500))
    moving, wanted, start = description(random(12, 12, 12, 8), grid), random(1500, 8, seed=1), torch.zeros(1500, 3)
    first, again = (align(points, wanted, moving, start) for _ in range(2))
    assert torch.equal(first, again) and first.norm(dim=1).mean() > 1
    assert not torch.are_deterministic_algorithms_enabled()
