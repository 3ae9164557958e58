"""Confidence and supervoxels: known where both scans are the same, low where they are not."""

import numpy as np
import pytest
import torch

from SlicRegLib.overlays import agreement, overlays
from SlicRegLib.prediction import describe
from SlicRegLib.registration import Registration, prepare_scan
from SlicRegLib.warping import DisplacementField, identity_field
from tiny import FRAME, phantom, tiny_bundle, tiny_study


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tiny_study(tmp_path_factory.getbasetemp() / "tiny"))


def test_a_scan_agrees_with_itself_and_less_when_shifted(bundle):
    scan = prepare_scan(phantom(0)[0], FRAME)
    found = describe(bundle.net, scan)
    still = identity_field(found.grid)
    shifted = DisplacementField(still.vectors + torch.tensor([0.0, 0, 60]).view(3, 1, 1, 1), found.grid)
    same, moved = (agreement(found, found, field, scan) for field in (still, shifted))
    inside = same.data > 0
    assert np.allclose(same.data[inside], 1, atol=1e-4)
    assert inside.sum() == scan.region[::2, ::2, ::2].sum()  # 0 outside the body
    assert moved.data[inside].mean() < same.data[inside].mean() - 1e-4


def test_overlays_lie_on_the_scans(bundle):
    template, target = phantom(0)[0], phantom(1)[0]
    result = Registration(template, target, identity_field(prepare_scan(template, FRAME).grid), {}, True)
    shown = overlays(bundle, result)
    assert 0 <= shown.confidence.data.min() and shown.confidence.data.max() <= 1
    for volume, scan in ((shown.template_supervoxels, template), (shown.target_supervoxels, target)):
        frame = prepare_scan(scan, FRAME)
        assert volume.grid.matches(frame.grid.strided(2)) and volume.data.dtype == np.uint8
        assert not volume.data[~frame.region[::2, ::2, ::2].numpy()].any()
