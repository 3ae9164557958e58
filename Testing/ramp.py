"""A study whose samples are known: HU and supervoxel of a voxel are both its index along an axis."""

from types import SimpleNamespace

import numpy as np
import torch

from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.preparation import PreparedScan


def ramp_study(axis: int, vectors_mm=(0.0, 0.0, 0.0)) -> tuple[SimpleNamespace, Grid]:
    """The study, and the grid of its scans. The teacher's field is constant."""
    grid = Grid.centred((5, -3, 8), (32, 32, 32), 4.0)
    index = grid.voxels()[..., axis]
    control = grid.pooled(8)
    field = DisplacementField(torch.tensor(vectors_mm).view(3, 1, 1, 1).expand(3, *control.shape), control)
    return SimpleNamespace(
        scans=["a", "b"],
        layers=lambda: index[None].numpy().astype(np.uint8),
        template=lambda: PreparedScan("t", index, grid),
        scan=lambda name: (PreparedScan(name, index, grid), field),
    ), grid
