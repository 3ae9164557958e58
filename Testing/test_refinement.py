"""The refinement: MIND-SSC descriptors with known properties, and a known warp recovered from images."""

import pytest
import torch
import torch.nn.functional as F

from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.geometry.folding import jacobian_determinant
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.registration.comparison import FeatureComparison
from SlicRegLib.registration.image_features import ImageFeatures, image_features, mind_ssc
from SlicRegLib.registration.options import RefinementOptions
from SlicRegLib.registration.refinement import refine

GRID = Grid.centred((10, -20, 5), (40, 36, 44), 4.0)


@pytest.fixture(scope="module")
def texture():
    """A smooth random image (I, J, K) in HU on GRID."""
    noise = torch.randn(1, 1, *GRID.shape, generator=torch.Generator().manual_seed(3))
    return 1000 * F.avg_pool3d(F.avg_pool3d(noise, 5, 1, 2), 3, 1, 1)[0, 0]


def test_mind_describes_structure_not_intensity(texture):
    mind = mind_ssc(texture)
    assert mind.shape == (*GRID.shape, 12)
    assert mind.min() >= 0 and mind.amax(-1).sub(1).abs().max() < 1e-6  # the most similar pair is 1 everywhere
    assert torch.allclose(mind_ssc(-3 * texture + 500), mind, atol=1e-3)


def test_mind_tells_directions_apart():
    """Across a plane normal to i, the pairs with both neighbours on j and k agree and those with one on i do not."""
    step = torch.zeros(20, 20, 20)
    step[10:] = 100.0
    at_edge = mind_ssc(step)[10, 10, 10]
    assert (at_edge > 0.99).sum() < 12 and at_edge.min() < 0.5
    assert torch.equal(mind_ssc(step)[2, 10, 10], torch.ones(12))  # flat: all alike


@pytest.mark.parametrize("corner", [None, (0, 0, 0), (1, 0, 1)], ids=["averaged", "first corner", "another corner"])
def test_the_gradient_is_the_slope_of_the_difference(texture, corner):
    """Also where displacements lead beyond the moving scan."""
    shape = tuple(n // 2 for n in GRID.shape)
    wanted, found = (
        ImageFeatures(image_features(hu).double(), torch.zeros(3, dtype=torch.long))
        for hu in (texture, texture.flip(0))
    )
    if corner is None:
        wanted, found = wanted.averaged(), found.averaged()
    comparison = FeatureComparison(wanted, found, torch.ones(GRID.shape, dtype=torch.bool), shape, corner)
    generator = torch.Generator().manual_seed(1)
    place, way = (torch.randn(3, *shape, generator=generator, dtype=torch.double) for _ in range(2))
    if comparison.between:
        comparison.between.matrices = [m.double() for m in comparison.between.matrices]
    _, gradient = comparison.gradient(2 * place)
    count, small = len(comparison.index), 1e-6
    slope = (
        (comparison.gradient(2 * place + small * way)[0] - comparison.gradient(2 * place - small * way)[0])
        * count
        / (2 * small)
    )
    assert slope.item() == pytest.approx((gradient * way).sum().item(), rel=1e-3)


def test_refinement_recovers_a_known_warp(texture, smooth_field):
    known = smooth_field(GRID, 8.0, 1, wavelength_mm=160.0)
    warped = resample(texture[None], GRID, GRID, known)[0]  # warped(p) = texture(p + known(p))
    region = torch.ones(GRID.shape, dtype=torch.bool)
    found = refine(
        [identity_field(GRID)],
        PreparedScan("", warped, GRID),
        PreparedScan("", texture, GRID),
        region,
        RefinementOptions(iterations=60, regularisation=0.1),
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
        PreparedScan("", texture, GRID),
        PreparedScan("", texture, there),
        torch.ones(GRID.shape, dtype=torch.bool),
        RefinementOptions(iterations=20),
    )
    assert (found.vectors - shift[:, :1, :1, :1]).abs().max() < 0.5


def test_a_start_that_agrees_better_with_the_images_is_tried_as_well(texture, smooth_field):
    """The first start is far from the known warp: alone it stays far; beside a near one the near one's result is returned."""
    known = smooth_field(GRID, 8.0, 1, wavelength_mm=160.0)
    scans = [PreparedScan("", hu, GRID) for hu in (resample(texture[None], GRID, GRID, known)[0], texture)]
    astray = DisplacementField(torch.full((3, *GRID.shape), 40.0), GRID)
    region, options = (
        torch.ones(GRID.shape, dtype=torch.bool),
        RefinementOptions(iterations=40, fine_iterations=8, regularisation=0.1),
    )
    shares = []
    lost, found, near, first = (
        refine(starts, *scans, region, options, lambda stage, share, message: shares.append(share)).vectors
        for starts in ([astray], [astray, identity_field(GRID)], [identity_field(GRID)], [identity_field(GRID), astray])
    )
    assert torch.equal(found, near) and torch.equal(first, near) and not torch.equal(lost, near)
    assert max(shares) <= 1
