"""Alignment: sampling, graph, robust affine and spline with known answers; a known warp is recovered."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import wave

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.gather import _corners
from SlicRegLib.geometry.grid import Grid, apply_affine
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.geometry.spline import thin_plate_spline
from SlicRegLib.network.prediction import Description
from SlicRegLib.registration.affine import fit_affine
from SlicRegLib.registration.alignment import align, neighbour_graph
from SlicRegLib.registration.key_points import choose_key_points, features_at
from SlicRegLib.registration.options import AlignmentOptions

OBLIQUE = np.array([[1.9, -0.6, 0.0, 12.0], [0.6, 1.9, 0.3, -7.0], [-0.1, -0.28, 3.0, 40.0], [0, 0, 0, 1]])


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def description(features: torch.Tensor, grid: Grid) -> Description:
    return Description(features, grid, torch.zeros(1, 1, 4))


# ---- sampling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 4, 6), (2, 3, 1)])
def test_features_are_sampled_trilinearly(shape):
    grid = Grid(shape, OBLIQUE)
    features = random(*shape, 7)
    voxels = (
        torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) * (torch.tensor(shape) + 2) - 1.5
    )  # also outside
    points = grid.to_world(torch.cat([voxels, torch.tensor([[0.0, 0, 0], [1, 2, 0], [s - 1 for s in shape]])]))
    wanted = sample(features.movedim(-1, 0), grid, points).T
    torch.testing.assert_close(features_at(description(features, grid), points), wanted, rtol=1e-4, atol=1e-4)


def test_gradient_of_sampling_is_the_slope():
    grid = Grid((6, 5, 7), OBLIQUE)
    features = random(6, 5, 7, 4).double()
    voxels = torch.rand(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3.5 + 0.01
    weights = random(30, 4, seed=2).double()

    def objective(points):  # as features_at, in double precision for finite differences
        index, weight = _corners(grid, points)
        return (torch.einsum("nec,ne->nc", features.flatten(0, 2)[index], weight) * weights).sum()

    points = grid.to_world(voxels).requires_grad_()
    assert torch.autograd.gradcheck(objective, points, eps=1e-6, atol=1e-5)
    single = points.detach().float().requires_grad_()
    (features_at(description(features.float(), grid), single) * weights).sum().backward()
    (wanted,) = torch.autograd.grad(objective(points), points)
    torch.testing.assert_close(single.grad.double(), wanted, rtol=1e-3, atol=1e-3)


def test_gradient_outside_the_grid_is_zero():
    point = torch.tensor([[100.0, 2.3, 1.6]], requires_grad=True)
    features_at(description(random(5, 5, 5, 3), Grid((5, 5, 5), np.eye(4))), point).square().sum().backward()
    assert point.grad[0, 0] == 0 and (point.grad[0, 1:] != 0).all()


# ---- graph and key points -------------------------------------------------------------------------------------


def test_neighbours_on_a_line():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [7, 0, 0]])
    assert neighbour_graph(points, 1).tolist() == [[0, 1, 2, 3], [1, 0, 1, 2]]
    source, target = neighbour_graph(points, 2)
    assert source.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [set(p) for p in target.reshape(4, 2).tolist()] == [{1, 2}, {0, 2}, {1, 0}, {2, 1}]
    assert neighbour_graph(points, 50).shape == (2, 4 * 3)  # no more than there are


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


# ---- affine start ---------------------------------------------------------------------------------------------

MATRIX = np.array([[1.1, 0.1, 0, 30], [-0.12, 0.9, 0.05, -20], [0, 0.02, 1.05, 55], [0, 0, 0, 1]])


def centroids(noise_mm: float = 0.0):
    """(fixed, moving) of 4 layers of 32 supervoxels under MATRIX, background wherever."""
    where = 80 * random(4, 32, 3).double() + torch.tensor([5.0, 300, -900])
    mass = torch.full((4, 32, 1), 20.0, dtype=torch.float64)
    moved = apply_affine(MATRIX, where) + noise_mm * random(4, 32, 3, seed=1)
    moved[:, 0] = 1e4
    return torch.cat([mass, where], -1), torch.cat([mass, moved], -1)


def test_affine_between_exact_centroids():
    np.testing.assert_allclose(fit_affine(*centroids()), MATRIX, atol=1e-6)


def test_affine_between_withstands_outliers_and_missing_supervoxels():
    fixed, moving = centroids(noise_mm=1.0)
    moving[:, 1:8, 1:] += 150 * random(4, 7, 3, seed=3).abs()  # a fifth lies elsewhere
    moving[:, 8:12, 0], moving[:, 8:12, 1:] = 0.5, 0  # others are hardly seen
    found = fit_affine(fixed, moving)
    inner = fixed[:, 1:, 1:].reshape(-1, 3).numpy()
    assert np.abs(apply_affine(found, inner) - apply_affine(MATRIX, inner)).max() < 3


def test_without_enough_supervoxels_the_affine_is_the_identity():
    fixed, moving = centroids()
    moving[..., 0] = 0
    assert fit_affine(fixed, moving) is None


def test_a_map_that_no_patient_could_take_is_none():
    fixed, moving = centroids()
    for squeeze in (-1.0, 0.0):  # mirrored, flat
        changed = moving.clone()
        changed[..., 1] *= squeeze
        assert fit_affine(fixed, changed) is None


# ---- spline ---------------------------------------------------------------------------------------------------


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


# ---- the whole ------------------------------------------------------------------------------------------------


def feature_function(channels: int = 24):
    """Smooth random features of world points: waves of random direction and phase, 60 to 250 mm long."""
    generator = torch.Generator().manual_seed(4)
    direction = torch.nn.functional.normalize(torch.randn(channels, 3, generator=generator), dim=1)
    length = 60 + 190 * torch.rand(channels, generator=generator)
    phase = 2 * np.pi * torch.rand(channels, generator=generator)
    return lambda points: 0.3 * (2 * np.pi * (points @ direction.T) / length + phase).sin()


@pytest.mark.parametrize("scale", [1.0, 0.5], ids=["8 mm", "4 mm"])
def test_a_known_smooth_warp_is_recovered(scale):
    """Perfect features: the moving scan's at p + u(p) are the fixed scan's at p. Both scans have frames of their own."""
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
    features = lambda points: f(points / scale)
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
