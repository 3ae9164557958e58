"""Frames with known answers: every conversion between voxel, world and normalised coordinates, and derived grids."""

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.grid import Grid, apply_affine, bounding_grid, translation, unravel

# i runs to the Left (flipped) by 2 mm, j to Superior by 3 mm, k to Anterior by 5 mm
TURNED = Grid((4, 6, 8), np.array([[-2, 0, 0, 10], [0, 0, 5, -20], [0, 3, 0, 30], [0, 0, 0, 1]]))
# a quarter of 3-4-5 rotation about S: exact numbers for an oblique grid
OBLIQUE = Grid((5, 5, 4), np.array([[3.0, -8, 0, 1], [4, 6, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]]))

KNOWN = [  # grid, voxel, world, normalised
    (TURNED, (0, 0, 0), (10, -20, 30), (-3 / 4, -5 / 6, -7 / 8)),
    (TURNED, (3, 5, 7), (4, 15, 45), (3 / 4, 5 / 6, 7 / 8)),
    (TURNED, (1.5, 2.5, 3.5), (7, -2.5, 37.5), (0, 0, 0)),
    (TURNED, (-0.5, -0.5, -0.5), (11, -22.5, 28.5), (-1, -1, -1)),
    (OBLIQUE, (1, 0, 0), (4, 6, 3), (-2 / 5, -4 / 5, -3 / 4)),
    (OBLIQUE, (0, 1, 1), (-7, 8, 5), (-4 / 5, -2 / 5, -1 / 4)),
    (OBLIQUE, (4.5, 4.5, 3.5), (-21.5, 47, 10), (1, 1, 1)),
]


@pytest.mark.parametrize("grid, voxel, world, normalised", KNOWN)
@pytest.mark.parametrize("kind", [np.array, lambda x: torch.tensor(x, dtype=torch.float64)], ids=["numpy", "torch"])
def test_every_pair_of_frames(grid, voxel, world, normalised, kind):
    v, w, n = (kind([float(x) for x in p]) for p in (voxel, world, normalised))
    pairs = [
        (grid.to_world(v), w),
        (grid.to_voxel(w), v),
        (grid.to_normalised(w), n),
        (apply_affine(grid.normalised_from_voxel, v), n),
        (apply_affine(np.linalg.inv(grid.normalised_from_voxel), n), v),
        (apply_affine(np.linalg.inv(grid.normalised_from_world), n), w),
    ]
    for found, known in pairs:
        assert type(found) is type(known) and found.dtype == known.dtype
        np.testing.assert_allclose(found, known, atol=1e-12)


VECTORS = [  # grid, voxels along i, j, k, world mm: the same wherever the grid's origin is
    (TURNED, (1, 0, 0), (-2, 0, 0)),
    (TURNED, (0, 1, -2), (0, -10, 3)),
    (TURNED, (0.5, 2, 1), (-1, 5, 6)),
    (OBLIQUE, (1, 0, 0), (3, 4, 0)),
    (OBLIQUE, (1, 1, 1), (-5, 10, 2)),
    (OBLIQUE, (-2, 0.5, 3), (-10, -5, 6)),
]


@pytest.mark.parametrize("grid, voxels, world", VECTORS)
@pytest.mark.parametrize("kind", [np.array, lambda x: torch.tensor(x, dtype=torch.float64)], ids=["numpy", "torch"])
def test_vectors_turn_without_the_origin(grid, voxels, world, kind):
    v, w = (kind([float(x) for x in p]) for p in (voxels, world))
    for found, known in ((grid.vectors_to_world(v), w), (grid.vectors_to_voxel(w), v)):
        assert type(found) is type(known) and found.dtype == known.dtype
        np.testing.assert_allclose(found, known, atol=1e-12)


def test_a_vector_is_the_difference_of_two_points(odd_grid):
    start, step = (np.random.default_rng(seed).normal(0, 5, (2, 4, 3)) for seed in (0, 1))
    difference = odd_grid.to_world(start + step) - odd_grid.to_world(start)
    np.testing.assert_allclose(odd_grid.vectors_to_world(step), difference, atol=1e-12)
    np.testing.assert_allclose(odd_grid.vectors_to_voxel(difference), step, atol=1e-12)


def test_spacing_centre_shear():
    np.testing.assert_allclose(OBLIQUE.spacing, (5, 10, 2))
    np.testing.assert_allclose(OBLIQUE.centre, (1 + 6 - 16, 2 + 8 + 12, 6))
    assert OBLIQUE.shear < 1e-12
    sheared = np.eye(4)
    sheared[0, 1] = 0.75  # axes (1, 0, 0) and (0.75, 1, 0): cosine 0.6
    assert Grid((2, 2, 2), sheared).shear == pytest.approx(0.6)


def test_voxels_and_points_follow_the_array(odd_grid):
    assert odd_grid.voxels()[3, 2, 1].tolist() == [3, 2, 1]
    np.testing.assert_allclose(odd_grid.points()[3, 2, 1], odd_grid.to_world(np.array([3, 2, 1])), atol=1e-4)


def test_centred():
    grid = Grid.centred((10, 20, 30), (4, 5, 2), (1, 2, 3))
    np.testing.assert_allclose(grid.centre, (10, 20, 30))
    np.testing.assert_allclose(grid.affine, [[1, 0, 0, 8.5], [0, 2, 0, 16], [0, 0, 3, 28.5], [0, 0, 0, 1]])


@pytest.mark.parametrize("step", [2, 3])
def test_strided_and_pooled_match_the_arrays_they_describe(odd_grid, step):
    points = odd_grid.points().double().movedim(-1, 0)[None]
    strided, pooled = odd_grid.strided(step), odd_grid.pooled(step)
    every = points[0, :, ::step, ::step, ::step].movedim(0, -1)
    means = torch.nn.functional.avg_pool3d(points, step)[0].movedim(0, -1)
    assert strided.shape == tuple(every.shape[:3]) and pooled.shape == tuple(means.shape[:3])
    np.testing.assert_allclose(strided.points(), every, atol=1e-4)
    np.testing.assert_allclose(pooled.points(), means, atol=1e-4)


def test_halved_is_undone_by_pooling(odd_grid):
    assert odd_grid.halved().shape == tuple(2 * n for n in odd_grid.shape)
    assert odd_grid.halved().pooled(2).matches(odd_grid, 1e-9)


def test_pooled_by_hand():
    pooled = TURNED.pooled(2)  # the first voxel lies at voxel (0.5, 0.5, 0.5)
    assert pooled.shape == (2, 3, 4)
    np.testing.assert_allclose(pooled.affine, [[-4, 0, 0, 9], [0, 0, 10, -17.5], [0, 6, 0, 31.5], [0, 0, 0, 1]])


def test_slab_is_a_part_and_ends_with_the_grid(odd_grid):
    part = odd_grid.slab(3, 7)
    assert part.shape == (4, *odd_grid.shape[1:])
    np.testing.assert_allclose(part.points(), odd_grid.points()[3:7], atol=1e-4)
    assert odd_grid.slab(odd_grid.shape[0] - 2, 10**6).shape[0] == 2


def test_corners_are_the_outer_faces():
    assert sorted(map(tuple, Grid.centred((0, 0, 0), (2, 4, 6), 1).corners())) == sorted(
        (x, y, z) for x in (-1, 1) for y in (-2, 2) for z in (-3, 3)
    )


def test_bounding_grid_by_hand():
    one = Grid((4, 4, 4), np.eye(4))  # faces from -0.5 to 3.5
    two = Grid.centred((10, 1.5, 1.5), (2, 4, 4), 1)  # faces along R from 9 to 11
    box = bounding_grid([one, two], 2.0, margin_mm=1)  # centres span R -1.5..12, A and S -1.5..4.5
    assert box.shape == (8, 4, 4)  # 13.5 mm in steps of 2: 7 steps, 8 points; 6 mm: 3 steps
    np.testing.assert_allclose(box.affine[:3, :3], 2 * np.eye(3))
    np.testing.assert_allclose(box.centre, (5.25, 1.5, 1.5))


def test_bounding_grid_without_a_margin_and_of_a_small_grid():
    one = Grid((4, 4, 4), np.eye(4))  # faces from -0.5 to 3.5
    box = bounding_grid([one], 2.0)
    assert box.shape == (3, 3, 3)  # 4 mm: 2 steps
    np.testing.assert_allclose(box.affine, [[2, 0, 0, -0.5], [0, 2, 0, -0.5], [0, 0, 2, -0.5], [0, 0, 0, 1]])
    assert bounding_grid([one], 50.0).shape == (2, 2, 2)  # both faces


def test_bounding_grid_covers(odd_grid):
    box = bounding_grid([odd_grid], 3.0)
    voxels = box.to_voxel(odd_grid.corners())
    assert voxels.min() > -1e-6 and (voxels <= np.array(box.shape) - 1 + 1e-6).all()


def test_matches():
    moved = OBLIQUE.affine.copy()
    moved[0, 3] += 0.005
    assert OBLIQUE.matches(Grid(OBLIQUE.shape, moved))
    moved[0, 3] += 0.5
    assert not OBLIQUE.matches(Grid(OBLIQUE.shape, moved))
    assert not OBLIQUE.matches(Grid((5, 5, 5), OBLIQUE.affine))


@pytest.mark.parametrize(
    "shape, affine",
    [((2, 2), np.eye(4)), ((0, 2, 2), np.eye(4)), ((2, 2, 2), np.eye(3)), ((2, 2, 2), np.diag([1, 1, 0, 1]))],
)
def test_impossible_grids(shape, affine):
    with pytest.raises(ValueError):
        Grid(shape, affine)


def test_the_smallest_grid_and_tiny_voxels_are_possible():
    assert Grid((1, 1, 1), np.diag([0.01, 0.01, 0.01, 1])).spacing.tolist() == [0.01] * 3


def test_translation_moves_points_and_not_vectors():
    np.testing.assert_array_equal(apply_affine(translation([1, 2, 3]), np.array([[10.0, 20, 30]])), [[11, 22, 33]])
    np.testing.assert_array_equal(translation([1, 2, 3])[:, :3], np.eye(4)[:, :3])


def test_unravel_is_numpys():
    found = unravel(torch.arange(60), (3, 4, 5))
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.T, np.unravel_index(np.arange(60), (3, 4, 5)))


def test_a_grid_owns_its_affine():
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 3] = 7
    assert grid.affine[0, 3] == 0
    shape = Grid(np.array([2, 3, 4]), affine).shape
    assert shape == (2, 3, 4) and type(shape) is tuple and {type(n) for n in shape} == {int}
    with pytest.raises(ValueError):
        grid.affine[0, 3] = 7
