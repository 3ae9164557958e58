"""Label maps on other grids: each label's place and volume, and the same voxels as if every voxel were looked at."""

import numpy as np
import pytest
import torch

from SlicRegLib.geometry import label_maps
from SlicRegLib.geometry.field import DisplacementField, taper
from SlicRegLib.geometry.grid import Grid, bounding_grid
from SlicRegLib.geometry.label_maps import find_boxes, resample_labels
from SlicRegLib.geometry.sampling import sample
from tiny import field_of, random, wave


def resample_everywhere(labels: np.ndarray, grid: Grid, target: Grid, field: DisplacementField | None) -> np.ndarray:
    """The share of every label at every voxel, and the label with the largest one."""
    points = target.points()
    points = field(points) if field else points
    voxel = grid.to_voxel(points)
    inside = ((voxel > -0.5) & (voxel < torch.tensor(grid.shape) - 0.5)).all(-1)
    values = [0, *np.unique(labels[labels != 0])]
    shares = []
    for value in values[1:]:
        one = labels == value
        box = [(max(0, w.min() - 1), w.max() + 2) for w in np.nonzero(one)]
        part = one[tuple(slice(*ends) for ends in box)]
        affine = grid.affine.copy()
        affine[:3, 3] = grid.to_world(np.array([float(start) for start, _ in box]))
        low, high = (torch.tensor([float(e) for e in ends]) for ends in zip(*box, strict=True))
        near = inside & (voxel > low - 1).all(-1) & (voxel < torch.minimum(high, torch.tensor(one.shape))).all(-1)
        share = sample(torch.from_numpy(part.astype(np.float32))[None], Grid(part.shape, affine), points)[0]
        shares.append(torch.where(near, share, 0))
    background = torch.ones(target.shape)
    for share in shares:
        background -= share
    best, number = torch.stack([torch.zeros(target.shape), *shares]).max(0)
    number[best <= background + 1e-6] = 0
    return np.array(values).astype(labels.dtype)[number.numpy()]


def blobs(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Smooth shapes of the labels 2, 3, 9 and 200 in about a quarter of the voxels, some of them at the edge."""
    noise = np.stack([random(*shape, seed=9 * seed + n).cumsum(0).cumsum(1).numpy() for n in range(4)])
    best = noise.argmax(0)
    return np.where(noise.max(0) > np.quantile(noise.max(0), 0.75), np.array([2, 3, 9, 200], np.uint8)[best], 0)


def tapered(scan: Grid, shift: tuple[float, float, float], amplitude_mm: float, spacing_mm: float) -> DisplacementField:
    """A wave and a shift, as a file holds them: on a lattice of its own, zero at its border."""
    shift = torch.tensor(shift)
    lattice = bounding_grid([scan], spacing_mm, 10.0)
    return taper(field_of(lattice, lambda points: wave(points, amplitude_mm, 60.0) + shift), scan, 20.0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (12.0, -25.0, 7.0), (300.0, 0.0, 0.0)])
def test_no_voxel_that_a_label_reaches_is_left_out(oblique, left_handed, seed, shift):
    """With and without a field that moves far or away, on grids of any direction."""
    source, target = oblique((22, 20, 18)), left_handed((40, 33, 25), (1.1, 1.9, 2.3), (35.0, -10.0, 5.0))
    if seed % 2:
        source, target = target, source
    labels = blobs(source.shape, seed)
    for field in (None, tapered(target, shift, 8.0, 5.0), field_of(oblique(), lambda p: wave(p) + torch.tensor(shift))):
        found = resample_labels(labels, source, target, field)
        np.testing.assert_array_equal(found, resample_everywhere(labels, source, target, field))
        assert shift[0] == 300 or len(np.unique(found)) > 3


@pytest.mark.parametrize("seed", range(6))
def test_small_labels_are_found_wherever_the_field_takes_them(oblique, anisotropic, monkeypatch, seed):
    """Also on a coarse target and through a field that leaps from node to node; few points are looked at for that."""
    looked_at, find_winner = [], label_maps._find_winner
    monkeypatch.setattr(
        label_maps,
        "_find_winner",
        lambda parts, grid, points, shared: looked_at.append(len(points)) or find_winner(parts, grid, points, shared),
    )
    source = oblique((44, 40, 36), degrees=((20.0, -10.0, 5.0), (0.0, 0.0, 0.0), (35.0, 40.0, -30.0))[seed % 3])
    target = anisotropic((22, 25, 20), ((6.0, 5.0, 7.0), (3.0, 5.0, 2.0))[seed % 2], source.centre)
    labels = np.zeros(source.shape, np.uint8)
    for value, start in enumerate(np.random.default_rng(seed).integers(5, 28, (3, 3)), 1):
        i, j, k = (slice(first, first + 3) for first in start)
        labels[i, j, k] = value
    lattice = Grid.centred(source.centre, (10, 9, 11), 18.0)
    for leap_mm, shift_mm, stretch, share in ((0, 0, 0, 0.1), (5, 12, 0, 0.3), (1, -25, 0, 0.1), (1, 5, -0.4, 0.3)):
        looked_at.clear()
        field = field_of(lattice, lambda p, s=stretch, t=shift_mm: s * (p - torch.tensor(source.centre)).float() + t)
        field.vectors.add_(leap_mm * random(3, *lattice.shape, seed=seed))
        found = resample_labels(labels, source, target, field)
        np.testing.assert_array_equal(found, resample_everywhere(labels, source, target, field))
        assert found.any() or shift_mm
        assert sum(looked_at) < share * found.size * (3 if seed % 3 == 2 else 1)  # boxes of turned grids are wider


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize(
    "first, node, mm, place", [(19.0, 0, 160.0, 27), (5.0, 0, 60.0, 50), (21, 3, -160, 33), (35, 3, -60, 10)]
)
def test_one_layer_of_nodes_brings_a_label_from_elsewhere(axis, first, node, mm, place):
    """Nodes every 20 mm, of which one layer moves points; the target, with a layer every 2 mm, begins or ends in a cell
    beside it. The label, one millimetre wide, is met by points that this layer moves, and perhaps by others."""
    source = Grid((62, 62, 62), np.eye(4))
    labels = np.zeros(source.shape, np.uint8)
    where = [slice(28, 34)] * 3
    where[axis] = slice(place, place + 1)
    labels[tuple(where)] = 5
    lattice = Grid((4, 4, 4), np.diag([20.0, 20, 20, 1]))
    field = DisplacementField(torch.zeros(3, *lattice.shape), lattice)
    field.vectors[axis].swapaxes(0, axis)[node] = mm
    affine, shape = np.diag([2.0, 2, 2, 1]), [10, 10, 10]
    affine[:3, 3], affine[axis, 3], shape[axis] = 22, first, 11
    target = Grid(tuple(shape), affine)
    found = resample_labels(labels, source, target, field)
    np.testing.assert_array_equal(found, resample_everywhere(labels, source, target, field))
    assert found.any()


def test_labels_on_the_last_voxels_of_the_target():
    """And just beside it, where nothing is looked at."""
    grid = Grid((30, 30, 30), np.eye(4))
    labels = np.zeros(grid.shape, np.uint8)
    labels[12, 12, 12] = 1
    for start in np.ndindex(4, 4, 4):
        first = 12 - 3 * np.array(start)  # the label is on the first voxel, on the last, or beyond
        affine = np.eye(4)
        affine[:3, 3] = first
        known = np.zeros((7, 7, 7), np.uint8)
        if max(start) < 3:
            known[tuple(3 * np.array(start))] = 1
        target = Grid(known.shape, affine)
        np.testing.assert_array_equal(resample_labels(labels, grid, target), known)
        field = field_of(grid, lambda points: torch.zeros_like(points))
        np.testing.assert_array_equal(resample_labels(labels, grid, target, field), known)


def test_labels_in_slabs_are_the_same(oblique, anisotropic, monkeypatch):
    source, target = oblique(), anisotropic(centre=oblique().centre)
    labels = blobs(source.shape, 1)
    whole = resample_labels(labels, source, target)
    assert (np.bincount(whole.ravel())[[0, 2, 3, 9, 200]] > 10).all()
    for voxels in (500, 100):  # two slices of 180 voxels, and less than one
        monkeypatch.setattr("SlicRegLib.geometry.label_maps._SLAB_VOXELS", voxels)
        np.testing.assert_array_equal(resample_labels(labels, source, target), whole)


def test_the_box_around_each_label():
    labels = np.zeros((9, 8, 7), np.int16)
    labels[2:5, 1:3, 6], labels[8, 7, 0], labels[4, 4, 4] = 7, 900, 7
    assert find_boxes(labels) == {
        7: (slice(2, 5), slice(1, 5), slice(4, 7)),
        900: (slice(8, 9), slice(7, 8), slice(0, 1)),
    }
    assert find_boxes(0 * labels) == {}


def test_labels_keep_their_values_and_places(oblique):
    grid = oblique()
    labels = np.random.default_rng(0).choice(np.array([0, 3, 900], np.uint16), grid.shape)
    same = resample_labels(labels, grid, grid)
    assert same.dtype == labels.dtype and np.array_equal(same, labels)
    step = grid.vectors_to_world(torch.tensor([1.0, 0, 0]))
    field = field_of(grid, lambda points: step.expand_as(points))
    moved = resample_labels(labels, grid, grid, field)
    assert np.array_equal(moved[:-1], labels[1:]) and not moved[-1].any()


@pytest.mark.parametrize("axis", range(3))
def test_labels_end_half_way_to_the_next_voxel(axis):
    """Label 7 in the voxels 3 to 5 along an axis reaches from 2.5 to 5.5, on which background and label are equal and
    background wins; labels in the first and the last voxel reach to the outer faces of the grid, and no further."""
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:1], labels[3:6], labels[9:] = 5, 7, 9
    labels = np.moveaxis(labels, 0, axis)
    shape, affine = [3, 3, 3], np.eye(4)
    shape[axis], affine[axis, axis], affine[axis, 3] = 60, 0.25, -2
    affine[:3, 3][np.arange(3) != axis] = 4
    found = np.moveaxis(resample_labels(labels, Grid(labels.shape, np.eye(4)), Grid(shape, affine)), axis, 0)
    place = np.arange(60) / 4 - 2
    known = sum(n * ((place > a) & (place < b)) for n, a, b in ((5, -0.5, 0.5), (7, 2.5, 5.5), (9, 8.5, 9.5)))
    np.testing.assert_array_equal(found, np.broadcast_to(known[:, None, None], found.shape))


def test_labels_before_the_first_voxel_and_empty_label_maps():
    full = np.full((4, 4, 4), 3, np.uint8)
    grid = Grid(full.shape, np.eye(4))
    target = Grid((8, 8, 8), np.block([[np.eye(3), np.full((3, 1), -2.0)], [np.array([0, 0, 0, 1.0])]]))
    known = np.zeros((8, 8, 8), np.uint8)
    known[2:6, 2:6, 2:6] = 3
    np.testing.assert_array_equal(resample_labels(full, grid, target), known)
    assert not resample_labels(0 * full, grid, target).any()


def test_labels_take_the_largest_share():
    """A voxel of 40 % label 1, 35 % label 2 and 25 % background is label 1, though its nearest voxel is label 2."""
    labels = np.zeros((2, 2, 5), np.uint8)
    labels[:, :, 0], labels[0, :, 1], labels[1, :, 1] = 1, 2, 0
    grid = Grid(labels.shape, np.eye(4))
    target = Grid((1, 2, 1), np.array([[1, 0, 0, 5 / 12], [0, 1, 0, 0], [0, 0, 1, 0.6], [0, 0, 0, 1]]))
    assert (resample_labels(labels, grid, target) == 1).all()


def test_labels_keep_their_volume(oblique):
    centre, grid = np.array([1.0, 2, 3]), Grid.centred((1, 2, 3), (24, 24, 24), 2.0)
    ball = (np.linalg.norm(grid.points().numpy() - centre, axis=-1) < 16).astype(np.uint8)
    other = oblique((30, 30, 30), (1.3, 1.9, 1.6))
    other = Grid(
        other.shape,
        np.block(
            [[other.affine[:3, :3], (other.affine[:3, 3] + centre - other.centre)[:, None]], [np.array([0, 0, 0, 1.0])]]
        ),
    )
    volume = resample_labels(ball, grid, other).sum() * np.prod(other.spacing)
    assert volume == pytest.approx(4 / 3 * np.pi * 16**3, rel=0.03)


def test_volumes_and_what_reaches_the_border(anisotropic):
    labels = np.zeros((9, 8, 7), np.uint8)
    labels[2:4, 3:6, 1:5], labels[0, 2, 2], labels[8:, 7:, 3], labels[5, 5, 6] = 3, 9, 9, 200
    grid = anisotropic(shape=labels.shape, spacing=(2.0, 3.0, 2.5))
    found = label_maps.measure_volumes(labels, grid)
    assert found == {
        3: (pytest.approx(24 * 0.015), True),
        9: (pytest.approx(0.03), False),
        200: (pytest.approx(0.015), False),
    }
    assert label_maps.measure_volumes(np.zeros((3, 3, 3), np.uint8), grid) == {}
