"""Local growth: by how much each place of a template is larger in a scan, and whether that is unusual in a cohort.

Growth is the natural logarithm of the field's Jacobian determinant: 0.1 is a tenth more volume, 0 none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.field import DisplacementField
from ..geometry.folding import jacobian_determinant
from ..geometry.grid import Grid
from ..images.volumes import Volume

LEAST_DETERMINANT = 0.05
"""Folds count as this, so that the logarithm is finite."""
LEAST_DEVIATION = 0.05
"""Standard deviation that is assumed at least: below it lie errors of the registration."""
LEAST_SCANS = 10
"""Scans that must show a place before others can be unusual there."""


@dataclass(frozen=True, eq=False)
class Growth:
    """Of a cohort, on ``grid``: the ``mean`` growth of the scans that show the place and its standard ``deviation``,
    float32 (i, j, k); the deviation is 0 where fewer than `LEAST_SCANS` show it."""

    grid: Grid
    mean: np.ndarray
    deviation: np.ndarray


def measure_growth(field: DisplacementField, grid: Grid) -> torch.Tensor:
    """The growth (i, j, k) at the points of ``grid`` of what a ``field`` from a template to a scan does there."""
    determinant = jacobian_determinant(field.on(grid)).clamp_min(LEAST_DETERMINANT)
    return F.pad(determinant.log()[None, None], (1,) * 6, mode="replicate")[0, 0]


def summarise_growth(grid: Grid, scans: Iterable[tuple[DisplacementField, torch.Tensor]]) -> Growth:
    """Of a cohort: the field from the template to each scan, and which points of ``grid`` the scan shows, bool
    (i, j, k)."""
    total, squares, count = (torch.zeros(grid.shape, dtype=torch.float64) for _ in range(3))
    for field, shown in scans:
        growth = measure_growth(field, grid).double() * shown
        total += growth
        squares += growth.square()
        count += shown
    mean = total / count.clamp_min(1)
    variance = (squares - count * mean.square()) / (count - 1).clamp_min(1)
    deviation = torch.where(count >= LEAST_SCANS, variance.clamp_min(LEAST_DEVIATION**2).sqrt(), 0.0)
    return Growth(grid, mean.float().numpy(), deviation.float().numpy())


def compare_growth(growth: Growth, field: DisplacementField, scan: Grid | None = None) -> Volume:
    """How unusual a scan's growth is, in standard deviations of the cohort, float32 on the cohort's grid: positive
    where the place is larger than usual, 0 where the cohort cannot tell and where the scan, on the grid ``scan``, does
    not show the place. The patient's size as a whole is not taken out."""
    own = measure_growth(field, growth.grid).numpy()
    known = growth.deviation > 0
    if scan:
        known = known & (scan.to_normalised(field(growth.grid.points())).abs() <= 1).all(-1).numpy()
    z = np.where(known, (own - growth.mean) / np.where(known, growth.deviation, 1), 0)
    return Volume(z.astype(np.float32), growth.grid)
