"""What the supervoxels of two scans have in common: known before the long work of a registration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ..geometry.grid import apply_affine
from ..network.networks import SupervoxelNet
from ..network.options import PredictionOptions
from ..network.prediction import EncodedScan, encode, locate
from .affine import fit_affine

THINNED = 2
"""Scan and mirror image are compared by every second voxel of the network's output along each axis."""
NEAR_MM = 20.0
"""A supervoxel is found if its centre lies this near to where the affine map leads; in good pairs, half of them lie
within 10 mm."""
GOOD_PART, NEARLY_ALL = 0.3, 0.85
"""Of a supervoxel's volume, and of all supervoxels. Scans of a short field of view show at most 0.7 of them so, scans
with a wrong spacing at least 0.9."""
LEAST_MASS = 1.0
"""Voxels that a supervoxel must have in both scans to count."""


@dataclass(frozen=True, eq=False)
class CommonSupervoxels:
    """The supervoxels of the fixed and the moving scan, (layers, classes, 4) as in `Description`, and what
    `compare_mirror_image` says of the moving one."""

    fixed: torch.Tensor
    moving: torch.Tensor
    mirror_advantage: float = 0.0

    @cached_property
    def affine(self) -> np.ndarray | None:
        """The affine map between both, 4x4 world; None where they have too little in common."""
        return fit_affine(self.fixed, self.moving)

    @cached_property
    def found(self) -> float:
        """The share, 0 to 1, of the supervoxels of the scan with fewer of them that the other scan shows in the same
        place; each counts by its volume. 0 where the network tells no places apart, as an untrained one."""
        a, b = (scan[:, 1:].reshape(-1, 4).cpu().double() for scan in (self.fixed, self.moving))
        mass = torch.minimum(a[:, 0], b[:, 0])
        weight = mass[:, None] / mass.sum().clamp_min(1e-9)
        centre = (weight * a[:, 1:]).sum(0)
        if float((weight * (a[:, 1:] - centre).square()).sum()) < NEAR_MM**2:
            return 0.0
        if self.affine is None:
            return 0.0
        distance = (apply_affine(self.affine, a[:, 1:]) - b[:, 1:]).norm(dim=1)
        near = (mass > LEAST_MASS) & (distance < NEAR_MM)
        return float(mass[near].sum() / torch.minimum(a[:, 0].sum(), b[:, 0].sum()).clamp_min(1e-9))

    @property
    def complete(self) -> bool:
        """Whether the moving scan shows about all that the fixed scan shows: a good part of nearly each supervoxel."""
        a, b = self.fixed[:, 1:, 0], self.moving[:, 1:, 0]
        return float((a * (b > GOOD_PART * a)).sum()) > NEARLY_ALL * float(a.sum())

    @property
    def stretches(self) -> tuple[float, float, float]:
        """How much longer the target is than the template along the template's R, A and S; 1 where both are alike, and
        where there is no affine map."""
        matrix = np.eye(4) if self.affine is None else self.affine
        right, front, up = np.linalg.norm(matrix[:3, :3], axis=0).tolist()
        return right, front, up


def compare_mirror_image(net: SupervoxelNet, encoded: EncodedScan, fixed: torch.Tensor) -> float:
    """How much better the left-right mirror image of a scan fits the ``fixed`` scan's supervoxels than the scan itself.

    Positive where the mirror image fits better. It is the difference of two sums of logarithms: of the mean distance
    between the supervoxels' centres after an affine fit, and of the mean factor between their volumes. The network sees
    the mirror image as well, since what it knows of a place depends on the organs around.
    """
    image = replace(encoded.scan, hu=encoded.scan.hu.flip(0), known_region=encoded.scan.region.flip(0))
    mirrored = encode(net, image, PredictionOptions(precision=encoded.precision))
    own, other = (_misfit(fixed, locate(net, scan.thinned(THINNED))) for scan in (encoded, mirrored))
    return own - other if np.isfinite([own, other]).all() else 0.0


def _misfit(fixed: torch.Tensor, thinned: torch.Tensor) -> float:
    """Infinite where no affine map can be fitted. ``thinned``: of every `THINNED`-th voxel along each axis."""
    matrix = fit_affine(fixed, thinned)
    if matrix is None:
        return float("inf")
    a, b = (scan[:, 1:].reshape(-1, 4).cpu().double() for scan in (fixed, thinned))
    volumes = torch.stack([a[:, 0], b[:, 0] * THINNED**3])
    shared = volumes.amin(0) * (volumes.amin(0) > LEAST_MASS)
    distance = (apply_affine(matrix, a[:, 1:]) - b[:, 1:]).norm(dim=1)
    factor = (volumes + 1).log().diff(dim=0)[0].abs().clamp_max(2.0)
    return float(((shared * distance).sum() / shared.sum()).log() + (volumes[0] * factor).sum() / volumes[0].sum())
