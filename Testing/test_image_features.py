"""Image features: MIND-SSC as convexAdam's own, with known properties, and the box around the body."""

import pytest
import torch
import torch.nn.functional as F

from SlicRegLib.registration.image_features import CELL, describe_body, image_features, mind_ssc
from SlicRegLib.registration.options import RefinementOptions


@pytest.fixture(scope="module")
def texture():
    """A smooth random image (I, J, K) in HU."""
    noise = torch.randn(1, 1, 40, 36, 44, generator=torch.Generator().manual_seed(3))
    return 1000 * F.avg_pool3d(F.avg_pool3d(noise, 5, 1, 2), 3, 1, 1)[0, 0]


@pytest.mark.parametrize("radius, dilation", [(1, 1), (2, 2), (1, 2)])
def test_mind_is_that_of_convexadam(texture, radius, dilation):
    """Channel by channel away from the border, where both repeat edges in other ways, on a texture without flat parts,
    where neither limits the variance. Each of its 12 channels is one of ours, whatever their order."""
    utils = pytest.importorskip("convexAdam.convex_adam_utils")
    theirs = utils.MINDSSC(texture[None, None], radius, dilation, "cpu")[0].movedim(0, -1)
    inner = (slice(5, -5),) * 3
    ours, theirs = mind_ssc(texture, dilation, radius)[inner].flatten(0, 2), theirs[inner].flatten(0, 2)
    difference = (ours[:, :, None] - theirs[:, None, :]).abs().amax(0)  # (ours, theirs)
    partner = difference.argmin(1)
    assert sorted(partner.tolist()) == list(range(12))
    assert difference.amin(1).max() < 1e-4  # of values from 0 to 1
    different = difference.scatter(1, partner[:, None], 1.0)
    assert different.min() > 0.1  # no other channel would do


def test_mind_describes_structure_not_intensity(texture):
    mind = mind_ssc(texture)
    assert mind.shape == (*texture.shape, 12)
    assert mind.min() >= 0 and mind.amax(-1).sub(1).abs().max() < 1e-6  # the most similar pair is 1 everywhere
    assert torch.allclose(mind_ssc(-3 * texture + 500), mind, atol=1e-3)


def test_mind_tells_directions_apart():
    """Across a plane normal to i, the pairs with both neighbours on j and k agree and those with one on i do not."""
    step = torch.zeros(20, 20, 20)
    step[10:] = 100.0
    at_edge = mind_ssc(step)[10, 10, 10]
    assert (at_edge > 0.99).sum() < 12 and at_edge.min() < 0.5
    assert torch.equal(mind_ssc(step)[2, 10, 10], torch.ones(12))  # flat: all alike


def test_the_body_has_the_features_of_the_scan(texture):
    """Computed in a box of whole cells around the body, they are those of the whole scan there."""
    hu = torch.full((60, 60, 60), -1000.0)
    hu[20:44, 16:40, 24:48] = texture[:24, :24, :24]
    found = describe_body(hu, hu > -900, RefinementOptions())
    assert (found.first % CELL == 0).all() and found.values.shape[:3] < hu.shape
    voxels = torch.tensor([[25, 20, 30], [30, 30, 30], [20, 16, 24], [43, 39, 47]])
    known = image_features(hu)[tuple(voxels.T)]
    torch.testing.assert_close(found.at(voxels), known, rtol=0, atol=1e-2)
    average = found.average
    assert torch.equal(average.first * CELL, found.first)
    torch.testing.assert_close(average.values[3, 4, 5], found.values[6:8, 8:10, 10:12].mean((0, 1, 2)))
