"""Inverses that undo their field, also where it stretches strongly, folds or leads metres away."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.folding import jacobian_determinant
from SlicRegLib.geometry.grid import Grid, bounding_grid
from SlicRegLib.geometry.inverse import invert
from SlicRegLib.registration.result import INVERSE_SPACING_MM
from tiny import field_of


def bulge(centre, stretch, width):
    """u = (stretch - 1) r exp(-r^2 / 2 width^2) about ``centre``: stretches by ``stretch`` there, folds above 3.24."""
    centre = torch.tensor(centre, dtype=torch.float32)

    def function(p):
        r = p - centre
        return (stretch - 1) * r * torch.exp(-(r**2).sum(-1, keepdim=True) / (2 * width**2))

    return function


STRONG = {
    "waves": lambda p: 11 * torch.sin(p[..., [1, 2, 0]] / 22) * torch.cos(p[..., [2, 0, 1]] / 28),
    "stretch 2.6": lambda p: 1.6 * 25 * torch.tanh((p - 3) / 25),
    "shift and stretch": lambda p: bulge((25, 0, -20), 2.3, 30)(p) + torch.tensor([18.0, -25, 12]),
    "linear": lambda p: p @ torch.tensor([[0.3, 0.2, 0], [-0.2, -0.3, 0.1], [0.1, 0, 1.3]]).T + 5,
}


@pytest.mark.parametrize("name", STRONG)
def test_inverse_undoes_the_field_both_ways(name):
    """Within 1 mm, at points off the nodes of the grid that registration keeps the inverse on."""
    grid = Grid.centred((0, 0, 0), (45, 45, 45), 5.0)
    field = field_of(grid, STRONG[name])
    assert jacobian_determinant(field).min() > 0.05
    inverse = invert(field, bounding_grid([grid], INVERSE_SPACING_MM))
    points = Grid.centred((1.3, -0.7, 0.4), (21, 21, 21), 5.3).points()
    for first, then in ((field, inverse), (inverse, field)):
        middle = first(points)
        voxel = then.grid.to_voxel(middle)
        inside = ((voxel >= 0) & (voxel <= torch.tensor(then.grid.shape) - 1)).all(-1)
        assert inside.float().mean() > 0.5
        assert (then(middle) - points)[inside].norm(dim=-1).max() < 1


@pytest.mark.parametrize("name", STRONG)
def test_newton_is_exact_after_four_steps_from_a_near_start(name):
    """At the nodes, to the tolerance of 0.02 mm: after four steps where the field is known, after eight beyond it."""
    grid = Grid.centred((0, 0, 0), (31, 31, 31), 7.0)
    field, nodes = field_of(grid, STRONG[name]), bounding_grid([grid], 12.0)
    goal = nodes.points()

    def errors(steps):
        found = invert(field, nodes, steps)(goal)
        voxel = grid.to_voxel(found)
        error = (field(found) - goal).norm(dim=-1)
        return error, error[((voxel >= 0) & (voxel <= 30)).all(-1)]

    assert errors(0)[1].mean() < 4.5  # mm, a third of the spacing
    assert errors(4)[1].max() < 0.0201 and errors(4)[1].mean() < 0.005
    assert errors(8)[0].max() < 0.0201


def test_inverse_of_a_shift_is_the_opposite_shift(odd_grid):
    field = field_of(Grid.centred(odd_grid.centre, (20, 20, 20), 6.0), lambda p: 0 * p + torch.tensor([7.0, -4, 30]))
    inverse = invert(field, odd_grid)
    np.testing.assert_allclose(
        inverse.vectors.movedim(0, -1).reshape(-1, 3), [[-7, 4, -30]] * odd_grid.points()[..., 0].numel(), atol=0.02
    )


@pytest.mark.parametrize("shape", [(-1.5, 15), (4.5, 20)], ids=["inside out at the centre", "a shell folded over"])
def test_inverse_stays_calm_where_the_field_folds(shape):
    grid = Grid.centred((0, 0, 0), (31, 31, 31), 6.0)
    field = field_of(grid, bulge((0, 0, 0), *shape))
    assert jacobian_determinant(field).min() < 0
    inverse = invert(field, bounding_grid([grid], INVERSE_SPACING_MM))
    assert inverse.vectors.isfinite().all()
    assert inverse.vectors.norm(dim=0).max() < 2 * field.vectors.norm(dim=0).max()
    y = inverse.grid.points()
    errors = [(field(v(y)) - y).norm(dim=-1) for v in (*(invert(field, inverse.grid, n) for n in range(4)), inverse)]
    for fewer, more in pairwise(errors):  # more steps leave no point worse than fewer
        assert (more <= fewer + 1e-3).all()
    assert errors[-1].max() < 0.5 and errors[-1].mean() < 0.01  # each finds a place that the field brings there
    far = torch.tensor([[65.0, 60, -65], [-75, 70, 0]])  # beyond the fold the inverse is an inverse
    assert (field(inverse(far)) - far).norm(dim=-1).max() < 1


@pytest.mark.parametrize("name", STRONG)
def test_the_start_is_near_on_a_grid_with_sides_of_different_length(name):
    grid = Grid.centred((0, 0, 0), (18, 31, 24), 7.0)
    field, nodes = field_of(grid, STRONG[name]), bounding_grid([grid], 12.0)
    place = invert(field, nodes, steps=0)(nodes.points())
    voxel = grid.to_voxel(place)
    inside = ((voxel >= 0) & (voxel <= torch.tensor(grid.shape) - 1)).all(-1)
    assert (field(place) - nodes.points()).norm(dim=-1)[inside].mean() < 4.5


def test_a_newton_step_that_makes_it_worse_is_replaced():
    """A rough field, where Newton's method alone leaves 5 % of the points without an answer."""
    grid = Grid.centred((0, 0, 0), (25, 25, 25), 6.0)
    vectors = np.random.default_rng(0).normal(size=(3, *grid.shape))
    for _ in range(2):
        vectors = ndimage.uniform_filter(vectors, (0, 3, 3, 3), mode="constant")
    field = DisplacementField(torch.from_numpy(6 * vectors / vectors.std()).float(), grid)
    nodes = bounding_grid([grid], 12.0)

    def errors(steps):
        return (field(invert(field, nodes, steps)(nodes.points())) - nodes.points()).norm(dim=-1)

    assert errors(3).mean() < 0.74
    assert (errors(40) > 0.03).float().mean() < 0.008


def test_an_inverse_is_found_from_a_start_and_where_it_is_wanted():
    grid = Grid.centred((0, 0, 0), (31, 31, 31), 7.0)
    field, nodes = field_of(grid, STRONG["waves"]), Grid.centred((3, -2, 5), (10, 14, 18), 8.0)
    known = invert(field, nodes)
    start = DisplacementField(known.vectors + torch.tensor([0.5, -0.3, 0.4]).reshape(3, 1, 1, 1), nodes)
    unchanged = invert(field, nodes, steps=0, start=start).vectors
    assert (unchanged - start.vectors).abs().max() < 1e-4  # mm, of coordinates in single precision
    where = torch.from_numpy(np.random.default_rng(0).random(nodes.shape) < 0.4)
    found = invert(field, nodes, start=start, where=where).vectors
    assert (found - known.vectors)[:, where].abs().max() < 0.04  # twice the tolerance
    assert (found - start.vectors)[:, ~where].abs().max() < 1e-4


def test_inverse_of_scans_that_lie_metres_apart():
    field = field_of(Grid.centred((0, 0, 0), (24, 24, 24), 8.0), lambda p: 0 * p + torch.tensor([0.0, 0, 1500]))
    inverse = invert(field, Grid.centred((0, 0, 1500), (20, 20, 80), 12.0))
    assert (inverse.vectors - torch.tensor([0.0, 0, -1500]).reshape(3, 1, 1, 1)).abs().max() < 0.1
