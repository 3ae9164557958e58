"""The canonical frame: one scene of the world, stored in any way, gives one centre and one prepared image."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import (
    body_mask,
    canonical_grid,
    fit_shape,
    network_input,
    prepare,
    soft_tissue_centre,
)
from SlicRegLib.images.volumes import Volume

CENTRE = np.array([14.0, -9.0, 23.0])
VOXEL_MM = 4.0  # of the canonical grid
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def ramp(distance, hu, background, width=2.0):
    """Soft edge: hu inside (distance < 0, mm), background outside."""
    share = np.clip(0.5 - distance / width, 0, 1)
    return background + share * (hu - background)


def ball(points):
    """60 HU of 40 mm radius in air."""
    return ramp(np.linalg.norm(points - CENTRE, axis=-1) - 40, 60, -1000)


def trunk(points):
    """No symmetry: a body of 40 HU with a lung on the Right, a bone behind and an organ of 150 HU on the Left."""
    p = points - CENTRE
    hu = ramp(40 * (np.linalg.norm(p / (60, 42, 50), axis=-1) - 1), 40, -1000, 4)
    for centre, radius, value in (((28, 5, 12), 16, -800), ((-4, -25, 0), 9, 700), ((-25, 8, -14), 17, 150)):
        hu = ramp(np.linalg.norm(p - centre, axis=-1) - radius, value, hu, 4)
    return hu


def paint(scene, grid):
    return Volume(scene(grid.points().numpy()).astype(np.float32), grid)


def reoriented(scan, axes, signs):
    """The same voxels of the same world with array axes permuted and flipped."""
    data = scan.data.transpose(axes)
    affine = scan.grid.affine[:, [*axes, 3]].copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:, axis] *= -1
    return Volume(np.ascontiguousarray(data), Grid(data.shape, affine))


@pytest.fixture
def stored(oblique):
    """The ways a scanner may store the scene: factory name -> grid that covers it."""

    def make(name):
        straight = Grid.centred(CENTRE + (2, 1, -3), (48, 36, 42), 3.0)
        if name == "oblique":
            turned = oblique((52, 50, 50), (3.0, 3.0, 3.0), (20, 0, 0))
            affine = turned.affine.copy()
            affine[:3, 3] += CENTRE - turned.centre
            return Grid(turned.shape, affine)
        return {"straight": straight, "anisotropic": Grid.centred(CENTRE, (76, 60, 25), (1.7, 1.7, 5.0))}[name]

    return make


def test_centre_of_a_ball_in_all_48_orientations(oblique):
    scan = paint(ball, Grid.centred(CENTRE + (3, -5, 7), (34, 36, 38), (3.0, 3.2, 2.9)))
    for axes, signs in ORIENTATIONS:
        found = soft_tissue_centre(reoriented(scan, axes, signs))
        np.testing.assert_allclose(found, CENTRE, atol=0.25)


@pytest.mark.parametrize("name", ["straight", "oblique", "anisotropic"])
def test_centre_does_not_depend_on_how_the_scan_is_stored(stored, name):
    assert np.linalg.norm(soft_tissue_centre(paint(ball, stored(name))) - CENTRE) < 0.25 * VOXEL_MM
    straight = soft_tissue_centre(paint(trunk, stored("straight")))
    assert np.linalg.norm(soft_tissue_centre(paint(trunk, stored(name))) - straight) < 0.25 * VOXEL_MM


@pytest.mark.parametrize("name", ["straight", "oblique", "anisotropic"])
def test_prepared_image_does_not_depend_on_how_the_scan_is_stored(stored, name):
    shape = (32, 32, 32)
    scan = paint(trunk, stored(name))
    grid = canonical_grid(scan, shape, VOXEL_MM)
    known = torch.from_numpy(trunk(grid.points().numpy())).float()
    found = prepare(scan, grid)
    assert found.shape == shape
    assert np.corrcoef(found.ravel(), known.ravel())[0, 1] > 0.99
    error = (found - known).abs().mean()
    assert error < 25  # HU of 1000; edges are blurred by a voxel
    for mirrored in (known.flip(0), known.flip(1), known.flip(2), known.transpose(0, 1)):
        assert error < 0.5 * (found - mirrored).abs().mean()


def test_prepared_image_in_all_48_orientations(stored):
    scan = paint(trunk, Grid.centred(CENTRE, (26, 20, 22), (5.5, 5.0, 5.2)))
    known = prepare(scan, canonical_grid(scan, (16, 16, 16), 8.0))
    for axes, signs in ORIENTATIONS:
        again = reoriented(scan, axes, signs)
        found = prepare(again, canonical_grid(again, (16, 16, 16), 8.0))
        assert (found - known).abs().max() < 2  # HU


def test_prepare_pads_with_air_and_clamps_metal():
    scan = Volume(np.full((10, 10, 10), 30000, np.float32), Grid.centred((0, 0, 0), (10, 10, 10), 4.0))
    hu = prepare(scan, Grid.centred((0, 0, 0), (16, 16, 16), 4.0))
    assert (hu[:2] == -1000).all() and (hu[5:11, 5:11, 5:11] == 2000).all()
    assert network_input(hu).min() == -2


def test_shape_fits_the_body(stored):
    template = paint(trunk, stored("straight"))  # body of 120 x 84 x 100 mm, and 20 mm of air: 160 x 124 x 140 mm
    shape = fit_shape(template, PreparationOptions(spacing_mm=4.0))
    assert all(n % 16 == 0 for n in shape)
    assert all(abs(n * 4 - mm) <= 40 for n, mm in zip(shape, (160, 124, 140), strict=True))
    assert fit_shape(template, PreparationOptions(shape=(32, 48, 64))) == (32, 48, 64)
    with pytest.raises(UserError, match="larger voxels"):
        fit_shape(template, PreparationOptions(spacing_mm=4.0, max_voxels=1000))


def test_body_drops_the_table_and_holds_the_lung():
    grid = Grid.centred(CENTRE, (40, 40, 32), 4.0)
    points = grid.points().numpy()
    body = np.linalg.norm((points - CENTRE) / (60, 42, 50), axis=-1) < 1
    hu = trunk(points)
    table = (np.abs(points - CENTRE - (0, -66, 0)) < (70, 7, 200)).all(-1)
    hu[table] = 100
    lung = hu < -700
    lung &= body
    found = body_mask(torch.from_numpy(hu).float()).numpy()
    assert not found[table].any() and found[lung].all() and lung.sum() > 100
    assert 2 * (found & body).sum() / (found.sum() + body.sum()) > 0.97


def test_not_a_ct():
    grid = Grid((10, 10, 10), np.diag([4.0, 4, 4, 1]))
    air = Volume(np.linspace(-1000, -900, 1000, dtype=np.float32).reshape(grid.shape), grid)
    with pytest.raises(UserError, match="soft tissue"):
        soft_tissue_centre(air)
    with pytest.raises(UserError, match="body"):
        body_mask(torch.from_numpy(air.data))
