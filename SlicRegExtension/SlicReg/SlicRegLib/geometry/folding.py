"""Where a displacement field folds or compresses, and how to smooth it there."""

from __future__ import annotations

from functools import reduce
from itertools import product

import torch
import torch.nn.functional as F

from .field import DisplacementField
from .grid import Grid


def jacobian_determinant(field: DisplacementField) -> torch.Tensor:
    """det(I + du/dx) at the inner points of the field's grid by central differences, (I-2, J-2, K-2)."""
    matrix = torch.tensor(field.grid.affine[:3, :3].tolist()).to(field.vectors)
    inner = slice(1, -1)
    columns = []  # how the displaced point moves along each voxel axis, (3, I-2, J-2, K-2)
    for axis in range(3):
        before, after = (
            field.vectors[tuple([slice(None)] + [slice(s, s - 2 or None) if a == axis else inner for a in range(3)])]
            for s in (0, 2)
        )
        columns.append((after - before).div_(2).add_(matrix[:, axis].view(3, 1, 1, 1)))
    x, y, z = columns
    return (x * torch.linalg.cross(y, z, dim=0)).sum(0) / torch.linalg.det(matrix)


def jacobian(field: DisplacementField) -> torch.Tensor:
    """I + du/dx on the field's grid, (I, J, K, 3, 3): row = component of u, column = world axis; one-sided at the
    border."""
    per_voxel = torch.stack(torch.gradient(field.vectors, dim=(1, 2, 3)), -1).movedim(0, -2)  # (I, J, K, u, voxel)
    return per_voxel @ _voxels_per_mm(field.grid).to(per_voxel) + torch.eye(3).to(per_voxel)


def least_stretch(field: DisplacementField) -> torch.Tensor:
    """How strongly p -> p + u(p) compresses at each point of the field's grid, (I, J, K): 1 is not at all, below 0 it
    folds.

    sqrt(3) det(J) / |cof(J)| (Frobenius), the smallest over the eight cells that meet at the point, with the edge
    repeated outside the grid. Where it is s, the inverse stretches by at most sqrt(3) / s.
    """
    return _least_stretch(_pad_edge(field.vectors), _voxels_per_mm(field.grid))


def _least_stretch(vectors: torch.Tensor, voxels_per_mm: torch.Tensor) -> torch.Tensor:
    """`least_stretch` at the inner points of ``vectors`` (3, I, J, K)."""
    voxels_per_mm = voxels_per_mm.to(vectors)
    identity = torch.eye(3).to(vectors).view(3, 3, 1, 1, 1)
    inner = [slice(None), *[slice(1, -1)] * 3]
    sides = []  # per axis: differences to the voxel before and to the voxel after
    for axis in (1, 2, 3):
        steps = vectors[tuple(slice(None) if a == axis else s for a, s in enumerate(inner))].diff(dim=axis)
        sides.append((steps.narrow(axis, 0, steps.shape[axis] - 1), steps.narrow(axis, 1, steps.shape[axis] - 1)))

    def stretch_of_cell(per_voxel: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x, y, z = (sum(per_voxel[k] * voxels_per_mm[k, axis] for k in range(3)) + identity[axis] for axis in range(3))
        cofactors = [torch.linalg.cross(y, z, dim=0), torch.linalg.cross(z, x, dim=0), torch.linalg.cross(x, y, dim=0)]
        return (x * cofactors[0]).sum(0) / sum(c.square().sum(0) for c in cofactors).sqrt().clamp_min(1e-12)

    return reduce(torch.minimum, map(stretch_of_cell, product(*sides))) * 3**0.5


def _voxels_per_mm(grid: Grid) -> torch.Tensor:
    """(3, 3) float64: column a is a step of 1 mm along world axis a, in voxels; turns differences between voxels into
    derivatives by world coordinates."""
    return grid.vectors_to_voxel(torch.eye(3, dtype=torch.float64)).T.contiguous()


def _pad_edge(vectors: torch.Tensor) -> torch.Tensor:
    return F.pad(vectors[None], (1,) * 6, mode="replicate")[0]


def unfold(field: DisplacementField, stretch: float = 0.5, steps: int = 500) -> DisplacementField:
    """Smooth ``field`` where it folds or compresses to less than ``stretch`` (see `least_stretch`), and only there.

    The result has an inverse that a grid can represent. Each step replaces the vectors around such points by the mean
    of their neighbours and looks again only where the last step changed something. Folds that remain after ``steps``
    are left.
    """
    vectors, voxels_per_mm = field.vectors.clone(), _voxels_per_mm(field.grid)
    low, high = torch.zeros(3, dtype=torch.long), torch.tensor(field.grid.shape)
    for _ in range(steps):
        box = (slice(None), *(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))
        padded_box = (slice(None), *(slice(int(a), int(b) + 2) for a, b in zip(low, high, strict=True)))
        around = _pad_edge(vectors)[padded_box]
        bad = _least_stretch(around, voxels_per_mm) < stretch
        if not bad.any():
            break
        weight = F.avg_pool3d(F.max_pool3d(bad[None, None].to(vectors), 3, 1, 1), 3, 1, 1)[0]
        vectors[box] += weight * (F.avg_pool3d(around[None], 3, 1)[0] - vectors[box])
        where = bad.nonzero().cpu() + low
        # a step moves points within 2 voxels, which changes the stretch within 3
        low = (where.amin(0) - 4).clamp_min(0)
        high = torch.minimum(where.amax(0) + 5, torch.tensor(field.grid.shape))
    return DisplacementField(vectors, field.grid)
