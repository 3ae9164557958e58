"""Masks grown and shrunk by shifted slices: as pooling and scipy do it, and faster (``benchmarks/kernels.py``)."""

from __future__ import annotations

from collections.abc import Callable

import torch

Combine = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def dilate_box(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """``mask`` (bool, I, J, K) and all voxels up to ``radius`` away along each axis, diagonals included."""
    for axis in range(3):
        grown = mask.clone()
        for step in range(1, min(radius, mask.shape[axis] - 1) + 1):
            _combine_shifted(grown, mask, axis, step, torch.Tensor.logical_or_)
        mask = grown
    return mask


def erode_box(values: torch.Tensor) -> torch.Tensor:
    """The least of the up to 3^3 ``values`` (I, J, K) around each voxel."""
    for axis in range(3):
        least = values.clone()
        _combine_shifted(least, values, axis, 1, lambda a, b: torch.minimum(a, b, out=a))
        values = least
    return values


def dilate_cross(mask: torch.Tensor, times: int = 1) -> torch.Tensor:
    """``mask`` (bool, I, J, K) and the six neighbours of each of its voxels; repeated so many ``times``."""
    for _ in range(times):
        grown = mask.clone()
        for axis in range(3):
            _combine_shifted(grown, mask, axis, 1, torch.Tensor.logical_or_)
        mask = grown
    return mask


def erode_cross(mask: torch.Tensor, times: int = 1) -> torch.Tensor:
    """``mask`` (bool, I, J, K) without the voxels of which one of the six neighbours is not in it, or not in the
    volume; repeated so many ``times``."""
    for _ in range(times):
        shrunk = mask.clone()
        for axis in range(3):
            _combine_shifted(shrunk, mask, axis, 1, torch.Tensor.logical_and_)
            shrunk.select(axis, 0).fill_(False)
            shrunk.select(axis, -1).fill_(False)
        mask = shrunk
    return mask


def _combine_shifted(result: torch.Tensor, mask: torch.Tensor, axis: int, step: int, combine: Combine) -> None:
    """Combine ``result``, in place, with the ``mask`` shifted by ``step`` voxels in both directions of ``axis``."""
    n = mask.shape[axis] - step
    combine(result.narrow(axis, step, n), mask.narrow(axis, 0, n))
    combine(result.narrow(axis, 0, n), mask.narrow(axis, step, n))
