"""Masks grown and shrunk, as scipy and pooling do it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from SlicRegLib.geometry.masks import dilate_box, dilate_cross, erode_box, erode_cross
from SlicRegLib.images.preparation import body_mask


@pytest.fixture(params=[(9, 12, 7), (1, 5, 3), (2, 2, 2), (1, 1, 1), (20, 21, 22)], ids=str)
def shape(request):
    return request.param


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 0.97])
def test_crosses_equal_those_of_scipy(shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    for times in (1, 2, 3):
        grown, shrunk = dilate_cross(torch.from_numpy(mask), times), erode_cross(torch.from_numpy(mask), times)
        assert np.array_equal(grown, ndimage.binary_dilation(mask, iterations=times))
        assert np.array_equal(shrunk, ndimage.binary_erosion(mask, iterations=times))


@pytest.mark.parametrize("radius", [0, 1, 2, 5])
def test_boxes_equal_pooling(shape, radius):
    values = torch.from_numpy(np.random.default_rng(1).random(shape, np.float32))
    mask, before = values < 0.1, values.clone()
    pooled = F.max_pool3d(mask[None].float(), 2 * radius + 1, 1, radius)[0] > 0
    assert torch.equal(dilate_box(mask, radius), pooled)
    assert torch.equal(erode_box(values), -F.max_pool3d(-values[None], 3, 1, 1)[0])
    assert torch.equal(values, before) and torch.equal(mask, before < 0.1)  # the input is not changed


def test_the_body_is_what_scipy_finds():
    noise = np.random.default_rng(2).normal(size=(40, 36, 30))
    hu = torch.from_numpy(1500 * ndimage.gaussian_filter(noise, 2) / 0.1 - 400)  # caves, islands, holes at the border
    opened = ndimage.binary_opening(hu.numpy() > -400)
    labels, _ = ndimage.label(opened)
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    closed = ndimage.binary_closing(np.pad(largest, 3), iterations=2)[3:-3, 3:-3, 3:-3]
    filled = np.stack([ndimage.binary_fill_holes(closed[:, :, k]) for k in range(30)], -1)
    assert np.array_equal(body_mask(hu), filled)
    assert (largest != opened).any() and (closed != largest).any() and (filled != closed).any()  # each step counts
