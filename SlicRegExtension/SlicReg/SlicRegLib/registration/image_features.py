"""Image features of a scan: MIND-SSC and windows of Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import product

import torch
import torch.nn.functional as F

from ..geometry.filters import box_filter
from .options import RefinementOptions

CELL = 2
"""Voxels of the canonical frame per control point, and per voxel of the averaged features, along each axis."""
_FACES = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
# the 12 pairs of face neighbours that are sqrt(2) apart
_PAIRS = [(a, b) for i, a in enumerate(_FACES) for b in _FACES[i + 1 :] if a[0] != b[0]]
WINDOWS = ((-900, -200), (-150, 250), (150, 850))  # HU: air to fat, soft tissue, bone
_MARGIN = 6  # voxels around the body in which features are computed


def mind_ssc(hu: torch.Tensor, dilation: int = 1, radius: int = 1) -> torch.Tensor:
    """MIND self-similarity context (Heinrich et al., MICCAI 2013): (I, J, K) -> (I, J, K, 12), each from 0 to 1.

    exp(-(d - min d) / v), where d are the mean squared differences between the patches around pairs of the six
    neighbours at ``dilation`` voxels, and v is the mean of d - min d. v is at least a ten-thousandth of its average
    over the image, which is weighted by v itself, so that the air around the patient does not lower it.
    """
    edge = F.pad(hu[None, None], (dilation,) * 6, mode="replicate")[0, 0]

    def shift(axis: int, sign: int) -> torch.Tensor:
        start = [dilation] * 3
        start[axis] += sign * dilation
        return edge[tuple(slice(s, s + n) for s, n in zip(start, hu.shape, strict=True))]

    distances = torch.stack([(shift(*a) - shift(*b)).pow_(2) for a, b in _PAIRS], -1)
    distances = box_filter(distances, 2 * radius + 1)
    distances -= distances.amin(-1, keepdim=True)
    scale = distances.mean(-1, keepdim=True)
    average = float(scale.square().sum() / scale.sum().clamp_min(1e-12))
    return distances.div_(scale.clamp_min_(max(average * 1e-4, 1e-12)).neg_()).exp_()


def image_features(hu: torch.Tensor, options: RefinementOptions = RefinementOptions()) -> torch.Tensor:
    """Features of a scan, (I, J, K) HU -> (I, J, K, 15): MIND-SSC (12), and three windows of HU from 0 to
    ``options.intensity``, since MIND-SSC ignores absolute intensities."""
    windows = torch.stack([((hu - low) / (high - low)).clamp_(0, 1) for low, high in WINDOWS], -1)
    return torch.cat([mind_ssc(hu, options.dilation, options.radius), options.intensity * windows], -1)


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features ``values`` (i, j, k, C) of the part of a grid that begins at voxel ``first`` (3,); beyond it the edge is
    repeated."""

    values: torch.Tensor
    first: torch.Tensor

    @cached_property
    def average(self) -> ImageFeatures:
        """The means over cells of CELL^3 voxels."""
        i, j, k = (n // CELL for n in self.values.shape[:3])
        cells = self.values[: CELL * i, : CELL * j, : CELL * k].reshape(i, CELL, j, CELL, k, CELL, -1)
        parts = [cells[:, a, :, b, :, c] for a, b, c in product(range(CELL), repeat=3)]
        values = reduce(torch.add, parts) / CELL**3  # faster than pooling, which sums channel by channel
        return ImageFeatures(values, self.first // CELL)

    def at(self, voxels: torch.Tensor) -> torch.Tensor:
        """Features (n, C) at voxels (n, 3) of the grid; the coordinates must be whole numbers."""
        shape = torch.tensor(self.values.shape[:3], device=voxels.device)
        i, j, k = torch.minimum((voxels.long() - self.first).clamp_min(0), shape - 1).T
        return self.values[i, j, k]


def describe_body(hu: torch.Tensor, body: torch.Tensor, options: RefinementOptions) -> ImageFeatures:
    """Features of a scan ``hu`` (I, J, K) in the box around its ``body`` (bool): in the air outside all are alike."""
    box, first = [], []
    for axis, n in enumerate(hu.shape):
        slices = body.movedim(axis, 0).flatten(1).any(1).nonzero()
        low, high = (int(slices[0]) - _MARGIN, int(slices[-1]) + 1 + _MARGIN) if len(slices) else (0, n)
        first.append(max(0, low) // CELL * CELL)
        box.append(slice(first[-1], min(n, -(-high // CELL) * CELL)))
    return ImageFeatures(image_features(hu[tuple(box)], options), torch.tensor(first, device=hu.device))
