"""Separable filters: means of boxes, adjoints, smoothing and interpolation along axes."""

import pytest
import torch
import torch.nn.functional as F

from SlicRegLib.geometry.filters import SeparableMap, b_spline_matrix, box_filter, linear_matrix
from tiny import random

CPU = torch.device("cpu")


@pytest.mark.parametrize("width", [1, 3, 5, 9])
@pytest.mark.parametrize("shape", [(9, 5, 7), (20, 4, 3)])
def test_the_box_filter_is_the_mean_of_the_box_within_the_image(width, shape):
    features = random(*shape, 6)
    half = width // 2
    sums, counts = (
        F.avg_pool3d(F.pad(x.movedim(-1, 0)[None], [half] * 6), width, 1) for x in (features, torch.ones_like(features))
    )
    wanted = (sums / counts)[0].movedim(0, -1)
    torch.testing.assert_close(box_filter(features.clone(), width), wanted, rtol=1e-4, atol=1e-5)


def test_the_adjoint_is_the_transposed_map():
    """<A x, y> = <x, A' y> for any x and y."""
    linear = SeparableMap([random(n, n, seed=n).double() for n in (4, 5, 6)])
    x, y = random(3, 4, 5, 6).double(), random(3, 4, 5, 6, seed=1).double()
    torch.testing.assert_close((linear(x) * y).sum(), (x * linear.adjoint(y)).sum())


def test_b_spline_smoothing_is_three_box_filters():
    x = random(1, 1, 30)
    known = x
    for _ in range(3):
        known = F.avg_pool1d(F.pad(known, (1, 1), mode="replicate"), 3, 1)
    torch.testing.assert_close(b_spline_matrix(30, CPU) @ x[0, 0], known[0, 0])


def test_linear_interpolation_between_the_elements_of_an_axis():
    x = torch.tensor([100.0, 110, 130, 160])
    assert (linear_matrix(4, 0.25, CPU) @ x).tolist() == [102.5, 115, 137.5, 160]  # the edge is repeated
    assert (linear_matrix(4, -0.5, CPU) @ x).tolist() == [100, 105, 120, 145]
