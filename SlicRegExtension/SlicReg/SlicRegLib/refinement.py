"""Refinement of a field on image features: the detail that supervoxels are too coarse for.

A short instance optimisation in the manner of convexAdam's second stage (Siebert et al.): MIND-SSC descriptors of
both scans (Heinrich et al., MICCAI 2013) are compared at every control point, Adam moves the control points, three
box filters keep the field a smooth B-spline and differences between neighbours are penalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .alignment import Adam, rows_at
from .prediction import smoothed
from .progress import Progress, silent
from .supervision import Prepared
from .warping import DisplacementField

# the 12 pairs of the six face neighbours that are sqrt(2) apart: (axis, sign) each
_FACES = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
_PAIRS = [(a, b) for i, a in enumerate(_FACES) for b in _FACES[i + 1:] if a[0] != b[0]]


@dataclass(frozen=True)
class RefinementOptions:
    """How the field is refined on image features."""

    iterations: int = 60  # of Adam; 0 leaves the field as it is
    learning_rate: float = 1.0  # in control-point spacings
    regularisation: float = 1.25  # weight of squared differences between neighbouring control points (spacings)
    control_voxels: int = 2  # control-point spacing in voxels of the canonical frame
    dilation: int = 2  # of MIND-SSC: voxels from the centre to the compared patches
    radius: int = 1  # of the patches, voxels


def mind_ssc(hu: torch.Tensor, dilation: int = 2, radius: int = 1) -> torch.Tensor:
    """MIND self-similarity context of an image (I, J, K) -> (I, J, K, 12), each from 0 to 1.

    exp(-(d - min d) / v) where d are the mean squared differences between the patches around pairs of the six
    neighbours at ``dilation`` voxels, and v their mean, kept within a thousandth and a thousand times its average.
    """
    edge = F.pad(hu[None, None], (dilation,) * 6, mode="replicate")[0, 0]

    def shifted(axis: int, sign: int) -> torch.Tensor:
        start = [dilation] * 3
        start[axis] += sign * dilation
        return edge[tuple(slice(s, s + n) for s, n in zip(start, hu.shape))]

    distances = torch.stack([(shifted(*a) - shifted(*b)).pow(2) for a, b in _PAIRS], -1)
    distances = smoothed(distances, 2 * radius + 1)
    distances -= distances.amin(-1, keepdim=True)
    scale = distances.mean(-1, keepdim=True)
    average = float(scale.mean())
    return torch.exp(-distances / scale.clamp(average * 1e-3, average * 1e3))


def refine(field: DisplacementField, fixed: Prepared, moving: Prepared, region: torch.Tensor,
           options: RefinementOptions = RefinementOptions(), progress: Progress = silent) -> DisplacementField:
    """``field`` (fixed to moving, RAS mm) improved on the scans' image features, on a grid over the fixed frame.

    region: bool (I, J, K) on ``fixed.grid``: where features are compared (the body); elsewhere the field is smooth.
    """
    step = options.control_voxels
    device = field.vectors.device
    control = fixed.grid.pooled(step)
    unit = float(control.spacing.mean())  # mm
    described = [_pooled(mind_ssc(scan.hu.to(device), options.dilation, options.radius), step) for scan in (fixed, moving)]
    inside = F.max_pool3d(region[None, None].float(), step)[0, 0].flatten().nonzero()[:, 0].to(device)
    wanted = described[0].flatten(0, 2)[inside]
    points = control.points(device)
    displacement = (field.at(points) / unit).requires_grad_(True)  # (i, j, k, 3), RAS, in spacings
    optimiser = Adam(displacement, options.learning_rate)
    moving_grid = moving.grid.pooled(step)
    for iteration in range(options.iterations):
        smooth = _spline(displacement)
        found = rows_at(described[1], moving_grid, points.reshape(-1, 3)[inside] + unit * smooth.reshape(-1, 3)[inside])
        data = (found - wanted).pow(2).sum() / (len(inside) or 1)
        roughness = sum(smooth.diff(dim=axis).pow(2).mean() for axis in range(3))
        (data * len(inside) / len(points.reshape(-1, 3)) + options.regularisation * roughness).backward()
        optimiser.step()
        if iteration % 10 == 9:
            progress("refinement", (iteration + 1) / options.iterations, f"feature difference {data.item():.3f}")
    vectors = unit * _spline(displacement.detach()).movedim(-1, 0)
    return DisplacementField(vectors.contiguous(), control)


def _pooled(features: torch.Tensor, step: int) -> torch.Tensor:
    """Means over step^3 blocks of (I, J, K, C)."""
    return F.avg_pool3d(features.movedim(-1, 0)[None], step)[0].movedim(0, -1).contiguous()


def _spline(displacement: torch.Tensor) -> torch.Tensor:
    """(i, j, k, 3) through three box filters of width 3: a cubic-B-spline-like smoothing, edges repeated."""
    x = displacement.movedim(-1, 0)[None]
    for _ in range(3):
        x = F.avg_pool3d(F.pad(x, (1,) * 6, mode="replicate"), 3, stride=1)
    return x[0].movedim(0, -1)
