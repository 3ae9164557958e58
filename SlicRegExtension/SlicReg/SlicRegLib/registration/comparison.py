"""The difference between the image features of two scans and its gradient with respect to a displacement."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

from ..geometry.filters import SeparableMap, linear_matrix
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
            region = F.max_pool3d(region[None, None].float(), CELL)[0, 0] > 0
        else:
            region = region[tuple(slice(c, c + CELL * n, CELL) for c, n in zip(corner, shape, strict=True))]
        self.index = region.flatten().nonzero()[:, 0].to(device)
        voxels = unravel(self.index, shape) * self.step + torch.tensor(corner or (0, 0, 0), device=device)
        self.fixed, self.voxels = fixed.at(voxels), voxels - moving.first
        self.size = torch.tensor(moving.values.shape[:3], device=device)
        _, j, k, channels = moving.values.shape
        self.rows = moving.values.reshape(-1, channels)
        self.stride = torch.tensor([j * k, k, 1], device=device)
        self.corners = torch.tensor([a * j * k + b * k + c for a, b, c in product((0, 1), repeat=3)], device=device)
        self.between = None
        if corner is not None:  # from the middle of each cell to its corner
            shifts = [(c + 0.5) / CELL - 0.5 for c in corner]
            self.between = SeparableMap([linear_matrix(n, s, device) for n, s in zip(shape, shifts, strict=True)])

    def gradient(self, spline: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean squared feature difference in the region and the gradient (3, i, j, k) of its sum over the region.

        spline: displacements (3, i, j, k) of the control points along i, j, k, in control-point spacings.
        """
        displacement = self.between(spline) if self.between else spline
        position = self.voxels + self.step * displacement.flatten(1)[:, self.index].T
        at = torch.minimum(position.clamp_min(0), self.size - 1.0)
        low = torch.minimum(at.floor(), (self.size - 2.0).clamp_min(0))
        x, y, z = (at - low).T
        index = ((low.long() @ self.stride)[:, None] + self.corners).clamp_max_(len(self.rows) - 1)
        rows = self.rows.index_select(0, index.flatten()).view(len(at), 8, -1)
        p, q, r = 1 - x, 1 - y, 1 - z
        weights = torch.stack(
            [p * q * r, p * q * z, p * y * r, p * y * z, x * q * r, x * q * z, x * y * r, x * y * z], 1
        )
        residual = torch.bmm(weights[:, None], rows)[:, 0] - self.fixed
        a, b, c, d, e, f, g, h = torch.bmm(rows, residual[:, :, None])[:, :, 0].T
        slope = torch.stack(
            [
                ((e - a) * r + (f - b) * z) * q + ((g - c) * r + (h - d) * z) * y,
                ((c - a) * r + (d - b) * z) * p + ((g - e) * r + (h - f) * z) * x,
                ((b - a) * q + (d - c) * y) * p + ((f - e) * q + (h - g) * y) * x,
            ]
        )
        slope *= (position == at).T  # beyond the features the edge is repeated, so that the gradient is zero
        gradient = torch.zeros_like(spline)
        gradient.view(3, -1)[:, self.index] = slope * (2 * self.step)
        return residual.square().sum() / max(1, len(at)), self.between.adjoint(gradient) if self.between else gradient
