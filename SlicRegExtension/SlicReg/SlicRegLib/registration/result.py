"""The result of a registration: the field, and what it does to images and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..geometry.field import DisplacementField, taper
from ..geometry.folding import jacobian_determinant
from ..geometry.grid import bounding_grid
from ..geometry.inverse import invert
from ..geometry.label_maps import resample_labels
from ..geometry.resampling import resample
from ..images.preparation import AIR_HU, PreparedScan
from ..images.volumes import Volume
from ..network.devices import widen
from ..network.prediction import EncodedScan
from .common_supervoxels import CommonSupervoxels

INVERSE_SPACING_MM = 4.0
"""Spacing of the inverse field's grid where it is computed from the field. At 99 % of a trunk's points both are within
0.4 mm of each other, and Slicer saves the inverse of a whole trunk in less than 10 MB."""
TAPER_MM = 30.0
"""Width of the margin around the scans over which fields fall to zero."""


@dataclass(frozen=True, eq=False)
class Views:
    """What the network saw: kept with the result, on the CPU, so that nothing is prepared twice.

    fixed: the template in its canonical frame. moving: the target, encoded in the frame in which it was compared.
    fixed_supervoxels: gives the template's, uint8, the first layer, on the network's output grid.
    """

    fixed: PreparedScan
    moving: EncodedScan
    fixed_supervoxels: Callable[[], Volume]


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of `register`. Fields and folding are computed at first use and kept.

    dense: the field template -> target over the template's canonical frame, RAS mm, the edge repeated outside.
    seconds: per stage. own_template: whether the template is the one that the model was trained with.
    views: the scans as the network saw them; common: what their supervoxels have in common. Both are None for a
    registration without a network. backward: the field target -> template over the target's canonical frame, if it was
    found together with ``dense``.
    """

    template: Volume
    target: Volume
    dense: DisplacementField
    seconds: dict[str, float]
    own_template: bool
    views: Views | None = None
    common: CommonSupervoxels | None = None
    backward: DisplacementField | None = None

    @cached_property
    def field(self) -> DisplacementField:
        """The field template -> target (fixed to moving) for a file: it resamples the target to the template, and is
        zero at its border."""
        return taper(self.dense, self.template.grid, TAPER_MM)

    @cached_property
    def inverse(self) -> DisplacementField:
        """The inverse field target -> template for a file: it resamples the template to the target, and is zero at its
        border."""
        backward = self.backward
        if backward is None:
            backward = invert(self.dense, bounding_grid([self.target.grid], INVERSE_SPACING_MM))
        return taper(backward, self.target.grid, TAPER_MM)

    @cached_property
    def folding_percent(self) -> float:
        """Where the field's Jacobian determinant is not positive at its own lattice's points (central differences), in
        per cent of the template's volume."""
        grid, scan = self.dense.grid, self.template.grid
        folded = (jacobian_determinant(self.dense) <= 0).nonzero() + 1
        voxel = scan.to_voxel(grid.to_world(widen(folded)))
        inside = ((voxel > -0.5) & (voxel < torch.tensor(scan.shape) - 0.5)).all(1)
        share = float(inside.sum()) * np.prod(grid.spacing) / np.prod(scan.spacing * scan.shape)
        return float(min(share, 1.0) * 100)

    def warped_target(self) -> Volume:
        """The target's HU on the template's grid, air outside the target."""
        hu = resample(self.target.tensor, self.target.grid, self.template.grid, self.field, fill=AIR_HU)[0]
        return Volume(hu.numpy(), self.template.grid)

    def labels_on_target(self, labels: Volume) -> Volume:
        """Carry template labels to the target's own grid through the inverse field."""
        return Volume(resample_labels(labels.data, labels.grid, self.target.grid, self.inverse), self.target.grid)

    def labels_on_template(self, labels: Volume) -> Volume:
        """Carry target labels to the template's own grid through the field."""
        return Volume(resample_labels(labels.data, labels.grid, self.template.grid, self.field), self.template.grid)
