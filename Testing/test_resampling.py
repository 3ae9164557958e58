"""Images on other grids: as ITK resamples them, along axes and point by point alike."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.resampling import align_axes, average_along_axes, resample
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.transforms import itk_transform
from SlicRegLib.images.volumes import Volume, to_itk
from tiny import field_of, random, wave

SKEW = np.array([[1, 0.01, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("mode, interpolator", [("bilinear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)])
@pytest.mark.parametrize("warped", [False, True])
def test_resample_matches_itk(oblique, left_handed, smooth_field, mode, interpolator, warped):
    source, target = oblique(), left_handed((13, 11, 9), (1.7, 2.3, 1.1), (14.0, 22.0, 8.0))
    volume = random(1, *source.shape)
    field = smooth_field(target, 4.0, wavelength_mm=40) if warped else None
    ours = resample(volume, source, target, field, mode, fill=0.0)[0]
    reference = to_itk(Volume(np.zeros(target.shape, np.float32), target))
    transform = itk_transform(field) if warped else sitk.Transform(3, sitk.sitkIdentity)
    itk = sitk.Resample(to_itk(Volume(volume[0].numpy(), source)), reference, transform, interpolator, 0.0)
    itk = sitk.GetArrayFromImage(itk).transpose(2, 1, 0)
    # within half a voxel of the border ITK and grid_sample differ
    voxel = source.to_voxel(field(target.points()) if warped else target.points()).numpy()
    inside = ((voxel >= 0) & (voxel <= np.array(source.shape) - 1)).all(-1)
    if mode == "nearest":  # halves may be rounded either way
        inside &= (np.abs(voxel - np.floor(voxel) - 0.5) > 1e-3).all(-1)
    assert inside.sum() > 300
    np.testing.assert_allclose(ours.numpy()[inside], itk[inside], atol=2e-4)


def test_resample_in_slabs_is_the_same(oblique, anisotropic, monkeypatch):
    source, target = oblique(), anisotropic(centre=oblique().centre)
    volume = random(1, *source.shape)
    whole = resample(volume, source, target, fill=0.0)
    for voxels in (500, 100):  # two slices of 180 voxels, and less than one
        monkeypatch.setattr("SlicRegLib.geometry.resampling._SLAB_VOXELS", voxels)
        np.testing.assert_allclose(resample(volume, source, target, fill=0.0), whole, atol=1e-5)


def test_a_field_and_the_nearest_voxel_also_count_on_parallel_grids(oblique):
    grid = oblique()
    volume, step = random(1, *grid.shape), grid.vectors_to_world(torch.tensor([2.0, -1, 0]))
    moved = resample(volume, grid, grid, field_of(grid, lambda points: step.expand_as(points)))
    np.testing.assert_allclose(moved[:, :-2, 1:], volume[:, 2:, :-1], atol=1e-4)
    finer = resample(volume, grid, Grid((40, 30, 25), grid.affine @ np.diag([0.3, 0.3, 0.3, 1])), mode="nearest")
    assert np.isin(finer, volume).all() and len(finer.unique()) > 500


@pytest.mark.parametrize("axes, signs", [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((1, 0, 2), (-1, -1, 1))])
@pytest.mark.parametrize(
    "shape, parallel, voxels", [((9, 8, 7), True, 2_000_000), ((9, 1, 7), True, 1000), ((9, 8, 7), False, 1000)]
)
def test_a_field_on_any_lattice_moves_the_same_points(oblique, axes, signs, shape, parallel, voxels, monkeypatch):
    """Values of a thousand HU differ by less than half a one, and the same voxels lie outside, in one slab or several;
    the lattice ends inside the target."""
    monkeypatch.setattr("SlicRegLib.geometry.resampling._SLAB_VOXELS", voxels)
    source = oblique((24, 20, 18))
    lattice = Grid.centred(source.centre, shape, (6.0, 5.0, 7.0))
    if not parallel:
        lattice = Grid(shape, lattice.affine @ SKEW)
    target = np.zeros((4, 4))
    target[axes, range(3)], target[3, 3] = np.array(signs) * (1.3, 2.1, 1.7), 1
    target[:3, 3] = source.centre - target[:3, :3] @ (19.5, 14.5, 16.5)
    target = Grid((40, 30, 34), target)
    assert (align_axes(lattice, target) is not None) == parallel
    field = field_of(lattice, lambda points: wave(points, 9.0, 50.0))
    volume = 300 * random(1, *source.shape)
    found, points = resample(volume, source, target, field, fill=-1000.0)[0], field(target.points())
    voxel = source.to_voxel(points)
    size = torch.tensor(source.shape)
    border = torch.minimum((voxel + 0.5).abs(), (voxel - size + 0.5).abs()).amin(-1) < 1e-3
    wanted = sample(volume, source, points, fill=-1000.0)[0]
    assert (found - wanted)[~border].abs().max() < 0.5
    assert 0.05 < (wanted == -1000).float().mean() < 0.9 and border.float().mean() < 0.01


@pytest.mark.parametrize("fill", [None, -7.0])
@pytest.mark.parametrize("axes, signs", [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((1, 0, 2), (-1, -1, 1))])
def test_parallel_grids_are_resampled_axis_by_axis_with_the_same_result(oblique, axes, signs, fill):
    source = oblique()
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for column, (axis, sign, factor) in enumerate(zip(axes, signs, (0.5, 1.7, 0.9), strict=True)):
        turn[axis, column] = sign * factor
        turn[axis, 3] = source.shape[axis] + 1.13 if sign < 0 else -2.37  # no voxel just on the border
    target = Grid((25, 9, 17), source.affine @ turn)
    volume = random(1, *source.shape)
    wanted = sample(volume, source, target.points(), fill=fill)
    assert align_axes(source, target) is not None
    assert (resample(volume, source, target, fill=fill) - wanted).abs().max() < 1e-3
    assert align_axes(source, Grid(target.shape, target.affine @ SKEW)) is None


@pytest.mark.parametrize("axes, signs", [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((1, 0, 2), (-1, -1, 1))])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_averages_are_those_of_the_resampled_volume(oblique, axes, signs, step):
    """Of targets that reach beyond the source, whichever axis shrinks most; also of a source with a single layer."""
    for shape, factors in (
        ((14, 12, 10), (0.5, 1.7, 0.9)),
        ((14, 12, 10), (1.1, 0.4, 0.7)),
        ((14, 1, 10), (0.9, 0.3, 2)),
    ):
        source, turn = oblique(shape), np.zeros((4, 4))
        turn[3, 3] = 1
        for column, (axis, sign, factor) in enumerate(zip(axes, signs, factors, strict=True)):
            turn[axis, column] = sign * factor
            turn[axis, 3] = source.shape[axis] + 1.13 if sign < 0 else -2.37
        target = Grid((30, 12, 18), source.affine @ turn)
        volume = random(1, *source.shape)
        wanted = torch.nn.functional.avg_pool3d(resample(volume, source, target, fill=-7.0)[None], step)[0, 0]
        found = average_along_axes(volume[0], align_axes(source, target), step, -7.0)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert (wanted == -7).any() and (wanted != -7).any()


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("shape", [(25, 9, 17), (9, 2, 3)])
def test_the_direction_in_which_a_scan_is_stored_changes_no_bit(oblique, axes, shape):
    source = oblique()
    target = Grid(shape, source.affine @ np.diag([0.37, 0.81, 1.3, 1]) + np.array([[0, 0, 0, 1.7]] * 3 + [[0] * 4]))
    flip = np.eye(4)
    for axis in axes:
        flip[axis, axis], flip[axis, 3] = -1, source.shape[axis] - 1
    volume = random(1, *source.shape)
    stored = volume.flip([1 + axis for axis in axes])
    assert torch.equal(
        resample(stored, Grid(source.shape, source.affine @ flip), target), resample(volume, source, target)
    )


def test_a_single_slice_is_repeated_and_ends_on_its_outer_faces():
    """What lies just on the outer face of a voxel, half a voxel from its centre, is still inside: as in `sample`."""
    grid, volume = Grid((2, 3, 1), np.eye(4)), torch.arange(6.0).reshape(1, 2, 3, 1)
    target = Grid(
        (5, 3, 4), np.diag([0.75, 1, 0.5, 1]) + np.array([[0, 0, 0, -0.75], [0] * 4, [0, 0, 0, -0.5], [0] * 4])
    )
    # along i at -0.75, 0, 0.75, 1.5, 2.25; along k at -0.5, 0, 0.5, 1
    along_i = [-1, 0, 2.25, 3, -1]
    known = [[[-1 if v < 0 or k == 3 else v + j for k in range(4)] for j in range(3)] for v in along_i]
    assert resample(volume, grid, target, fill=-1.0)[0].tolist() == known
    assert sample(volume, grid, target.points(), fill=-1.0)[0].tolist() == known
