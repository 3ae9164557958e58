"""Confidence from known distances, the place that the network expects, and where overlays lie."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import FRAME, phantom, tiny_bundle, tiny_study

from SlicRegLib.geometry.field import DisplacementField, identity_field
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.network.prediction import expected_positions
from SlicRegLib.registration.confidence import compute_overlays, confidence
from SlicRegLib.registration.result import Registration


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tiny_study(tmp_path_factory.getbasetemp() / "tiny"))


def test_confidence_is_what_the_distance_says():
    scan = prepare_scan(phantom(0)[0], FRAME)
    still = identity_field(scan.grid)
    points = still.grid.strided(2).points().movedim(-1, 0)
    places = torch.cat([points + torch.tensor([0.0, 10, 0]).view(3, 1, 1, 1), torch.ones_like(points[:1])])
    back = DisplacementField(still.vectors - torch.tensor([0.0, 10, 0]).view(3, 1, 1, 1), still.grid)
    inside = scan.region[::2, ::2, ::2].clone().numpy()
    inside[:, :2] = False  # the field leads out of the frame there
    for field, wanted in ((still, 0.5), (back, 1.0)):
        found = confidence(places, scan.grid.strided(2), field, scan)
        assert np.allclose(found.data[inside], wanted, atol=1e-4)
        assert not found.data[~scan.region[::2, ::2, ::2].numpy()].any()
    away = DisplacementField(still.vectors + 2000, still.grid)
    assert not confidence(places, scan.grid.strided(2), away, scan).data.any()  # led out of the frame
    places[3] = 0
    assert not confidence(places, scan.grid.strided(2), still, scan).data.any()  # led out of the other's body


def test_the_expected_place_is_the_centroid_of_what_is_seen(bundle):
    """A network that sees class 3 everywhere, in all layers."""
    scan = prepare_scan(phantom(0)[0], FRAME)
    net = copy.deepcopy(bundle.net)
    net.logits = lambda features: (
        50.0 * F.one_hot(torch.tensor(3), net.options.classes).float().expand(net.options.layers, len(features), -1)
    )
    centroids = torch.randn(net.options.layers, net.options.classes, 4, dtype=torch.double) + 5000
    centroids[0, 3] = 0  # not in the other scan: does not count
    places, grid = expected_positions(net, scan, centroids)
    seen = places[3] > 0
    assert grid.matches(scan.grid.strided(2)) and torch.equal(seen, scan.region[::2, ::2, ::2])
    torch.testing.assert_close(
        places[:3, seen], centroids[1:, 3, 1:].mean(0).float()[:, None].expand(3, int(seen.sum())), atol=1e-2, rtol=0
    )


def test_overlays_lie_on_the_scans(bundle):
    template, target = phantom(0)[0], phantom(1)[0]
    result = Registration(template, target, identity_field(prepare_scan(template, FRAME).grid), {}, True)
    shown = compute_overlays(bundle, result)
    assert shown.confidence.data.min() >= 0 and shown.confidence.data.max() <= 1
    for volume, scan in ((shown.template_supervoxels, template), (shown.target_supervoxels, target)):
        frame = prepare_scan(scan, FRAME)
        assert volume.grid.matches(frame.grid.strided(2)) and volume.data.dtype == np.uint8
        assert not volume.data[~frame.region[::2, ::2, ::2].numpy()].any()
