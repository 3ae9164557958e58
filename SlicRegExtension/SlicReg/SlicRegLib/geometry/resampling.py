"""Images resampled onto another grid, directly or through a displacement field."""

from __future__ import annotations

import numpy as np
import torch

from .field import DisplacementField
from .grid import Grid, apply_affine
from .sampling import Interpolation, sample, sample_normalised

_SLAB_VOXELS = 2_000_000  # voxels resampled at a time; bounds memory on large scans
AxisPositions = list[tuple[int, torch.Tensor]]
"""For each axis of a target grid: the source axis that it runs along, and where its voxels lie on it (float64)."""


def resample(
    volume: torch.Tensor,
    grid: Grid,
    target: Grid,
    field: DisplacementField | None = None,
    mode: Interpolation = "bilinear",
    fill: float | None = None,
) -> torch.Tensor:
    """``volume`` (C, I, J, K) on ``grid`` resampled to ``target``: the value at p is taken at ``field(p)``.

    fill: the value outside ``grid``; None repeats the edge. Works slab by slab, so that memory is bounded.
    """
    positions = align_axes(grid, target) if field is None and mode == "bilinear" else None
    if positions:
        return resample_along_axes(volume, positions, fill)
    step = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    slabs = []
    for start in range(0, target.shape[0], step):
        slab = target.slab(start, start + step)
        if field and (lattice := align_axes(field.grid, slab)):
            vectors = interpolate_along_axes(field.vectors.to(volume), lattice)
            slabs.append(sample_normalised(volume, _move(grid, slab, vectors), mode, fill))
        elif field:
            slabs.append(sample(volume, grid, field(slab.points(volume.device)), mode, fill))
        else:  # from voxel to voxel in one step
            matrix = (grid.normalised_from_world @ slab.affine)[[2, 1, 0, 3]]
            coordinates = apply_affine(matrix, slab.voxels(volume.device)).to(volume.dtype)
            slabs.append(sample_normalised(volume, coordinates, mode, fill))
    return torch.cat(slabs, 1)


def align_axes(grid: Grid, target: Grid) -> AxisPositions | None:
    """Which axis of ``grid`` each axis of ``target`` runs along, and where its voxels lie on it; None where the grids
    are not parallel (to a thousandth of a voxel). Rounded, so that the order and the direction in which the axes are
    stored do not matter."""
    matrix = grid.voxel_from_world @ target.affine
    sources = np.abs(matrix[:3, :3]).argmax(0)
    rest = np.abs(matrix[:3, :3]).copy()
    rest[sources, range(3)] = 0
    if sorted(sources) != [0, 1, 2] or (rest @ target.shape).max() > 1e-3:  # voxels
        return None
    return [
        (int(source), torch.from_numpy(np.round(matrix[source, axis] * np.arange(n) + matrix[source, 3], 9)))
        for axis, (source, n) in enumerate(zip(sources, target.shape, strict=True))
    ]


def resample_along_axes(volume: torch.Tensor, positions: AxisPositions, fill: float | None) -> torch.Tensor:
    """Trilinear interpolation axis by axis, which parallel grids allow: faster than point by point
    (``benchmarks/kernels.py``)."""
    values = volume.permute(0, *(1 + source for source, _ in positions))
    # the axis that shrinks most comes first
    order = sorted(range(3), key=lambda axis: len(positions[axis][1]) / values.shape[1 + axis])
    for axis in order:
        n, position = values.shape[1 + axis], positions[axis][1].to(volume.device)
        backward = bool(position[0] > position[-1])  # then count from the other end, which gives the same bits
        position = (n - 1 - position if backward else position).clamp(0, n - 1)
        low = position.floor().long().clamp_max(max(n - 2, 0))
        share = (position - low).to(volume.dtype).view([-1 if a == axis + 1 else 1 for a in range(4)])
        ends = [n - 1 - end if backward else end for end in (low, (low + 1).clamp_max(n - 1))]
        first = values.index_select(1 + axis, ends[0])
        values = first.lerp_(values.index_select(1 + axis, ends[1]), share.expand_as(first))
    if fill is not None:
        for axis, (source, position) in enumerate(positions):
            beyond = (position < -0.5) | (position > volume.shape[1 + source] - 0.5)
            values.index_fill_(1 + axis, beyond.nonzero()[:, 0].to(volume.device), fill)
    return values.contiguous()


def interpolate_along_axes(volume: torch.Tensor, positions: AxisPositions) -> torch.Tensor:
    """Trilinear values of ``volume`` (C, I, J, K) at ``positions``, the edge repeated: one product with a matrix for
    each axis, from a coarse lattice such as a field's faster than `resample_along_axes`."""
    values, matrices = volume.permute(0, *(1 + source for source, _ in positions)), []
    for axis, (_, position) in enumerate(positions):
        matrices.append(_interpolation_matrix(values.shape[1 + axis], position).to(volume))
    values = (matrices[0] @ values.flatten(2)).unflatten(2, values.shape[2:])
    return torch.matmul(matrices[1], values) @ matrices[2].T


def _move(grid: Grid, target: Grid, vectors: torch.Tensor) -> torch.Tensor:
    """Normalised coordinates on ``grid``, (I, J, K, 3) in the order of ``grid_sample``, of the voxels of ``target``
    moved by ``vectors`` (3, I, J, K) mm."""
    from_voxel = (grid.normalised_from_world @ target.affine)[[2, 1, 0]]
    from_vector = grid.normalised_from_world[[2, 1, 0], :3].tolist()
    moved = vectors.new_empty(*target.shape, 3)
    for row in range(3):
        i, j, k = (
            torch.from_numpy(from_voxel[row, axis] * np.arange(n) + (from_voxel[row, 3] if axis == row else 0)).to(
                vectors
            )
            for axis, n in enumerate(target.shape)
        )
        torch.add(i[:, None, None] + j[:, None] + k, vectors[0], alpha=from_vector[row][0], out=moved[..., row])
        moved[..., row].add_(vectors[1], alpha=from_vector[row][1]).add_(vectors[2], alpha=from_vector[row][2])
    return moved


def average_along_axes(volume: torch.Tensor, positions: AxisPositions, step: int, fill: float) -> torch.Tensor:
    """Trilinear values of ``volume`` (I, J, K) at ``positions``, averaged over step^3 of them; ``fill`` outside.

    Both are linear and work axis by axis, so that each axis takes one product with a matrix. The axes are first laid in
    the target's order and direction: then it does not matter, to the last bit, how they were stored.
    """
    values, matrices = volume.permute([source for source, _ in positions]), []
    for axis, (_, position) in enumerate(positions):
        n = values.shape[axis]
        if position[0] > position[-1]:
            values, position = values.flip(axis), n - 1 - position
        matrices.append(_averaging_matrix(n, position.to(volume.device), step).to(volume.dtype))
    values = values.contiguous() - fill
    # the axis that shrinks most comes first
    for axis in sorted(range(3), key=lambda axis: matrices[axis].shape[0] / matrices[axis].shape[1]):
        if axis == 0:
            values = (matrices[0] @ values.flatten(1)).unflatten(1, values.shape[1:])
        else:
            values = torch.matmul(matrices[1], values) if axis == 1 else values @ matrices[2].T
    return values + fill


def _averaging_matrix(n: int, position: torch.Tensor, step: int) -> torch.Tensor:
    """(m, n): `_interpolation_matrix` at ``position`` (m * step,), 0 outside the voxels' boxes, and then the means over
    ``step`` rows."""
    within = (position >= -0.5) & (position <= n - 0.5)
    return (_interpolation_matrix(n, position) * within[:, None]).unflatten(0, (-1, step)).mean(1)


def _interpolation_matrix(n: int, position: torch.Tensor) -> torch.Tensor:
    """(m, n): linear interpolation of n voxels at ``position`` (m,), the edge repeated."""
    position = position.clamp(0, n - 1)
    low = position.floor().long().clamp_max(max(n - 2, 0))
    share, row = position - low, torch.arange(len(position), device=position.device)
    matrix = torch.zeros(len(position), n, dtype=position.dtype, device=position.device)
    matrix[row, low] = 1 - share
    matrix[row, (low + 1).clamp_max(n - 1)] += share
    return matrix
