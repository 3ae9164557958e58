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

    The lattice has a voxel for each control point: all averaged ones, or one ``corner`` of each cell of _CELL^3. Values and
    derivatives of trilinear interpolation are written out: it takes a sixth of the time of automatic differentiation.
    """

    def __init__(
        self, wanted: ImageFeatures, found: ImageFeatures, region: torch.Tensor, shape, corner: tuple | None = None
    ):
        device = wanted.values.device
        self.shape, self.found, self.step = shape, found, 1 if corner is None else CELL
        if corner is None:  # a cell belongs to the region where one of its voxels does
            region = F.max_pool3d(region[None, None].float(), CELL)[0, 0] > 0
        else:
            region = region[tuple(slice(c, c + CELL * n, CELL) for c, n in zip(corner, shape))]
        self.index = region.flatten().nonzero()[:, 0].to(device)
        voxels = unravel(self.index, shape) * self.step + torch.tensor(corner or (0, 0, 0), device=device)
        self.wanted, self.voxels = wanted.at(voxels), voxels - found.first
        self.size = torch.tensor(found.values.shape[:3], device=device)
        _, j, k, channels = found.values.shape
        self.rows = found.values.reshape(-1, channels)
        self.stride = torch.tensor([j * k, k, 1], device=device)
        self.corners = torch.tensor([a * j * k + b * k + c for a, b, c in product((0, 1), repeat=3)], device=device)
        self.between = (
            None if corner is None else SeparableMap([linear_matrix(n, c, device) for n, c in zip(shape, corner)])
        )

    def gradient(self, spline: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """At displacements (3, i, j, k) of the lattice's cells: the mean difference in the region, and the gradient of its sum."""
        displacement = self.between(spline) if self.between else spline
        reached = self.voxels + self.step * displacement.flatten(1)[:, self.index].T
        at = torch.minimum(reached.clamp_min(0), self.size - 1.0)
        low = torch.minimum(at.floor(), (self.size - 2.0).clamp_min(0))
        x, y, z = (at - low).T
        index = ((low.long() @ self.stride)[:, None] + self.corners).clamp_max_(len(self.rows) - 1)
        rows = self.rows.index_select(0, index.flatten()).view(len(at), 8, -1)
        p, q, r = 1 - x, 1 - y, 1 - z
        weights = torch.stack(
            [p * q * r, p * q * z, p * y * r, p * y * z, x * q * r, x * q * z, x * y * r, x * y * z], 1
        )
        residual = torch.bmm(weights[:, None], rows)[:, 0] - self.wanted
        a, b, c, d, e, f, g, h = torch.bmm(rows, residual[:, :, None])[:, :, 0].T
        slope = torch.stack(
            [
                ((e - a) * r + (f - b) * z) * q + ((g - c) * r + (h - d) * z) * y,
                ((c - a) * r + (d - b) * z) * p + ((g - e) * r + (h - f) * z) * x,
                ((b - a) * q + (d - c) * y) * p + ((f - e) * q + (h - g) * y) * x,
            ]
        )
        slope *= (reached == at).T  # beyond the features the edge is repeated: nothing changes with the place
        gradient = torch.zeros_like(spline)
        gradient.view(3, -1)[:, self.index] = slope * (2 * self.step)
        return residual.square().sum() / max(1, len(at)), self.between.adjoint(gradient) if self.between else gradient
