"""Overlap and surface distance of label maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from ..geometry.grid import Grid
from ..geometry.label_maps import find_boxes


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """2 |a and b| / (|a| + |b|) of two masks (bool, equal shapes); nan where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return float(2 * np.logical_and(a, b).sum() / total) if total else float("nan")


def hd95(a: np.ndarray, b: np.ndarray, spacing: ArrayLike) -> float:
    """95th percentile of the surface distances between two masks (bool), in mm; nan where one is empty.

    The surface of a mask are its voxels with a face neighbour outside. The distances from each surface to the other are
    pooled. spacing: voxel edges (3,) mm.
    """
    if not a.any() or not b.any():
        return float("nan")
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    a, b = a[box], b[box]
    surface_a, surface_b = (mask & ~ndimage.binary_erosion(mask) for mask in (a, b))
    to_b, to_a = (ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in (surface_b, surface_a))
    return float(np.percentile(np.concatenate([to_b[surface_a], to_a[surface_b]]), 95))


def compare_labels(a: np.ndarray, b: np.ndarray, grid: Grid, values: Iterable[int]) -> dict[str, Any]:
    """Dice and HD95 of each label in ``values``, of two label maps on ``grid``.

    {"dice": {"1": x, ...}, "mean_dice": x, "hd95_mm": {"1": x, ...}, "mean_hd95_mm": x}. A label that one side lacks
    has Dice 0 and no surface distance (None), which the mean leaves out.
    """
    overlap, distance = {}, {}
    boxes_a, boxes_b = find_boxes(a), find_boxes(b)
    for value in values:
        found = [boxes[value] for boxes in (boxes_a, boxes_b) if value in boxes]
        box = tuple(  # everywhere, if neither side has it
            slice(min(part.start for part in parts), max(part.stop for part in parts))
            for parts in zip(*found, strict=True)
        )
        one, other = a[box] == value, b[box] == value
        overlap[str(value)] = dice(one, other)
        distance[str(value)] = hd95(one, other, grid.spacing)
    finite = [d for d in distance.values() if np.isfinite(d)]
    return {
        "dice": overlap,
        "mean_dice": float(np.mean(list(overlap.values()))) if overlap else None,
        "hd95_mm": {k: d if np.isfinite(d) else None for k, d in distance.items()},
        "mean_hd95_mm": float(np.mean(finite)) if finite else None,
    }
