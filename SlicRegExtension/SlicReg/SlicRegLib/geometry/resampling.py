"""Images and label maps resampled onto another grid, directly or through a displacement field."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

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
        if field:
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


def resample_labels(labels: np.ndarray, grid: Grid, target: Grid, field: DisplacementField | None = None) -> np.ndarray:
    """Label map (I, J, K) of integers resampled to ``target``: one-hot, linear, arg max; 0 outside ``grid``.

    Nearest-neighbour sampling would move surfaces by up to half a voxel and change volumes. Each label is sampled only
    near where it is.
    """
    values = np.unique(labels[labels != 0])
    number = np.zeros(int(values.max()) + 1 if len(values) else 1, np.int32)
    number[values] = np.arange(1, len(values) + 1)
    boxes = ndimage.find_objects(number[labels])
    parts = [_indicator(labels, grid, value, box) for value, box in zip(values, boxes, strict=True)]
    result = np.zeros(target.shape, labels.dtype)
    step = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    for start in range(0, target.shape[0], step):
        points = target.slab(start, start + step).points().reshape(-1, 3)
        points = field(points) if field else points
        voxel = grid.to_voxel(points)
        inside = ((voxel > -0.5) & (voxel < torch.tensor(grid.shape) - 0.5)).all(1)
        winner = torch.zeros(len(points), dtype=torch.int32)  # index into values, counted from 1
        best, background = torch.zeros(len(points)), torch.ones(len(points))
        for index, (indicator, part, low, high) in enumerate(parts, 1):
            near = (inside & (voxel > low).all(1) & (voxel < high).all(1)).nonzero()[:, 0]
            share = sample(indicator, part, points[near])[0]
            wins = share > best[near]
            winner[near[wins]], best[near[wins]] = index, share[wins]
            background[near] -= share
        winner[best <= background + 1e-6] = 0
        slab = result[start : start + step]
        slab[...] = np.concatenate([[0], values]).astype(labels.dtype)[winner.numpy()].reshape(slab.shape)
    return result


def _indicator(
    labels: np.ndarray, grid: Grid, value: int, box: tuple[slice, ...]
) -> tuple[torch.Tensor, Grid, torch.Tensor, torch.Tensor]:
    """Where ``labels`` are ``value``: 0 or 1, (1, i, j, k), the part of the grid that it covers, ``box`` and a voxel
    around it, and the lowest and highest voxel (3,) of the whole grid between which it is not zero."""
    box = tuple(slice(max(0, part.start - 1), min(n, part.stop + 1)) for part, n in zip(box, labels.shape, strict=True))
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(np.array([float(part.start) for part in box]))
    indicator = torch.from_numpy((labels[box] == value).astype(np.float32))[None]
    low, high = (torch.tensor([float(getattr(part, end)) for part in box]) for end in ("start", "stop"))
    _, i, j, k = indicator.shape
    return indicator, Grid((i, j, k), affine), low - 1, high
