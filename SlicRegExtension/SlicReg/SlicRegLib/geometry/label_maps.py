"""Label maps: where each label is, and label maps resampled onto another grid, directly or through a displacement
field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage

from .field import DisplacementField
from .grid import Grid
from .sampling import sample
from .threads import one_thread

Box = tuple[slice, slice, slice]
"""Part of an array: array[box]."""

_SLAB_VOXELS = 2_000_000  # voxels resampled at a time; bounds memory on large scans
_ROUNDING_MM = 0.05  # of float32 points, generously
_CORNERS = np.array([[number >> axis & 1 for axis in range(3)] for number in range(8)], bool)


def find_boxes(labels: np.ndarray) -> dict[int, Box]:
    """The box around each label of a map (I, J, K) of whole numbers; 0 is background."""
    crop = find_box(labels != 0)
    if crop is None:
        return {}
    part = labels[crop]
    values = np.unique(part[part != 0])
    number = np.zeros(int(values.max()) + 1, np.int32)
    number[values] = np.arange(1, len(values) + 1)
    boxes = ndimage.find_objects(number[part])
    return {int(value): _shift(box, crop) for value, box in zip(values, boxes, strict=True)}


def find_box(mask: np.ndarray) -> Box | None:
    """The box around what is True in ``mask`` (I, J, K) bool; None where nothing is."""
    box = []
    for axis in range(3):
        where = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis)))
        if not len(where):
            return None
        box.append(slice(int(where[0]), int(where[-1]) + 1))
        mask = mask[(slice(None),) * axis + (box[-1],)]
    return box[0], box[1], box[2]


def measure_volumes(labels: np.ndarray, grid: Grid) -> dict[int, tuple[float, bool]]:
    """Of each label of a map (I, J, K) of whole numbers: its volume in ml, and whether the map shows all of it, which
    it may not where the label reaches the border."""
    voxel_ml, sizes, at_border = float(np.prod(grid.spacing)) / 1000, np.bincount(labels.ravel()), set[int]()
    for axis in range(3):
        for end in (0, -1):
            at_border |= set(np.unique(labels.take(end, axis)).tolist())
    return {
        int(value): (float(sizes[value]) * voxel_ml, value not in at_border) for value in np.flatnonzero(sizes) if value
    }


def resample_labels(labels: np.ndarray, grid: Grid, target: Grid, field: DisplacementField | None = None) -> np.ndarray:
    """`LabelMap.on`, of a label map that is resampled once."""
    return cut_labels(labels, grid).on(target, field)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The labels of a map on ``grid``, each cut out of it, ready to be resampled to any number of grids.

    limits: one for each part, where the parts hold shares of votes instead of ones: a voxel belongs to the label whose
    share exceeds its limit by the largest factor. None: to the one with the largest share, background included.
    """

    grid: Grid
    parts: list[LabelPart]
    dtype: np.dtype
    limits: tuple[float, ...] | None = None

    @one_thread()
    def on(self, target: Grid, field: DisplacementField | None = None) -> np.ndarray:
        """The map on ``target``, (I, J, K) of its own type: one-hot, linear, arg max; 0 outside ``grid``.

        Nearest-neighbour sampling would move surfaces by up to half a voxel and change volumes. Only the voxels that
        some label can reach are looked at, and each label only where it is.
        """
        parts, places = find_reach(self._scaled, self.grid, target, field)
        result = np.zeros(target.shape, self.dtype)
        step = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
        for start in range(0, target.shape[0], step):
            slab = target.slab(start, start + step)
            here = [n for n, (i, _, _) in enumerate(places) if i.start < start + step and i.stop > start]
            reached = np.zeros(slab.shape, bool)
            for i, j, k in (places[n] for n in here):
                reached[max(0, i.start - start) : i.stop - start, j, k] = True
            index = np.nonzero(reached)
            if len(index[0]):
                points = slab.to_world(torch.from_numpy(np.stack(index, -1).astype(np.float32)))
                near = [parts[n] for n in here]
                winner = _find_winner(near, self.grid, field(points) if field else points, self.limits is None)
                values = np.array([0, *(part.value for part in near)]).astype(self.dtype)
                result[start : start + step][index] = values[winner.numpy()]
        return result

    @cached_property
    def _scaled(self) -> list[LabelPart]:
        """The parts, such that a share at its limit is 1."""
        if self.limits is None:
            return self.parts
        return [
            replace(part, indicator=part.indicator / limit) for part, limit in zip(self.parts, self.limits, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class LabelPart:
    """A label cut out of its map: 0 to 1 (1, i, j, k) with a voxel around it, its grid, and the lowest and the highest
    voxel (3,) of the whole map's grid between which it is not zero."""

    value: int
    indicator: torch.Tensor
    grid: Grid
    low: torch.Tensor
    high: torch.Tensor


def cut_labels(labels: np.ndarray, grid: Grid) -> LabelMap:
    """Of a label map (I, J, K) of whole numbers; 0 is background."""
    parts = [_cut_out(labels, grid, value, box) for value, box in find_boxes(labels).items()]
    return LabelMap(grid, parts, labels.dtype)


def _cut_out(labels: np.ndarray, grid: Grid, value: int, box: Box) -> LabelPart:
    wide = tuple(
        slice(max(0, part.start - 1), min(n, part.stop + 1)) for part, n in zip(box, labels.shape, strict=True)
    )
    shares = torch.from_numpy((labels[wide] == value).astype(np.float32))
    return cut_part(value, shares, grid, [part.start for part in wide])


def cut_part(value: int, shares: torch.Tensor, grid: Grid, first: Sequence[int]) -> LabelPart:
    """A label's ``shares`` (i, j, k), 0 to 1, in the part of ``grid`` that begins at voxel ``first``; 0 at its border
    unless that is the grid's."""
    low = torch.tensor([float(n) for n in first])
    high = low + torch.tensor([float(n) for n in shares.shape])
    return LabelPart(value, shares[None], grid.cropped(first, shares.shape), low - 1, high)


def _find_winner(parts: list[LabelPart], grid: Grid, points: torch.Tensor, shared: bool) -> torch.Tensor:
    """Number in ``parts`` (from 1) of the label with the largest share at world points (n, 3) mm; 0 is background.

    shared: whether the background has what the labels leave of 1; else it has 1.
    """
    voxel = grid.to_voxel(points)
    axes = voxel.T.contiguous()  # axis by axis, which is compared faster
    inside = _is_between(axes, torch.full((3,), -0.5), torch.tensor(grid.shape) - 0.5)
    winner = torch.zeros(len(points), dtype=torch.int32)
    best, background = torch.zeros(len(points)), torch.ones(len(points))
    for number, part in enumerate(parts, 1):
        near = (inside & _is_between(axes, part.low, part.high)).nonzero()[:, 0]
        share = sample(part.indicator, part.grid, points[near])[0]
        wins = share > best[near]
        winner[near[wins]], best[near[wins]] = number, share[wins]
        if shared:
            background[near] -= share
    winner[best <= background + 1e-6] = 0
    return winner


def _is_between(axes: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Whether points, (3, n), lie inside a box."""
    found = torch.ones(axes.shape[1], dtype=torch.bool)
    for values, least, most in zip(axes, low, high, strict=True):
        found &= values > least
        found &= values < most
    return found


def find_reach(
    parts: list[LabelPart], grid: Grid, target: Grid, field: DisplacementField | None
) -> tuple[list[LabelPart], list[Box]]:
    """Those parts that can reach ``target``, and for each a box of it with all the voxels that the part can reach."""
    if not parts:
        return [], []
    extents = [_find_extent(grid, part.low.numpy(), part.high.numpy()) for part in parts]
    if field:
        all_parts = np.min([low for low, _ in extents], 0), np.max([high for _, high in extents], 0)
        around = _surround(field.grid, *_find_extent(target, np.zeros(3), np.array(target.shape) - 1.0))
        region = _pull_back(*all_parts, field, around)[1]
        extents = [_pull_back(*extent, field, region)[0] for extent in extents]
    reach = {number: box for number, extent in enumerate(extents) if (box := _find_voxels(target, *extent))}
    return [parts[number] for number in reach], list(reach.values())


def _find_extent(grid: Grid, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest world point (3,) mm of the box between two voxels."""
    corners = grid.to_world(_list_corners(low, high))
    return corners.min(0) - _ROUNDING_MM, corners.max(0) + _ROUNDING_MM


def _pull_back(
    low: np.ndarray, high: np.ndarray, field: DisplacementField, region: Box
) -> tuple[tuple[np.ndarray, np.ndarray], Box]:
    """The extent of all points which ``field`` moves between ``low`` and ``high``, world (3,) mm, and the part of the
    field that they lie in. region: a part that holds them.

    A point of the region moves by no more and no less than the region's nodes, so it comes from near by: a smaller
    region, and so on.
    """
    while True:
        i, j, k = region
        least, most = field.vectors[:, i, j, k].flatten(1).aminmax(dim=1)
        extent = low - most.double().numpy(), high - least.double().numpy()
        smaller = _intersect(_surround(field.grid, *extent), region)
        if smaller is None or smaller == region:  # None: nothing comes from there
            return extent, region
        region = smaller


def _find_voxels(grid: Grid, low: np.ndarray, high: np.ndarray) -> Box | None:
    """The voxels around the box between two world points (3,) mm; None where it lies outside the grid."""
    corners = grid.to_voxel(_list_corners(low, high))
    first, last = np.floor(corners.min(0)), np.ceil(corners.max(0))
    if (last < 0).any() or (first > np.array(grid.shape) - 1).any():
        return None
    return _clip(first, last, grid)


def _surround(grid: Grid, low: np.ndarray, high: np.ndarray) -> Box:
    """`_find_voxels`; for what lies outside the grid the nearest ones, whose value is repeated there."""
    corners = grid.to_voxel(_list_corners(low, high))
    return _clip(np.floor(corners.min(0)), np.ceil(corners.max(0)), grid)


def _list_corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The corners (8, 3) of the box between two points (3,)."""
    return np.where(_CORNERS, high, low)


def _clip(first: np.ndarray, last: np.ndarray, grid: Grid) -> Box:
    most = np.array(grid.shape) - 1
    i, j, k = zip(
        np.clip(first, 0, most).astype(int).tolist(), np.clip(last, 0, most).astype(int).tolist(), strict=True
    )
    return slice(i[0], i[1] + 1), slice(j[0], j[1] + 1), slice(k[0], k[1] + 1)


def _intersect(a: Box, b: Box) -> Box | None:
    i, j, k = (slice(max(one.start, other.start), min(one.stop, other.stop)) for one, other in zip(a, b, strict=True))
    return (i, j, k) if all(part.start < part.stop for part in (i, j, k)) else None


def _shift(box: tuple[slice, ...], by: Box) -> Box:
    i, j, k = (slice(part.start + b.start, part.stop + b.start) for part, b in zip(box, by, strict=True))
    return i, j, k
