"""The difference between the image features of two scans and its gradient with respect to a displacement."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import product

import torch
import torch.nn.functional as F

from ..geometry.filters import SeparableMap, linear_matrix
from ..geometry.gather import SIDES, corner_factors
from ..geometry.grid import unravel
from .image_features import CELL, ImageFeatures


class FeatureComparison:
    """The mean squared difference between features of both scans on a lattice of fixed voxels, and its gradient.

    Values and derivatives of trilinear interpolation are written out. Automatic differentiation takes no longer
    (``benchmarks/kernels.py``), but rounds otherwise.
    """

    def __init__(
        self,
        fixed: ImageFeatures,
        moving: ImageFeatures,
        region: torch.Tensor,
        shape: tuple[int, int, int],
        corner: tuple[int, int, int] | None = None,
    ):
        """region: bool (I, J, K), the fixed voxels that are compared. shape: (i, j, k) of the control points, one for
        each cell of CELL^3 voxels. corner: the voxel of each cell that is compared, each number from 0 to CELL - 1;
        None: the features are averages over cells (`ImageFeatures.average`), and all are compared.
        """
        device = fixed.values.device
        self.step = 1 if corner is None else CELL
        if corner is None:  # a cell belongs to the region where one of its voxels does
            parts = (region[_of_cells(each, shape)] for each in product(range(CELL), repeat=3))
            region = reduce(torch.logical_or, parts)
        else:
            region = region[_of_cells(corner, shape)]
        self.index = region.flatten().nonzero()[:, 0].to(device)
        voxels = unravel(self.index, shape) * self.step + torch.tensor(corner or (0, 0, 0), device=device)
        self.fixed, self.voxels = fixed.at(voxels), (voxels - moving.first).T.float().contiguous()
        self.last = torch.tensor(moving.values.shape[:3], device=device)[:, None] - 1.0
        _, width, depth, channels = moving.values.shape
        self.rows = moving.values.reshape(-1, channels)
        self.stride = torch.tensor([[width * depth], [depth], [1]], device=device)
        corners = [(a * width + b) * depth + c for a, b, c in product((0, 1), repeat=3)]
        self.corners = torch.tensor(corners, device=device)
        self.between = None
        if corner is not None:  # from the middle of each cell to its corner
            shifts = [(c + 0.5) / CELL - 0.5 for c in corner]
            self.between = SeparableMap([linear_matrix(n, s, device) for n, s in zip(shape, shifts, strict=True)])

    def gradient(self, spline: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean squared feature difference in the region and the gradient (3, i, j, k) of its sum over the region.

        spline: displacements (3, i, j, k) of the control points along i, j, k, in control-point spacings.
        """
        displacement = self.between(spline) if self.between else spline
        position = self.voxels + self.step * displacement.flatten(1)[:, self.index]
        at = torch.minimum(position.clamp_min(0), self.last)
        low = torch.minimum(at.floor(), (self.last - 1).clamp_min_(0))
        upper = at - low
        index = (self.stride * low.long()).sum(0)[:, None] + self.corners
        index.clamp_max_(len(self.rows) - 1)
        values, *slopes = (
            F.embedding_bag(index, self.rows, per_sample_weights=weights, mode="sum") for weights in _weights(upper)
        )
        residual = values - self.fixed
        slope = torch.stack([torch.linalg.vecdot(part, residual) for part in slopes])
        slope *= position == at  # beyond the features the edge is repeated, so that the gradient is zero
        gradient = torch.zeros_like(spline)
        gradient.view(3, -1)[:, self.index] = slope * (2 * self.step)
        difference = residual.square().sum() / max(1, len(residual))
        return difference, self.between.adjoint(gradient) if self.between else gradient


def _of_cells(corner: tuple[int, ...], shape: tuple[int, int, int]) -> tuple[slice, ...]:
    """The voxels at one ``corner`` of each of ``shape`` (i, j, k) cells."""
    return tuple(slice(c, c + CELL * n, CELL) for c, n in zip(corner, shape, strict=True))


def _weights(upper: torch.Tensor) -> Iterator[torch.Tensor]:
    """Weights (n, 8) of the corners of a cell, k the fastest: of trilinear interpolation, then of its derivatives by
    i, j and k.

    upper: (3, n), how far each point is from the cell's first corner towards its last one, 0 to 1.
    """
    x, y, z = corner_factors(upper)
    slope = 2 * SIDES.to(upper) - 1
    yz = y * z
    yield x * yz
    yield yz.mul_(slope[0])
    yield (x * z).mul_(slope[1])
    yield (x * y).mul_(slope[2])
