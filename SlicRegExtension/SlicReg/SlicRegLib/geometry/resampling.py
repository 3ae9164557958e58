"""Images and label maps resampled onto another grid, directly or through a displacement field."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from .field import DisplacementField
from .grid import Grid, apply_affine
from .sampling import sample, sample_normalised

_SLAB_VOXELS = 2_000_000  # voxels resampled at a time; bounds memory on large scans


def resample(
    volume: torch.Tensor,
    grid: Grid,
    target: Grid,
    field: DisplacementField | None = None,
    mode="bilinear",
    fill: float | None = None,
) -> torch.Tensor:
    """``volume`` (C, I, J, K) on ``grid`` pulled onto ``target`` through ``field``; through a field in bounded memory."""
    places = _along_axes(grid, target) if field is None and mode == "bilinear" else None
    if places:
        return _resample_along_axes(volume, places, fill)
    step = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    slabs = []
    for start in range(0, target.shape[0], step):
        slab = target.slab(start, start + step)
        if field:
            slabs.append(sample(volume, grid, field(slab.points(volume.device)), mode, fill))
        else:  # from voxel to voxel in one step
            matrix = (grid.normalised_from_world @ slab.affine)[[2, 1, 0, 3]]
            slabs.append(
                sample_normalised(volume, apply_affine(matrix, slab.voxels(volume.device)).to(volume.dtype), mode, fill)
            )
    return torch.cat(slabs, 1)


def _along_axes(grid: Grid, target: Grid) -> list[tuple[int, torch.Tensor]] | None:
    """For each axis of ``target``, the axis of ``grid`` that it runs along and where on it its voxels lie; None for other grids."""
    matrix = grid.voxel_from_world @ target.affine
    sources = np.abs(matrix[:3, :3]).argmax(0)
    rest = np.abs(matrix[:3, :3]).copy()
    rest[sources, range(3)] = 0
    if sorted(sources) != [0, 1, 2] or (rest @ target.shape).max() > 1e-3:  # voxels
        return None
    return [
        (int(source), torch.from_numpy(matrix[source, axis] * np.arange(n) + matrix[source, 3]))
        for axis, (source, n) in enumerate(zip(sources, target.shape))
    ]


def _resample_along_axes(
    volume: torch.Tensor, places: list[tuple[int, torch.Tensor]], fill: float | None
) -> torch.Tensor:
    """Trilinear interpolation axis by axis, many times faster than point by point: parallel grids allow it."""
    values = volume.permute(0, *(1 + source for source, _ in places))
    order = sorted(
        range(3), key=lambda axis: len(places[axis][1]) / values.shape[1 + axis]
    )  # the axis that shrinks most first
    for axis in order:
        n, place = values.shape[1 + axis], places[axis][1].to(volume.device)
        low = place.clamp(0, n - 1).floor().long().clamp_max(max(n - 2, 0))
        share = (place.clamp(0, n - 1) - low).to(volume.dtype).view([-1 if a == axis + 1 else 1 for a in range(4)])
        first = values.index_select(1 + axis, low)
        values = first.lerp_(values.index_select(1 + axis, (low + 1).clamp_max(n - 1)), share.expand_as(first))
    if fill is not None:
        for axis, (source, place) in enumerate(places):
            outside = ((place < -0.5) | (place > volume.shape[1 + source] - 0.5)).nonzero()[:, 0].to(volume.device)
            values.index_fill_(1 + axis, outside, fill)
    return values.contiguous()


def resample_labels(labels: np.ndarray, grid: Grid, target: Grid, field: DisplacementField | None = None) -> np.ndarray:
    """Label map (I, J, K) of integers pulled onto ``target``: one-hot, linear, arg max; 0 outside.

    One interpolation of each label's indicator and an arg max; nearest-neighbour sampling would move
    surfaces by up to half a voxel and change volumes. Each label is sampled only near where it is.
    """
    values = np.unique(labels[labels != 0])
    number = np.zeros(int(values.max()) + 1 if len(values) else 1, np.int32)
    number[values] = np.arange(1, len(values) + 1)
    parts = [_indicator(labels, grid, value, box) for value, box in zip(values, ndimage.find_objects(number[labels]))]
    result = np.zeros(target.shape, labels.dtype)
    step = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    for start in range(0, target.shape[0], step):
        points = target.slab(start, start + step).points().reshape(-1, 3)
        points = field(points) if field else points
        voxel = grid.to_voxel(points)
        inside = ((voxel > -0.5) & (voxel < torch.tensor(grid.shape) - 0.5)).all(1)
        found = torch.zeros(len(points), dtype=torch.int32)  # index into values, 1 up
        best, background = torch.zeros(len(points)), torch.ones(len(points))
        for index, (indicator, part, low, high) in enumerate(parts, 1):
            near = (inside & (voxel > low).all(1) & (voxel < high).all(1)).nonzero()[:, 0]
            share = sample(indicator, part, points[near])[0]
            wins = share > best[near]
            found[near[wins]], best[near[wins]] = index, share[wins]
            background[near] -= share
        found[best <= background + 1e-6] = 0
        slab = result[start : start + step]
        slab[...] = np.concatenate([[0], values]).astype(labels.dtype)[found.numpy()].reshape(slab.shape)
    return result


def _indicator(labels: np.ndarray, grid: Grid, value: int, box: tuple[slice, ...]):
    """Where ``labels`` are ``value``, (1, i, j, k), on the part of the grid around ``box``; lowest and highest voxel of its reach."""
    box = tuple(slice(max(0, part.start - 1), min(n, part.stop + 1)) for part, n in zip(box, labels.shape))
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(np.array([float(part.start) for part in box]))
    indicator = torch.from_numpy((labels[box] == value).astype(np.float32))[None]
    low, high = (torch.tensor([float(getattr(part, end)) for part in box]) for end in ("start", "stop"))
    return indicator, Grid(indicator.shape[1:], affine), low - 1, high
