"""What the supervoxels of two scans have in common: known before the long work of a registration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..geometry.grid import apply_affine

NEAR_MM = 20.0
"""A supervoxel is found if its centre lies this near to where the affine map leads; in good pairs, half of them lie
within 10 mm."""
LEAST_MASS = 1.0
"""Voxels that a supervoxel must have in both scans to count."""


@dataclass(frozen=True, eq=False)
class CommonSupervoxels:
    """The supervoxels of the fixed and the moving scan, (layers, classes, 4) as in `Description`, and the affine map
    (4x4, world) between them from which the registration starts."""

    fixed: torch.Tensor
    moving: torch.Tensor
    affine: np.ndarray

    @cached_property
    def found(self) -> float:
        """The share, 0 to 1, of the supervoxels of the scan with fewer of them that the other scan shows in the same
        place; each counts by its volume."""
        a, b = (scan[:, 1:].reshape(-1, 4).double().cpu() for scan in (self.fixed, self.moving))
        mass = torch.minimum(a[:, 0], b[:, 0])
        distance = (apply_affine(self.affine, a[:, 1:]) - b[:, 1:]).norm(dim=1)
        near = (mass > LEAST_MASS) & (distance < NEAR_MM)
        return float(mass[near].sum() / torch.minimum(a[:, 0].sum(), b[:, 0].sum()).clamp_min(1e-9))

    @property
    def stretches(self) -> tuple[float, float, float]:
        """The affine map's three stretches (singular values), the least first; 1 leaves lengths as they are."""
        least, middle, most = sorted(np.linalg.svd(self.affine[:3, :3], compute_uv=False).tolist())
        return least, middle, most
