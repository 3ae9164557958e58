"""Where fields fold: Jacobians and stretches with known answers, and folds that are smoothed."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.geometry.folding import jacobian, jacobian_determinant, least_stretch, unfold
from SlicRegLib.geometry.grid import Grid, bounding_grid
from SlicRegLib.geometry.inverse import invert
from tiny import field_of, random


def test_jacobian_of_a_linear_field_is_its_determinant(odd_grid):
    matrix = torch.tensor([[0.1, 0.2, 0], [-0.1, 0, 0.3], [0, 0.05, -0.2]])
    found = jacobian_determinant(field_of(odd_grid, lambda p: p @ matrix.T))
    assert tuple(found.shape) == tuple(n - 2 for n in odd_grid.shape)
    np.testing.assert_allclose(found, torch.linalg.det(torch.eye(3) + matrix), atol=1e-4)
    np.testing.assert_allclose(jacobian_determinant(identity_field(odd_grid)), 1, atol=1e-5)


def test_rows_of_the_jacobian_are_components_and_columns_axes(odd_grid):
    matrix = torch.tensor([[0.1, 0.2, 0], [-0.1, 0, 0.3], [0, 0.05, -0.2]])
    found = jacobian(field_of(odd_grid, lambda p: p @ matrix.T))
    np.testing.assert_allclose(found, (torch.eye(3) + matrix).expand_as(found), atol=1e-4)


def test_folding_of_a_wave(left_handed):
    """x + (2 / k) sin(k x) folds where cos(k x) < -1/2: a third of each period."""
    k, grid = 2 * np.pi / 60, left_handed((242, 4, 4), (1.0, 3.0, 2.0))  # 4 periods along R
    wave = field_of(grid, lambda p: torch.stack([2 / k * torch.sin(k * p[..., 0]), 0 * p[..., 1], 0 * p[..., 2]], -1))
    assert (jacobian_determinant(wave) <= 0).float().mean() == pytest.approx(1 / 3, abs=0.02)


def test_least_stretch_of_a_linear_field(odd_grid):
    """p -> A p: the same everywhere inside, and what singular values say."""
    matrix = (
        torch.diag(torch.tensor([0.5, 1.0, 2.0]))
        @ torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)))[0]
    )
    field = DisplacementField((odd_grid.points() @ matrix.T - odd_grid.points()).movedim(-1, 0), odd_grid)
    inverse = torch.linalg.inv(matrix)
    wanted = torch.linalg.det(matrix).sign() * 3**0.5 / inverse.norm()
    found = least_stretch(field)[1:-1, 1:-1, 1:-1]
    torch.testing.assert_close(found, torch.full_like(found, float(wanted)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [0.1, 0.0, -0.1, 3.0])
def test_least_stretch_of_a_uniform_scaling_is_its_factor(oblique, scale):
    """Also where everything lands on one point, and at the border of the grid's inside."""
    found = least_stretch(field_of(oblique((8, 9, 7)), lambda p: (scale - 1) * p))[1:-1, 1:-1, 1:-1]
    torch.testing.assert_close(found, torch.full_like(found, scale), rtol=1e-3, atol=1e-3)


def test_a_field_that_collapses_to_a_point_has_no_stretch():
    assert (least_stretch(field_of(Grid((5, 5, 5), np.eye(4)), lambda p: -p)) == 0).all()


def test_least_stretch_is_that_of_the_worst_cell_around_a_point(oblique):
    """By numpy, cell by cell: sqrt(3) / |inverse of the Jacobian|, with the Jacobian's sign."""
    grid = oblique((4, 5, 3))
    field = DisplacementField(random(3, *grid.shape), grid)
    moved = field(grid.points()).double().numpy()
    steps_mm = grid.affine[:3, :3]  # columns: the step along each axis
    found = least_stretch(field).numpy()
    for i, j, k in np.ndindex(2, 3, 1):
        here = np.array([i, j, k]) + 1
        stretches = []
        for signs in product((-1, 1), repeat=3):
            sides = [
                sign * (moved[tuple(here + sign * np.eye(3, dtype=int)[a])] - moved[tuple(here)])
                for a, sign in enumerate(signs)
            ]
            jacobian_of_cell = np.stack(sides, 1) @ np.linalg.inv(steps_mm)
            inverse = np.linalg.inv(jacobian_of_cell)
            stretches.append(np.sign(np.linalg.det(jacobian_of_cell)) * 3**0.5 / np.linalg.norm(inverse))
        assert found[tuple(here)] == pytest.approx(min(stretches), abs=1e-3)


def unfold_everywhere(field: DisplacementField, stretch: float, steps: int) -> np.ndarray:
    """`unfold` by scipy's filters on the whole grid."""
    vectors = field.vectors.double().numpy()
    for _ in range(steps):
        bad = least_stretch(DisplacementField(torch.from_numpy(vectors), field.grid)).numpy() < stretch
        if not bad.any():
            break
        near = ndimage.maximum_filter(bad.astype(float), 3, mode="constant")
        weight = ndimage.uniform_filter(near, 3, mode="constant")
        means = np.stack([ndimage.uniform_filter(component, 3, mode="nearest") for component in vectors])
        vectors = vectors + weight * (means - vectors)
    return vectors


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_unfold_is_the_same_as_smoothing_with_a_look_at_the_whole_grid(oblique, steps):
    """Two bumps, of which one is smooth soon and one lies in a corner: the part looked at shrinks and moves."""
    grid = oblique((26, 22, 20), (4.0, 4.0, 4.0))
    points, vectors = grid.points(), 0
    for place, height, width in (((19.0, 14, 13), 18, 9), ((1.0, 0, 2), 30, 13), ((9.0, 20, 4), 12, 6)):
        centre = torch.from_numpy(grid.to_world(np.array(place))).float()
        vectors = vectors + height * torch.exp(-(((points - centre).norm(dim=-1) / width) ** 2))
    field = DisplacementField(torch.stack([vectors, -vectors, 0.5 * vectors]), grid)
    assert least_stretch(field).min() < 0
    known = unfold_everywhere(field, 0.5, steps)
    assert np.abs(known - field.vectors.numpy()).max() > 0.5
    np.testing.assert_allclose(unfold(field, 0.5, steps).vectors, known, atol=1e-3)


def test_unfold_removes_folds_and_leaves_the_rest(oblique):
    grid = oblique((40, 30, 30), (4.0, 4.0, 4.0))
    points, centre = grid.points(), torch.tensor(grid.centre).float()
    bump = torch.exp(-(((points - centre).norm(dim=-1) / 14) ** 2))
    field = DisplacementField(torch.stack([40 * bump, 3 * torch.sin(points[..., 1] / 40), 0 * bump]), grid)
    assert least_stretch(field).min() < 0
    unfolded = unfold(field, 0.5)
    assert least_stretch(unfolded).min() >= 0.5
    far = (points - centre).norm(dim=-1) > 70
    assert torch.equal(unfolded.vectors[:, far], field.vectors[:, far])
    assert unfolded.vectors[0].max() > 8  # the bump is still there
    assert unfold(unfolded).vectors.equal(unfolded.vectors)


def test_an_unfolded_field_and_its_inverse_undo_each_other(oblique):
    grid = oblique((18, 18, 18), (8.0, 8.0, 8.0))
    noise = torch.randn(1, 3, 6, 6, 6, generator=torch.Generator().manual_seed(5)) * 20
    field = DisplacementField(F.interpolate(noise, (18, 18, 18), mode="trilinear")[0], grid)
    assert (least_stretch(field) < 0).float().mean() > 0.01
    field = unfold(field)
    inverse = invert(field, bounding_grid([grid], 3.0, 60.0))
    inner = grid.points()[4:-4, 4:-4, 4:-4] + 3.0
    assert (inverse(field(inner)) - inner).norm(dim=-1).max() < 1  # mm
    assert (field(inverse(inner)) - inner).norm(dim=-1).max() < 1
