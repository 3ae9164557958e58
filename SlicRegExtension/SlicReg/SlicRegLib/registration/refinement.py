"""Refinement of a field on image features, for the detail that supervoxels are too coarse for.

A short instance optimisation in the manner of convexAdam's second stage (Siebert et al.): Adam moves control points so
that MIND-SSC descriptors (Heinrich et al., MICCAI 2013) and windowed Hounsfield units of both scans agree. Three box
filters keep the field a smooth B-spline, and differences between neighbouring control points are penalised. The first
iterations compare features averaged over 2^3 voxels; those that follow compare every voxel, an eighth at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..geometry.field import DisplacementField
from ..geometry.filters import SeparableMap, b_spline_matrix
from ..images.preparation import PreparedScan
from ..network.devices import widen
from ..progress import Progress, silent
from ..stages import REFINEMENT
from .comparison import FeatureComparison
from .image_features import CELL, ImageFeatures, describe_body
from .optimiser import Adam
from .options import RefinementOptions

Levels = tuple[tuple[int, list[FeatureComparison]], ...]
"""From coarse to fine: a number of Adam's steps and the comparisons that take turns in them."""
_EPSILON = 1e-3  # of Adam: gradients (difference per spacing) below this are rounding errors and should move nothing
# the corners of a cell in turn: every voxel counts once in eight iterations, and successive ones are far apart
_CORNERS = ((0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 0, 1))


@dataclass(frozen=True, eq=False)
class ComparedScan:
    """A scan and its image features."""

    scan: PreparedScan
    features: ImageFeatures

    @classmethod
    def describe(cls, scan: PreparedScan, options: RefinementOptions, device: torch.device) -> ComparedScan:
        """The scan with its features in and around the body."""
        return cls(scan, describe_body(scan.hu.to(device), scan.region, options))


def refine(
    starts: Sequence[DisplacementField],
    fixed: ComparedScan,
    moving: ComparedScan,
    options: RefinementOptions = RefinementOptions(),
    progress: Progress = silent,
) -> DisplacementField:
    """Refine the first of ``starts`` (fields fixed to moving, RAS mm) on image features, on a grid in the fixed frame.

    If another start agrees better with the images, the first has probably failed: then all are refined, and the result
    that agrees best is returned. "Fixed" is the scan at whose voxels features are compared;
    `register.refine_and_unfold` chooses it.

    Features are compared in the fixed scan's region; elsewhere the field is smooth. The regularisation acts on
    displacements from voxels of the fixed frame to the same voxels of the moving frame.
    """
    device, region = starts[0].vectors.device, fixed.scan.region
    control, moving_control = (side.scan.grid.pooled(CELL) for side in (fixed, moving))
    rest = control.voxels(device)
    features = fixed.features, moving.features
    averages = fixed.features.average, moving.features.average
    coarse = FeatureComparison(*averages, region, control.shape)
    fine = [FeatureComparison(*features, region, control.shape, corner) for corner in _CORNERS]
    levels = (options.coarse_iterations, [coarse]), (options.fine_iterations, fine)
    # control points, as displacements along i, j, k in control-point spacings
    splines = [
        (moving_control.to_voxel(widen(field(control.points(device)))) - widen(rest))
        .movedim(-1, 0)
        .float()
        .to(device)
        .contiguous()
        for field in starts
    ]
    differences = [coarse.gradient(spline)[0].item() for spline in splines]
    if differences[0] <= min(differences):
        splines = splines[:1]

    def report(number: int) -> Callable[[float, str], None]:
        return lambda share, message: progress(REFINEMENT, (number + share) / len(splines), message)

    refined = [_descend(spline, levels, options, report(number)) for number, spline in enumerate(splines)]
    best, _ = min(refined, key=lambda pair: pair[1])
    vectors = moving_control.to_world(widen(rest + best.movedim(0, -1))) - widen(control.points(device))
    return DisplacementField(vectors.movedim(-1, 0).float().to(device).contiguous(), control)


def _descend(
    points: torch.Tensor, levels: Levels, options: RefinementOptions, progress: Callable[[float, str], None]
) -> tuple[torch.Tensor, float]:
    """The spline (3, i, j, k) that Adam reaches from control ``points``, level by level, and its feature difference."""
    smooth = SeparableMap([b_spline_matrix(n, points.device) for n in points.shape[1:]])
    total, done = options.coarse_iterations + options.fine_iterations, 0
    adam = Adam(points, options.step_size, epsilon=_EPSILON)
    for iterations, comparisons in levels:
        for iteration in range(iterations):
            adam.learning_rate = options.step_size * (1 - done / total)  # Adam's steps do not shrink by themselves
            spline = smooth(points)
            difference, gradient = comparisons[iteration % len(comparisons)].gradient(spline)
            points.grad = smooth.adjoint(gradient + _roughness_gradient(spline, options.regularisation))
            adam.step()
            done += 1
            if done % 10 == 0:
                progress(done / total, f"feature difference {difference.item():.3f}")
    return smooth(points), difference.item()


def _roughness_gradient(smooth: torch.Tensor, weight: float) -> torch.Tensor:
    """The gradient of weight / 3 * the sum of squared differences between neighbours along each axis."""
    gradient = torch.zeros_like(smooth)
    for axis in (1, 2, 3):
        step, n = smooth.diff(dim=axis), smooth.shape[axis]
        gradient.narrow(axis, 1, n - 1).add_(step, alpha=2 / 3 * weight)
        gradient.narrow(axis, 0, n - 1).sub_(step, alpha=2 / 3 * weight)
    return gradient
