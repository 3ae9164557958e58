"""Confidence from known distances, the positions that the network expects, and where overlays lie."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from SlicRegLib.geometry.field import affine_field, identity_field
from SlicRegLib.geometry.grid import translation
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.network.options import PredictionOptions
from SlicRegLib.network.prediction import describe, encode, expected_positions, locate, predict_layers
from SlicRegLib.registration.common_supervoxels import CommonSupervoxels
from SlicRegLib.registration.confidence import compute_overlays, confidence
from SlicRegLib.registration.fixed_side import FixedSide
from SlicRegLib.registration.result import Registration, Views
from tiny import FRAME, phantom


def test_confidence_is_what_the_distance_says():
    """The network expects everything 10 mm further in Anterior; a field that goes there agrees with it fully."""
    scan = prepare_scan(phantom(0)[0], FRAME)
    still, output = identity_field(scan.grid), scan.grid.strided(2)
    points = output.points().movedim(-1, 0)
    positions = torch.cat([points + torch.tensor([0.0, 10, 0]).view(3, 1, 1, 1), torch.ones_like(points[:1])])
    back, away = (affine_field(translation((0, shift, 0)), scan.grid) for shift in (-10, 2000))
    body = scan.region[::2, ::2, ::2].numpy()
    in_frame = body.copy()
    in_frame[:, :2] = False  # the field leads out of the frame there
    for field, known in ((still, 0.5), (back, 1.0)):
        found = confidence(positions, output, field, scan).data
        assert np.allclose(found[in_frame], known, atol=1e-4)
        assert not found[~body].any()
    assert not confidence(positions, output, away, scan).data.any()  # out of the frame
    positions[3] = 0
    assert not confidence(positions, output, still, scan).data.any()  # out of the other scan's body


def test_the_expected_position_is_the_centroid_of_the_class(model):
    """A network that predicts class 3 everywhere, in all layers."""
    net = copy.deepcopy(model.net)
    layers, classes = net.options.layers, net.options.classes
    certain = 50.0 * F.one_hot(torch.tensor(3), classes).float()
    net.logits = lambda features, chosen=None: certain.expand(layers, len(features), -1)
    encoded = encode(net, prepare_scan(phantom(0)[0], FRAME))
    centroids = torch.randn(layers, classes, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0)) + 5000
    centroids[0, 3] = 0  # not in the other scan: does not count
    positions = expected_positions(net, encoded, centroids)
    body = positions[3] > 0
    assert positions.shape == (4, *encoded.grid.shape)
    assert torch.equal(body, encoded.scan.region[::2, ::2, ::2]) and not positions[:3, ~body].any()
    known = centroids[1:, 3, 1:].mean(0).float()
    torch.testing.assert_close(positions[:3, body], known[:, None].expand(3, int(body.sum())), atol=1e-2, rtol=0)


def test_overlays_lie_on_the_scans(model):
    template, target = phantom(0)[0], phantom(1)[0]
    fixed, moving = (prepare_scan(scan, FRAME) for scan in (template, target))
    predicted = FixedSide(replace(model, template_sha256=""), template).supervoxels()
    views = Views(fixed, encode(model.net, moving), predicted)
    common = CommonSupervoxels(*(locate(model.net, encode(model.net, scan)) for scan in (fixed, moving)))
    shown = compute_overlays(model, Registration(template, target, identity_field(fixed.grid), {}, True, views, common))
    assert shown.confidence.grid.matches(fixed.grid.strided(2))
    assert shown.confidence.data.min() >= 0 and 0 < shown.confidence.data.max() <= 1
    for volume, frame in ((shown.template_supervoxels, fixed), (shown.target_supervoxels, moving)):
        assert volume.grid.matches(frame.grid.strided(2)) and volume.data.dtype == np.uint8
        body = frame.region[::2, ::2, ::2].numpy()
        assert volume.data[body].any() and not volume.data[~body].any()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_overlays_in_the_precision_of_the_registration(model, precision, monkeypatch):
    """Also where "auto" would mean another one; with the supervoxels that the network sees in the template."""
    monkeypatch.setattr("SlicRegLib.network.devices._computes_bf16", lambda: precision == "fp32")
    options, scan = PredictionOptions(precision=precision), phantom(0)[0]
    fixed, moving = (encode(model.net, prepare_scan(s, FRAME), options) for s in (scan, phantom(1)[0]))
    common = CommonSupervoxels(*(locate(model.net, scan) for scan in (fixed, moving)))
    result = Registration(
        scan,
        scan,
        identity_field(fixed.grid),
        {},
        True,
        Views(fixed.scan, moving, FixedSide(model, scan).supervoxels()),
        common,
    )
    shown = compute_overlays(model, result)
    positions = expected_positions(model.net, moving, describe(model.net, fixed).centroids)
    expected = confidence(positions, moving.grid, result.dense, fixed.scan)
    assert np.array_equal(shown.confidence.data, expected.data) and expected.data.max() > 0
    assert np.array_equal(shown.target_supervoxels.data, predict_layers(model.net, moving)[0].numpy())


def test_without_a_network_there_are_no_overlays(model):
    scan = phantom(0)[0]
    with pytest.raises(ValueError, match="no network"):
        compute_overlays(model, Registration(scan, scan, identity_field(scan.grid), {}, True))
