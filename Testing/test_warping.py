"""Sampling against ITK, fields with known Jacobians, tapering, and inverses that undo their field."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from SlicRegLib.geometry import resampling
from SlicRegLib.geometry.field import DisplacementField, identity_field, taper
from SlicRegLib.geometry.folding import jacobian_determinant, least_stretch, unfold
from SlicRegLib.geometry.grid import Grid, bounding_grid
from SlicRegLib.geometry.inverse import invert
from SlicRegLib.geometry.resampling import resample, resample_labels
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.transforms import itk_transform
from SlicRegLib.images.volumes import Volume, to_itk
from SlicRegLib.registration.result import INVERSE_SPACING_MM


def noise(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32))


def field_of(grid, function):
    """The field whose displacement at world point p (..., 3) is function(p)."""
    return DisplacementField(function(grid.points()).movedim(-1, 0).contiguous(), grid)


# --- sampling ---


@pytest.mark.parametrize("mode, interpolator", [("bilinear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)])
@pytest.mark.parametrize("warped", [False, True])
def test_resample_matches_itk(oblique, left_handed, smooth_field, mode, interpolator, warped):
    source, target = oblique(), left_handed((13, 11, 9), (1.7, 2.3, 1.1), (14.0, 22.0, 8.0))
    volume = noise(source.shape)
    field = smooth_field(target, 4.0, wavelength_mm=40) if warped else None
    ours = resample(volume, source, target, field, mode, fill=0.0)[0]
    reference = to_itk(Volume(np.zeros(target.shape, np.float32), target))
    transform = itk_transform(field) if warped else sitk.Transform(3, sitk.sitkIdentity)
    itk = sitk.Resample(to_itk(Volume(volume[0].numpy(), source)), reference, transform, interpolator, 0.0)
    itk = sitk.GetArrayFromImage(itk).transpose(2, 1, 0)
    # within half a voxel of the border ITK repeats the edge, and we fade to the fill value
    voxel = source.to_voxel(field(target.points()) if warped else target.points()).numpy()
    inside = ((voxel >= 0) & (voxel <= np.array(source.shape) - 1)).all(-1)
    if mode == "nearest":  # halves may be rounded either way
        inside &= (np.abs(voxel - np.floor(voxel) - 0.5) > 1e-3).all(-1)
    assert inside.sum() > 300
    np.testing.assert_allclose(ours.numpy()[inside], itk[inside], atol=2e-4)


def test_sample_outside_fills_or_repeats_the_edge():
    volume = torch.arange(8.0).reshape(1, 2, 2, 2) + 10
    grid = Grid((2, 2, 2), np.eye(4))
    points = torch.tensor([[0.0, 0, 0], [1, 0, 1], [0.5, 0.5, 0.5], [-5, -5, -5], [9, 9, 9], [-0.5, 0, 0]])
    np.testing.assert_allclose(sample(volume, grid, points)[0], (10, 15, 13.5, 10, 17, 10), atol=1e-5)
    np.testing.assert_allclose(sample(volume, grid, points, fill=-2.0)[0], (10, 15, 13.5, -2, -2, 10), atol=1e-5)


def test_resample_in_slabs_is_the_same(oblique, anisotropic, monkeypatch):
    source, target = oblique(), anisotropic(centre=oblique().centre)
    volume = noise(source.shape)
    whole = resample(volume, source, target, fill=0.0)
    monkeypatch.setattr("SlicRegLib.geometry.resampling._SLAB_VOXELS", 500)
    np.testing.assert_allclose(resample(volume, source, target, fill=0.0), whole, atol=1e-5)


@pytest.mark.parametrize("fill", [None, -7.0])
@pytest.mark.parametrize("axes, signs", [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((1, 0, 2), (-1, -1, 1))])
def test_parallel_grids_are_resampled_axis_by_axis_with_the_same_result(oblique, axes, signs, fill):
    source = oblique()
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for column, (axis, sign, factor) in enumerate(zip(axes, signs, (0.5, 1.7, 0.9))):
        turn[axis, column] = sign * factor
        turn[axis, 3] = source.shape[axis] + 1.13 if sign < 0 else -2.37  # no voxel just on the border
    target = Grid((25, 9, 17), source.affine @ turn)
    volume = noise(source.shape)
    wanted = sample(volume, source, target.points(), fill=fill)
    assert resampling._along_axes(source, target) is not None
    assert (resample(volume, source, target, fill=fill) - wanted).abs().max() < 1e-3
    assert resampling._along_axes(source, Grid(target.shape, target.affine @ SKEW)) is None


SKEW = np.array([[1, 0.01, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_labels_keep_their_values_and_places(oblique):
    grid = oblique()
    labels = np.random.default_rng(0).choice(np.array([0, 3, 900], np.uint16), grid.shape)
    same = resample_labels(labels, grid, grid)
    assert same.dtype == labels.dtype and np.array_equal(same, labels)
    step = grid.affine[:3, :3] @ [1.0, 0, 0]
    field = DisplacementField(
        torch.from_numpy(step.astype(np.float32))[:, None, None, None].expand(3, *grid.shape), grid
    )
    moved = resample_labels(labels, grid, grid, field)
    assert np.array_equal(moved[:-1], labels[1:]) and not moved[-1].any()


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


# --- fields ---


def test_field_at_and_on_agree_with_the_formula(oblique, left_handed):
    matrix = torch.tensor([[0.1, 0.2, 0], [-0.1, 0, 0.3], [0, 0.05, -0.2]])
    field = field_of(oblique((20, 20, 20)), lambda p: p @ matrix.T + 1)
    point = torch.tensor(oblique((20, 20, 20)).centre, dtype=torch.float32) + 0.7
    np.testing.assert_allclose(field(point), point + matrix @ point + 1, atol=1e-4)
    other = Grid.centred(field.grid.centre, (4, 5, 6), 1.5)
    np.testing.assert_allclose(field.on(other).vectors, field_of(other, lambda p: p @ matrix.T + 1).vectors, atol=1e-4)


def test_jacobian_of_a_linear_field_is_its_determinant(odd_grid):
    matrix = torch.tensor([[0.1, 0.2, 0], [-0.1, 0, 0.3], [0, 0.05, -0.2]])
    found = jacobian_determinant(field_of(odd_grid, lambda p: p @ matrix.T))
    assert tuple(found.shape) == tuple(n - 2 for n in odd_grid.shape)
    np.testing.assert_allclose(found, torch.linalg.det(torch.eye(3) + matrix), atol=1e-4)
    assert (jacobian_determinant(identity_field(odd_grid)) == 1).all()


def test_folding_of_a_wave(left_handed):
    """x + (2 / k) sin(k x) folds where cos(k x) < -1/2: a third of each period."""
    k, grid = 2 * np.pi / 60, left_handed((242, 4, 4), (1.0, 3.0, 2.0))  # 4 periods along R
    wave = field_of(grid, lambda p: torch.stack([2 / k * torch.sin(k * p[..., 0]), 0 * p[..., 1], 0 * p[..., 2]], -1))
    assert (jacobian_determinant(wave) <= 0).float().mean() == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("spacing", [4.0, 12.0])
def test_tapered_is_unchanged_on_the_scan_and_zero_at_its_border(odd_grid, smooth_field, spacing):
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


def test_tapered_also_cuts_and_takes_an_oblique_field(oblique):
    scan = Grid.centred(oblique((30, 30, 30)).centre, (6, 6, 6), 2.0)
    field = field_of(oblique((30, 30, 30), (4.0, 4.0, 4.0), origin=(-70.0, -40.0, -50.0)), lambda p: 0 * p + 3)
    result = taper(field, scan, 20.0)
    np.testing.assert_allclose(result.at(scan.points()), 3, atol=1e-4)
    border = torch.ones(result.grid.shape, dtype=torch.bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert result.vectors[:, border].abs().max() < 1e-5


# --- inverses ---


def bulge(centre, stretch, width):
    """u = (stretch - 1) r exp(-r^2 / 2 width^2) from ``centre``: stretches by ``stretch`` there, folds only above 3.24."""
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
    short = invert(field, inverse.grid, steps=3)  # more steps leave no point worse than fewer
    y = inverse.grid.points()
    assert ((field(inverse(y)) - y).norm(dim=-1) <= (field(short(y)) - y).norm(dim=-1) + 0.02).all()
    far = torch.tensor([[65.0, 60, -65], [-75, 70, 0]])  # beyond the fold the inverse is an inverse
    assert (field(inverse(far)) - far).norm(dim=-1).max() < 1


def test_inverse_of_scans_that_lie_metres_apart():
    field = field_of(Grid.centred((0, 0, 0), (24, 24, 24), 8.0), lambda p: 0 * p + torch.tensor([0.0, 0, 1500]))
    inverse = invert(field, Grid.centred((0, 0, 1500), (20, 20, 80), 12.0))
    assert (inverse.vectors - torch.tensor([0.0, 0, -1500]).reshape(3, 1, 1, 1)).abs().max() < 0.1


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


def test_unfolded_mends_folds_and_leaves_the_rest(oblique):
    grid = oblique((40, 30, 30), (4.0, 4.0, 4.0))
    points, centre = grid.points(), torch.tensor(grid.centre).float()
    bump = torch.exp(-(((points - centre).norm(dim=-1) / 14) ** 2))
    field = DisplacementField(torch.stack([40 * bump, 3 * torch.sin(points[..., 1] / 40), 0 * bump]), grid)
    assert least_stretch(field).min() < 0
    mended = unfold(field, 0.5)
    assert least_stretch(mended).min() >= 0.5
    far = (points - centre).norm(dim=-1) > 70
    assert torch.equal(mended.vectors[:, far], field.vectors[:, far])
    assert mended.vectors[0].max() > 8  # the bump is still there
    assert unfold(mended, 0.5).vectors.equal(mended.vectors)


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
