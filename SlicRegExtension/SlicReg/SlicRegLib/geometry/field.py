"""Displacement fields in world RAS mm.

A `DisplacementField` maps points p to p + u(p). Fields are "pull" fields: the field that warps a moving image onto a
fixed grid lies on the fixed grid and points to the moving image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .grid import Grid, apply_affine, bounding_grid
from .sampling import sample


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """p -> p + u(p): ``vectors`` (3, I, J, K) float32 are u in RAS mm on ``grid``, interpolated linearly.

    Outside its grid the edge value is repeated. Fields made for files end in zeros (see `taper`), so that programs that
    repeat the edge (VTK) and programs that assume zero (ITK) agree.
    """

    vectors: torch.Tensor
    grid: Grid

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Displacements (..., 3) mm at world points (..., 3)."""
        return sample(self.vectors, self.grid, points.to(self.vectors)).movedim(0, -1)

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Displaced world points, (..., 3) mm."""
        return points + self.at(points)

    def to(self, device: torch.device | str) -> DisplacementField:
        """The field with its vectors on another device."""
        return DisplacementField(self.vectors.to(device), self.grid)

    def on(self, grid: Grid) -> DisplacementField:
        """The same field sampled on another grid."""
        return DisplacementField(self.at(grid.points(self.vectors.device)).movedim(-1, 0), grid)


def identity_field(grid: Grid) -> DisplacementField:
    """The field of zeros, which leaves every point where it is."""
    return DisplacementField(torch.zeros(3, *grid.shape), grid)


def affine_field(matrix: np.ndarray, grid: Grid) -> DisplacementField:
    """The field A p - p of an affine map A, a 4x4 world ``matrix`` (RAS mm)."""
    points = grid.points()
    return DisplacementField((apply_affine(matrix, points) - points).movedim(-1, 0).contiguous(), grid)


def taper(field: DisplacementField, scan: Grid, margin_mm: float) -> DisplacementField:
    """The field for a file: unchanged over ``scan`` and one cell around it, then falling smoothly to zero within
    ``margin_mm``.

    The result's grid is the field's own lattice, cut or extended by whole voxels (the edge repeated) so that it just
    holds scan and margin.
    """
    # the extent of a cell along the world axes: all cells that reach into the scan keep their corners
    cell = np.abs(field.grid.vectors_to_world(np.eye(3))).sum(0).max()
    box = bounding_grid([scan], 1.0, cell).corners()
    low, high = box.min(0), box.max(0)
    reach = field.grid.to_voxel(bounding_grid([scan], 1.0, cell + margin_mm).corners())
    first, last = np.floor(reach.min(0)).astype(int), np.ceil(reach.max(0)).astype(int)
    affine = field.grid.affine.copy()
    affine[:3, 3] = field.grid.to_world(first.astype(float))
    grown = field.on(Grid(tuple(last - first + 1), affine))
    points = grown.grid.points()
    outside = torch.maximum(torch.tensor(low) - points, points - torch.tensor(high)).amax(-1)
    ramp = 0.5 + 0.5 * torch.cos(torch.pi * (outside / margin_mm).clamp(0, 1))
    return DisplacementField(grown.vectors * ramp.float(), grown.grid)
