"""Displacement fields: values at points, on other grids, and brought to zero for files."""

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.field import affine_field, identity_field, taper
from SlicRegLib.geometry.grid import Grid, apply_affine, bounding_grid
from tiny import field_of


def test_field_at_and_on_agree_with_the_formula(oblique, left_handed):
    matrix = torch.tensor([[0.1, 0.2, 0], [-0.1, 0, 0.3], [0, 0.05, -0.2]])
    field = field_of(oblique((20, 20, 20)), lambda p: p @ matrix.T + 1)
    point = torch.tensor(oblique((20, 20, 20)).centre, dtype=torch.float32) + 0.7
    np.testing.assert_allclose(field(point), point + matrix @ point + 1, atol=1e-4)
    other = Grid.centred(field.grid.centre, (4, 5, 6), 1.5)
    np.testing.assert_allclose(field.on(other).vectors, field_of(other, lambda p: p @ matrix.T + 1).vectors, atol=1e-4)


def test_identity_and_affine_fields(odd_grid):
    matrix = np.array([[1.1, 0.2, 0, 30], [-0.1, 0.9, 0.3, -20], [0, 0.05, 0.8, 5], [0, 0, 0, 1]])
    points = odd_grid.points()
    assert torch.equal(identity_field(odd_grid)(points), points)
    np.testing.assert_allclose(affine_field(matrix, odd_grid)(points), apply_affine(matrix, points), atol=1e-3)


def test_a_field_on_another_device(oblique):
    field = identity_field(oblique())
    moved = field.to("meta")  # the device without memory, which every computer has
    assert moved.vectors.device.type == "meta" and moved.vectors.shape == field.vectors.shape
    assert moved.grid is field.grid and field.vectors.device.type == "cpu"


@pytest.mark.parametrize("spacing", [4.0, 12.0])
def test_a_tapered_field_is_unchanged_on_the_scan_and_zero_at_its_border(odd_grid, smooth_field, spacing):
    scan = odd_grid
    field = smooth_field(bounding_grid([scan], spacing, margin_mm=7), 10.0)
    result = taper(field, scan, 40.0)
    points = scan.points()
    np.testing.assert_allclose(result.at(points), field.at(points), atol=1e-3)
    border = torch.ones(result.grid.shape, dtype=torch.bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert result.vectors[:, border].abs().max() < 1e-5
    assert result.vectors.abs().max() <= 10.0 + 1e-4
    np.testing.assert_allclose(result.grid.affine[:3, :3], field.grid.affine[:3, :3])


def test_taper_also_cuts_an_oblique_field(oblique):
    scan = Grid.centred(oblique((30, 30, 30)).centre, (6, 6, 6), 2.0)
    field = field_of(oblique((30, 30, 30), (4.0, 4.0, 4.0), origin=(-70.0, -40.0, -50.0)), lambda p: 0 * p + 3)
    result = taper(field, scan, 20.0)
    np.testing.assert_allclose(result.at(scan.points()), 3, atol=1e-4)
    border = torch.ones(result.grid.shape, dtype=torch.bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert result.vectors[:, border].abs().max() < 1e-5


def test_a_tapered_field_is_half_in_the_middle_of_the_margin(oblique):
    """Cells of 9 x 4 x 6 mm, turned by 45 degrees about S, span (9 + 4) / sqrt(2) mm along R and A."""
    scan = Grid.centred((0, 0, 0), (21, 21, 21), 2.0)  # faces at 21 mm
    field = field_of(oblique((40, 80, 40), (9.0, 4.0, 6.0), (0, 0, 45.0), (0, -240, -120)), lambda p: 0 * p + 3)
    result = taper(field, scan, 40.0)
    reach = 21 + 13 / 2**0.5 + 40
    box = result.grid.to_voxel(Grid.centred((0, 0, 0), (1, 1, 1), 2 * reach).corners())
    last = np.array(result.grid.shape) - 1
    assert (box.min(0) > -1e-6).all() and (box.max(0) < last + 1e-6).all()  # holds scan and margin
    assert (box.min(0) < 1.3).all() and (box.max(0) > last - 1.3).all()  # and no more, but for a millimetre
    beyond = result.grid.points().numpy()
    beyond = (np.abs(beyond).max(-1) - 21 - 13 / 2**0.5).clip(0, 40)
    known = 1.5 + 1.5 * np.cos(np.pi * beyond / 40)
    assert ((known > 0.1) & (known < 2.9)).sum() > 1000
    np.testing.assert_allclose(result.vectors, np.stack([known] * 3), atol=0.15)  # to a millimetre
