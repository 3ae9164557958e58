"""Displacement fields in world RAS mm.

A `DisplacementField` maps points p to p + u(p). Fields are "pull" fields: the field that warps a moving image onto a
fixed grid lies on the fixed grid and points to the moving image.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    vectors = field.vectors
    for axis, n in enumerate(field.grid.shape):
        index = torch.arange(int(first[axis]), int(last[axis]) + 1, device=vectors.device).clamp(0, n - 1)
        vectors = vectors.index_select(axis + 1, index)
    affine = field.grid.affine.copy()
    affine[:3, 3] = field.grid.to_world(first.astype(float))
    grid = Grid(tuple(last - first + 1), affine)
    outside = torch.zeros(1, 1, 1)
    for axis, coordinate in enumerate(_coordinates(grid)):
        outside = torch.maximum(outside, torch.maximum(low[axis] - coordinate, coordinate - high[axis]).float())
    ramp = 0.5 + 0.5 * torch.cos(torch.pi * (outside / margin_mm).clamp(0, 1))
    return DisplacementField(vectors * ramp.to(vectors), grid)


def _coordinates(grid: Grid) -> Iterator[torch.Tensor]:
    """R, A and S of each voxel in mm, float64, of shapes that broadcast to (I, J, K): 1 along the voxel axes that do
    not change them."""
    for row in grid.affine[:3]:
        coordinate = torch.full((1, 1, 1), float(row[3]), dtype=torch.float64)
        for axis, n in enumerate(grid.shape):
            if abs(row[axis]) * n > 1e-9:
                along = float(row[axis]) * torch.arange(n, dtype=torch.float64)
                coordinate = coordinate + along.view([n if a == axis else 1 for a in range(3)])
        yield coordinate
