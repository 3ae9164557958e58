"""What the labels of a cohort agree on, in the space of its template: a share of votes for each organ and voxel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..geometry.label_maps import LabelMap, LabelPart, cut_part
from ..images.arrays import Arrays, take_affine
from ..images.volumes import Volume
from .organs import Organ, choose_dtype, count_votes, pack_shares, unpack_organs


@dataclass(frozen=True, eq=False)
class Consensus:
    """All organs of a cohort on ``grid``, in the space of its template."""

    grid: Grid
    organs: tuple[Organ, ...]

    @cached_property
    def _map(self) -> LabelMap:
        parts = [_as_part(organ, self.grid) for organ in self.organs]
        limits = tuple(organ.threshold for organ in self.organs)
        return LabelMap(self.grid, parts, choose_dtype(self.organs), limits)

    def on(self, grid: Grid, field: DisplacementField | None = None) -> Volume:
        """The labels on another grid, directly or through a field from there to the template.

        The shares are interpolated, not labels: each voxel belongs to the organ whose share exceeds its threshold by
        the largest factor, and to none where no share does.
        """
        return Volume(self._map.on(grid, field), grid)

    @cached_property
    def labels(self) -> Volume:
        """The labels on their own grid."""
        return Volume(count_votes(self.grid.shape, self.organs), self.grid)


def _as_part(organ: Organ, grid: Grid) -> LabelPart:
    shares = torch.from_numpy(organ.shares.astype(np.float32) / 255)
    return cut_part(organ.value, shares, grid, organ.first)


def pack_consensus(consensus: Consensus) -> Arrays:
    """Grid and shares as arrays of a file; the rest is in `describe_organs`."""
    shape = np.array(consensus.grid.shape, np.int32)
    return {"affine": consensus.grid.affine, "shape": shape, **pack_shares(consensus.organs)}


def unpack_consensus(content: Arrays, described: Any) -> Consensus:
    """described: `describe_organs`, as a file has them. Raises ArchiveError for what is no consensus."""
    shape, organs = unpack_organs(content, described)
    return Consensus(Grid(shape, take_affine(content)), organs)
