"""Refinement of a field on image features: the detail that supervoxels are too coarse for.

A short instance optimisation in the manner of convexAdam's second stage (Siebert et al.): MIND-SSC descriptors (Heinrich
et al., MICCAI 2013) and windowed Hounsfield units of both scans are compared, Adam moves control points, three box filters
keep the field a smooth B-spline and differences between neighbours are penalised. First on features averaged over 2^3
voxels, then on every voxel, an eighth of them in each iteration.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..geometry.field import DisplacementField
from ..geometry.filters import SeparableMap, b_spline_matrix
from ..images.preparation import BODY_HU, PreparedScan
from ..progress import Progress, silent
from .comparison import FeatureComparison
from .image_features import CELL, describe_body
from .optimiser import Adam
from .options import RefinementOptions

_STILL = 1e-3  # gradients (difference per spacing) below this are rounding, and move nothing


def refine(
    starts: Sequence[DisplacementField],
    fixed: PreparedScan,
    moving: PreparedScan,
    region: torch.Tensor,
    options: RefinementOptions = RefinementOptions(),
    progress: Progress = silent,
) -> DisplacementField:
    """The first of ``starts`` (fields fixed to moving, RAS mm) improved on the scans' image features, on a grid over the
    fixed frame. Where another start agrees better with the images, that is a sign that the first went astray: then all are
    refined, and the result that agrees best is returned.

    "Fixed" is the scan at whose voxels features are compared; `registration.finish` says which that is.

    region: bool (I, J, K) on ``fixed.grid``: where features are compared (the body); elsewhere the field is smooth.
    The regularisation acts on what is left after the fixed frame is laid on the moving frame, voxel on voxel.
    """
    device = starts[0].vectors.device
    control, own = (scan.grid.pooled(CELL) for scan in (fixed, moving))
    home = control.voxels(device)
    wanted = describe_body(fixed.hu.to(device), region, options)
    found = describe_body(moving.hu.to(device), moving.hu > BODY_HU, options)
    coarse = FeatureComparison(wanted.averaged(), found.averaged(), region, control.shape)
    fine = [FeatureComparison(wanted, found, region, control.shape, corner) for corner in _ORDER]
    levels = (options.iterations, [coarse]), (options.fine_iterations, fine)
    moved = [
        (own.to_voxel(field(control.points(device)).double()) - home).movedim(-1, 0).float().contiguous()
        for field in starts
    ]  # in control-point spacings, along i, j, k
    before = [coarse.gradient(start)[0].item() for start in moved]
    if before[0] <= min(before):
        moved = moved[:1]
    part = 1 / len(moved)
    reached = [
        _descended(
            start, levels, options, lambda share, message, n=n: progress("refinement", (n + share) * part, message)
        )
        for n, start in enumerate(moved)
    ]
    spline, _ = min(reached, key=lambda pair: pair[1])
    vectors = own.to_world((home + spline.movedim(0, -1)).double()) - control.points(device)
    return DisplacementField(vectors.movedim(-1, 0).float().contiguous(), control)


def _descended(moved: torch.Tensor, levels, options: RefinementOptions, progress) -> tuple[torch.Tensor, float]:
    """The spline (3, i, j, k) that Adam reaches from control points ``moved``, level by level, and its feature difference."""
    smooth = SeparableMap([b_spline_matrix(n, moved.device) for n in moved.shape[1:]])
    total, done = options.iterations + options.fine_iterations, 0
    adam = Adam(moved, options.learning_rate, epsilon=_STILL)
    for iterations, comparisons in levels:
        for iteration in range(iterations):
            adam.learning_rate = options.learning_rate * (1 - done / total)  # Adam's steps do not shrink by themselves
            spline = smooth(moved)
            difference, gradient = comparisons[iteration % len(comparisons)].gradient(spline)
            moved.grad = smooth.adjoint(gradient + _roughness_gradient(spline, options.regularisation))
            adam.step()
            done += 1
            if done % 10 == 0:
                progress(done / total, f"feature difference {difference.item():.3f}")
    return smooth(moved), difference.item()


# every voxel's turn comes once in eight iterations; neighbours in time are far apart in space
_ORDER = ((0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 0, 1))


def _roughness_gradient(smooth: torch.Tensor, weight: float) -> torch.Tensor:
    """Of weight / 3 * the sum of squared differences between neighbours along each axis."""
    gradient = torch.zeros_like(smooth)
    for axis in (1, 2, 3):
        step = smooth.diff(dim=axis) * (2 / 3 * weight)
        n = smooth.shape[axis]
        gradient.narrow(axis, 1, n - 1).add_(step)
        gradient.narrow(axis, 0, n - 1).sub_(step)
    return gradient
