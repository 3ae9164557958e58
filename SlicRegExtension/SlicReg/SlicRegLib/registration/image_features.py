"""Image features of a scan: MIND-SSC and windows of Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..geometry.filters import box_filter
from .options import RefinementOptions

# the 12 pairs of the six face neighbours that are sqrt(2) apart: (axis, sign) each
_FACES = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
_PAIRS = [(a, b) for i, a in enumerate(_FACES) for b in _FACES[i + 1 :] if a[0] != b[0]]
_WINDOWS = ((-900, -200), (-150, 250), (150, 850))  # HU: air to fat, soft tissue, bone
CELL = 2  # voxels of the canonical frame per control point, and per voxel of the averaged features
_MARGIN = 6  # voxels around the body in which features are computed


def mind_ssc(hu: torch.Tensor, dilation: int = 1, radius: int = 1) -> torch.Tensor:
    """MIND self-similarity context of an image (I, J, K) -> (I, J, K, 12), each from 0 to 1.

    exp(-(d - min d) / v) where d are the mean squared differences between the patches around pairs of the six
    neighbours at ``dilation`` voxels, and v their mean, at least a ten-thousandth of its average (weighted by itself, so
    that air around the patient does not count).
    """
    edge = F.pad(hu[None, None], (dilation,) * 6, mode="replicate")[0, 0]

    def shifted(axis: int, sign: int) -> torch.Tensor:
        start = [dilation] * 3
        start[axis] += sign * dilation
        return edge[tuple(slice(s, s + n) for s, n in zip(start, hu.shape))]

    distances = torch.stack([(shifted(*a) - shifted(*b)).pow_(2) for a, b in _PAIRS], -1)
    distances = box_filter(distances, 2 * radius + 1)
    distances -= distances.amin(-1, keepdim=True)
    scale = distances.mean(-1, keepdim=True)
    average = float(scale.square().sum() / scale.sum().clamp_min(1e-12))
    return distances.div_(scale.clamp_min_(max(average * 1e-4, 1e-12)).neg_()).exp_()


def image_features(hu: torch.Tensor, options: RefinementOptions = RefinementOptions()) -> torch.Tensor:
    """Features of a scan, (I, J, K) HU -> (I, J, K, 15): 12 of MIND-SSC and, for what those do not see, 3 windows of HU."""
    windows = torch.stack([((hu - low) / (high - low)).clamp_(0, 1) for low, high in _WINDOWS], -1)
    return torch.cat([mind_ssc(hu, options.dilation, options.radius), options.intensity * windows], -1)


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features (i, j, k, C) of the part of a grid that begins at voxel ``first``; beyond it the edge is repeated."""

    values: torch.Tensor
    first: torch.Tensor

    def averaged(self) -> ImageFeatures:
        """Means over cells of CELL^3 voxels."""
        values = F.avg_pool3d(self.values.movedim(-1, 0)[None], CELL)[0].movedim(0, -1).contiguous()
        return ImageFeatures(values, self.first // CELL)

    def at(self, voxels: torch.Tensor) -> torch.Tensor:
        """Features (n, C) at voxels (n, 3) of the grid, whole numbers."""
        shape = torch.tensor(self.values.shape[:3], device=voxels.device)
        i, j, k = torch.minimum((voxels.long() - self.first).clamp_min(0), shape - 1).T
        return self.values[i, j, k]


def describe_body(hu: torch.Tensor, body: torch.Tensor, options: RefinementOptions) -> ImageFeatures:
    """The scan's features in the box of its body: the air around it is all alike."""
    box, first = [], []
    for axis, n in enumerate(hu.shape):
        seen = body.movedim(axis, 0).flatten(1).any(1).nonzero()
        low, high = (int(seen[0]) - _MARGIN, int(seen[-1]) + 1 + _MARGIN) if len(seen) else (0, n)
        first.append(max(0, low) // CELL * CELL)
        box.append(slice(first[-1], min(n, -(-high // CELL) * CELL)))
    return ImageFeatures(image_features(hu[tuple(box)], options), torch.tensor(first, device=hu.device))
