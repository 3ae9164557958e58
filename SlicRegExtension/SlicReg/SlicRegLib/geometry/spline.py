"""Thin-plate spline: a smooth dense field through displacements at scattered points."""

from __future__ import annotations

import torch

from .field import DisplacementField
from .grid import Grid

UNIT_MM = 200.0
"""Displacements are optimised in this unit, about half the canonical frame, so that the published learning rate and
alpha, which are for normalised coordinates, keep their meaning."""


def thin_plate_spline(
    points: torch.Tensor, displacements: torch.Tensor, grid: Grid, stiffness: float
) -> DisplacementField:
    """The smoothest field through key-point displacements (N, 3) mm, evaluated on ``grid``.

    u(x) = A [x, 1] + sum_n w_n |x - p_n|: |r| is the kernel of the thin-plate (biharmonic) spline in three
    dimensions; r^2 log r, often seen, is the one of the plane. Coordinates are in units of 200 mm;
    ``stiffness`` (lambda) is added to the kernel's diagonal; 0 interpolates.
    """
    centre = points.cpu().double().mean(0)  # the world's origin may be metres away
    p = (points.cpu().double() - centre) / UNIT_MM
    n = len(p)
    affine = torch.cat([p, torch.ones(n, 1, dtype=p.dtype)], 1)
    system = torch.zeros(n + 4, n + 4, dtype=p.dtype)
    system[:n, :n] = -torch.cdist(p, p) + stiffness * torch.eye(n)  # -|r| is conditionally positive definite
    system[:n, n:], system[n:, :n] = affine, affine.T
    right = torch.cat([displacements.cpu().double(), torch.zeros(4, 3, dtype=p.dtype)])
    solution = torch.linalg.solve(system, right).float()
    p = p.float()
    values = []
    for x in ((grid.points().reshape(-1, 3).double() - centre) / UNIT_MM).float().split(4096):
        values.append(
            -torch.cdist(x, p, compute_mode="donot_use_mm_for_euclid_dist") @ solution[:n]
            + torch.cat([x, torch.ones(len(x), 1)], 1) @ solution[n:]
        )
    return DisplacementField(torch.cat(values).T.reshape(3, *grid.shape).contiguous(), grid)
