"""The inverse of a displacement field by Newton's method."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .field import DisplacementField
from .folding import jacobian
from .gather import rows_at
from .grid import Grid, bounding_grid
from .sampling import sample


def invert(
    field: DisplacementField,
    grid: Grid,
    steps: int = 40,
    tolerance_mm: float = 0.02,
    start: DisplacementField | None = None,
    where: torch.Tensor | None = None,
) -> DisplacementField:
    """The field v on ``grid`` with v(y) = -u(y + v(y)): first v, then ``field`` is the identity.

    Newton's method at every point of ``grid``, from ``start`` on the same grid, or from one found by pushing the
    field's own points forward. So it also converges where the field stretches by more than two and the usual
    fixed-point iteration diverges. A Newton step that makes the error larger is replaced by a fixed-point step, and
    each point keeps the best position it has had: where the field folds, the result is the nearest answer instead of
    noise. where: bool (I, J, K); elsewhere the start is left as it is.
    """
    device = field.vectors.device
    goal = grid.points(device).reshape(-1, 3)
    rows = torch.cat([field.vectors.movedim(0, -1), jacobian(field).flatten(3)], -1)  # of a voxel side by side

    def follow(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the field takes points (n, 3), and its derivatives there, (n, 9)."""
        values = rows_at(rows, field.grid, points)
        return points + values[:, :3], values[:, 3:]

    guess = start.vectors.movedim(0, -1) if start else _pushed_start(field, grid)
    best = goal + guess.reshape(-1, 3)
    active = torch.arange(len(goal), device=device) if where is None else where.flatten().nonzero()[:, 0]
    best_error = torch.zeros(len(goal), device=device)
    x = best[active]
    reached, slopes = follow(x)
    error = goal[active] - reached
    distance = best_error[active] = error.norm(dim=-1)
    for _ in range(steps):
        inexact = distance > tolerance_mm
        active, x, error, slopes = active[inexact], x[inexact], error[inexact], slopes[inexact]
        if not len(active):
            break
        step = _solve(slopes.T.reshape(3, 3, -1), error.T).T
        candidate = x + step.clamp(-20, 20)
        reached, slopes = follow(candidate)
        new_error = goal[active] - reached
        worse = new_error.norm(dim=-1) > error.norm(dim=-1)
        if worse.any():
            candidate[worse] = (x + 0.5 * error)[worse]
            reached, slopes[worse] = follow(candidate[worse])
            new_error[worse] = goal[active[worse]] - reached
        x, error, distance = candidate, new_error, new_error.norm(dim=-1)
        improved = distance < best_error[active]
        best[active[improved]], best_error[active[improved]] = x[improved], distance[improved]
    return DisplacementField((best - goal).T.reshape(3, *grid.shape).contiguous(), grid)


def _solve(matrices: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The solutions (3, n) of n systems of three equations by Cramer's rule: faster than LAPACK, one by one.

    matrices: (3, 3, n), row, column. Where the determinant is small the matrix counts as the identity.
    """
    a, b, c = matrices.unbind(1)  # columns
    cofactors = torch.linalg.cross(b, c, dim=0), torch.linalg.cross(c, a, dim=0), torch.linalg.cross(a, b, dim=0)
    determinant = (a * cofactors[0]).sum(0)
    regular = determinant >= 0.05
    solution = torch.stack([(right * cofactor).sum(0) for cofactor in cofactors]) / determinant.where(regular, 1.0)
    return torch.where(regular, solution, right)


def _pushed_start(field: DisplacementField, grid: Grid) -> torch.Tensor:
    """A first guess of the inverse displacement, (I, J, K, 3) mm: the field's points pushed to where they go, averaged
    on a coarse grid."""
    coarse = bounding_grid([grid, field.grid], spacing=float(max(grid.spacing.max(), field.grid.spacing.max()) * 2))
    device = field.vectors.device
    points = field.grid.points(device).reshape(-1, 3)
    vectors = field.vectors.reshape(3, -1).T
    index = coarse.to_voxel(points + vectors).round().long()
    inside = ((index >= 0) & (index < torch.tensor(coarse.shape, device=device))).all(1)
    index = index[inside]
    flat = (index[:, 0] * coarse.shape[1] + index[:, 1]) * coarse.shape[2] + index[:, 2]
    total = torch.zeros(int(np.prod(coarse.shape)), 4, device=device)
    shift = vectors.mean(0)  # the guess beyond all pushed points: the scans may be metres apart
    total.index_add_(0, flat, torch.cat([shift - vectors[inside], torch.ones(len(flat), 1, device=device)], 1))
    total = total.T.reshape(1, 4, *coarse.shape)
    smooth = total
    for _ in range(4):  # cells that received no point take their neighbours' mean
        smooth = F.avg_pool3d(smooth, 3, stride=1, padding=1)
    filled = torch.where(
        total[:, 3:] > 0, total[:, :3] / total[:, 3:].clamp_min(1e-6), smooth[:, :3] / smooth[:, 3:].clamp_min(1e-6)
    )
    return sample(filled[0], coarse, grid.points(device)).movedim(0, -1) - shift
