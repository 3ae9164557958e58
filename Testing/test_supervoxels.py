"""Supervoxels: merging with known results, and exactly 128 classes on every try."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid, apply_affine
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import body_mask, canonical_grid, fit_shape, prepare
from SlicRegLib.images.volumes import Volume, load_scan
from SlicRegLib.phantoms.phantom import PhantomOptions, make_phantom
from SlicRegLib.teaching.options import SupervoxelOptions
from SlicRegLib.teaching.supervoxels import CLASSES, cut, cut_layer, make_random_affine, merge_regions, split_regions


def row(*runs):
    """A line of voxels: row((1, 3), (0, 2)) is three of region 1, then two of background."""
    return np.repeat([r for r, _ in runs], [n for _, n in runs]).astype(np.int32)[:, None, None]


MERGES = {  # regions, count, result
    "nothing to do": (row((1, 2), (2, 1)), 2, row((1, 2), (2, 1))),
    "smallest into its neighbour": (row((1, 3), (2, 1), (0, 1), (3, 2)), 2, row((1, 4), (0, 1), (2, 2))),
    "into the smaller neighbour": (row((1, 3), (2, 1), (3, 2)), 2, row((1, 3), (2, 3))),
    "chain": (row((1, 1), (2, 2), (3, 4), (4, 8)), 2, row((1, 7), (2, 8))),
    "chain to one": (row((4, 1), (3, 2), (2, 4), (1, 8)), 1, row((1, 15))),
    "tie of regions: the lower number goes": (
        row((3, 2), (1, 2), (0, 1), (2, 2), (4, 3)),
        3,
        row((2, 4), (0, 1), (1, 2), (3, 3)),
    ),
    "tie of neighbours: the lower number takes": (row((3, 2), (1, 1), (2, 2)), 2, row((2, 2), (1, 3))),
    "merged regions inherit neighbours": (row((1, 1), (2, 1), (3, 1), (4, 9)), 1, row((1, 12))),
    "isolated becomes background": (row((1, 1), (0, 2), (2, 3), (3, 4)), 2, row((0, 3), (1, 3), (2, 4))),
    "background is no neighbour": (row((1, 3), (0, 1), (2, 1), (0, 1), (3, 3)), 2, row((1, 3), (0, 3), (2, 3))),
}


@pytest.mark.parametrize("name", MERGES)
def test_merge(name):
    regions, count, known = MERGES[name]
    np.testing.assert_array_equal(merge_regions(regions, count).ravel(), known.ravel())


def test_merge_touches_by_faces_along_every_axis():
    for axis in range(3):
        regions, known = (np.moveaxis(x, 0, axis) for x in (row((1, 1), (2, 3)), row((1, 4))))
        np.testing.assert_array_equal(merge_regions(regions, 1), known)
    diagonal = np.zeros((2, 2, 1), np.int32)
    diagonal[0, 0], diagonal[1, 1] = 1, 2
    np.testing.assert_array_equal(merge_regions(diagonal, 1)[..., 0], [[0, 0], [0, 1]])


def test_merge_needs_enough_regions():
    with pytest.raises(ValueError, match=r"2 regions"):
        merge_regions(row((1, 2), (2, 1)), 3)


def test_connected_regions_splits_what_does_not_touch():
    found = split_regions(row((5, 2), (0, 1), (5, 1), (2, 1), (0, 1), (2, 2)))
    parts = found.ravel().tolist()
    assert sorted(set(parts)) == [0, 1, 2, 3, 4] and [p == 0 for p in parts] == [0, 0, 1, 0, 0, 1, 0, 0]
    assert parts[0] == parts[1] and parts[6] == parts[7] and len({parts[0], parts[3], parts[4], parts[6]}) == 4
    corner = np.zeros((2, 2, 2), np.int32)
    corner[0, 0, 0] = corner[1, 1, 1] = 3  # touch by a corner: one region
    np.testing.assert_array_equal(split_regions(corner), corner // 3)


@pytest.fixture(scope="module")
def template():
    """A coarse phantom in its canonical frame: (hu, grid)."""
    phantom = make_phantom(2, PhantomOptions(shape=(40, 36, 44), spacing_mm=9.0))
    scan = Volume(phantom.image, Grid(phantom.image.shape, phantom.affine))
    grid = canonical_grid(scan, (48, 32, 48), 8.0)
    return prepare(scan, grid), grid


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_layer_has_128_classes(template, seed):
    hu, grid = template
    layers = cut(hu, grid, SupervoxelOptions(layers=2, seed=seed))
    assert layers.shape == (2, *grid.shape) and layers.dtype == np.uint8
    assert all(len(np.unique(layer)) == CLASSES for layer in layers)
    assert not np.array_equal(*layers)
    assert (layers[:, body_mask(hu).numpy()] > 0).mean() > 0.95  # the rest the affine moved out of view
    sizes = [np.bincount(layer.ravel())[1:] for layer in layers]
    assert np.min(sizes) > 1 and np.max(sizes) < 20 * np.median(sizes)


def test_most_supervoxels_are_connected(template):
    layer = cut(*template, SupervoxelOptions(layers=1))[0]
    parts = [ndimage.label(layer == c, np.ones((3, 3, 3)))[1] for c in range(1, CLASSES)]
    assert max(parts) == 1


def test_the_seed_alone_decides(template):
    options = SupervoxelOptions(layers=2, seed=7)
    first = cut(*template, options)
    torch.manual_seed(1)
    np.random.seed(1)
    shares = []
    np.testing.assert_array_equal(cut(*template, options, shares.append), first)
    assert shares == [0.5, 1.0]


def test_too_small_a_template_says_so(template):
    _, grid = template
    hu = torch.full((8, 8, 8), -1000.0)
    hu[2:6, 2:6, 2:6] = 50
    with pytest.raises(UserError, match=r"smaller voxels"):
        cut(hu, Grid(hu.shape, grid.affine), SupervoxelOptions(layers=1, margin_mm=1))


@pytest.fixture(scope="module")
def real(shared):
    """The real template as `prepare` brings it into its frame, with the distance to its body."""
    scan = load_scan(shared / "openkbp" / "template" / "img" / "pt_112.nii.gz")
    options = PreparationOptions()
    grid = canonical_grid(scan, fit_shape(scan, options), options.spacing_mm)
    hu = prepare(scan, grid)
    return (
        hu,
        torch.from_numpy(ndimage.distance_transform_edt(~body_mask(hu).numpy(), sampling=grid.spacing)).float(),
        grid,
    )


@pytest.mark.parametrize(
    "seeds", [range(3), pytest.param(range(50), marks=pytest.mark.slow)], ids=["3 seeds", "50 seeds"]
)
def test_real_template_reaches_128_with_every_seed(real, seeds):
    classes = [len(np.unique(cut_layer(*real, SupervoxelOptions(), seed))) for seed in seeds]
    assert classes == [CLASSES] * len(seeds)


def test_random_affine_is_meant_in_normalised_coordinates():
    # i runs to the Left by 2 mm, j to Superior by 3 mm, k to Anterior by 5 mm
    left_handed = Grid((4, 6, 8), np.array([[-2, 0, 0, 10], [0, 0, 5, -20], [0, 3, 0, 30], [0, 0, 0, 1]]))
    # a 3-4-5 rotation about S: exact numbers for an oblique grid
    oblique = Grid((5, 5, 4), np.array([[3.0, -8, 0, 1], [4, 6, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]]))
    shift = np.zeros((3, 4))
    shift[:, 3] = 0.5, -0.25, 1  # halves of the grid: 2 voxels of i back (to the Left), ...
    np.testing.assert_allclose(
        make_random_affine(left_handed, shift)[:3, 3], (0.5 * -4 * 2 / 2, 1 * 8 * 5 / 2, -0.25 * 6 * 3 / 2)
    )
    grow = np.zeros((3, 4))
    grow[0, 0] = 0.1  # 10 % along i, about the grid's centre
    moved = apply_affine(make_random_affine(oblique, grow), oblique.to_world(np.array([4.0, 1, 2])))
    np.testing.assert_allclose(oblique.to_voxel(moved), (2 + 1.1 * 2, 1, 2), atol=1e-12)
