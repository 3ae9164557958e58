"""The refinement: a known warp recovered from images, in one frame and between frames."""

import pytest
import torch
import torch.nn.functional as F

from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.geometry.folding import jacobian_determinant
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.registration.options import RefinementOptions
from SlicRegLib.registration.refinement import ComparedScan, _roughness_gradient, refine

GRID = Grid.centred((10, -20, 5), (40, 36, 44), 4.0)


@pytest.fixture(scope="module")
def texture():
    """A smooth random image (I, J, K) in HU on GRID."""
    noise = torch.randn(1, 1, *GRID.shape, generator=torch.Generator().manual_seed(3))
    return 1000 * F.avg_pool3d(F.avg_pool3d(noise, 5, 1, 2), 3, 1, 1)[0, 0]


def compared(*scans_and_options) -> list[ComparedScan]:
    """Scans (HU, grid) that are compared everywhere."""
    *scans, options = scans_and_options
    everywhere = torch.ones(GRID.shape, dtype=torch.bool)
    return [
        ComparedScan.describe(PreparedScan("", hu, grid, known_region=everywhere), options, torch.device("cpu"))
        for hu, grid in scans
    ]


def test_refinement_recovers_a_known_warp(texture, smooth_field):
    known = smooth_field(GRID, 8.0, 1, wavelength_mm=160.0)
    warped = resample(texture[None], GRID, GRID, known)[0]  # warped(p) = texture(p + known(p))
    found = refine(
        [identity_field(GRID)],
        *compared(
            (warped, GRID), (texture, GRID), options := RefinementOptions(coarse_iterations=60, regularisation=0.1)
        ),
        options,
    )
    inner = tuple(slice(4, -4) for _ in range(3))
    error = (found.on(GRID).vectors - known.vectors).norm(dim=0)[inner]
    assert error.mean() < 0.35 * known.vectors.norm(dim=0)[inner].mean()
    assert error.mean() < 2.0  # mm, half a voxel
    assert (jacobian_determinant(found) > 0).all()


def test_refinement_follows_frames_that_differ(texture):
    """The same image 100 mm away: the right field is that shift, and refining it must not move it."""
    there = Grid.centred(GRID.centre + [100, 0, -30], GRID.shape, 4.0)
    shift = torch.tensor([100.0, 0, -30]).reshape(3, 1, 1, 1).expand(3, *GRID.shape)
    found = refine(
        [DisplacementField(shift.contiguous(), GRID)],
        *compared((texture, GRID), (texture, there), options := RefinementOptions(coarse_iterations=20)),
        options,
    )
    assert (found.vectors - shift[:, :1, :1, :1]).abs().max() < 0.5


def test_a_start_that_agrees_better_with_the_images_is_tried_as_well(texture, smooth_field):
    """The first start is far from the known warp: alone it stays far; beside a near one, that one's result counts."""
    known = smooth_field(GRID, 8.0, 1, wavelength_mm=160.0)
    warped = resample(texture[None], GRID, GRID, known)[0]
    astray = DisplacementField(torch.full((3, *GRID.shape), 40.0), GRID)
    options = RefinementOptions(coarse_iterations=40, fine_iterations=8, regularisation=0.1)
    scans = compared((warped, GRID), (texture, GRID), options)
    shares = []
    lost, found, near, first = (
        refine(starts, *scans, options, lambda stage, share, message: shares.append(share)).vectors
        for starts in ([astray], [astray, identity_field(GRID)], [identity_field(GRID)], [identity_field(GRID), astray])
    )
    assert torch.equal(found, near) and torch.equal(first, near) and not torch.equal(lost, near)
    assert max(shares) <= 1


def test_the_roughness_has_the_gradient_of_autograd():
    """weight / 3 times the squared differences between neighbours along each axis."""
    spline = torch.randn(3, 5, 6, 7, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    roughness = 1.5 / 3 * sum(spline.diff(dim=axis).square().sum() for axis in (1, 2, 3))
    (known,) = torch.autograd.grad(roughness, spline)
    torch.testing.assert_close(_roughness_gradient(spline.detach(), 1.5), known)
