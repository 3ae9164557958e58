"""Whole numbers of a smooth image as differences between neighbours, which are small and so compress to about 60 %.

Nothing is lost: differences and sums go round at the ends of the data type.
"""

from __future__ import annotations

import numpy as np

from .arrays import Arrays, take

_ENDING = "_differences"
_AXES = (0, 1, 2)


def pack_differences(name: str, values: np.ndarray) -> Arrays:
    """As array of a file. values: integers (I, J, K) or (I, J, K, C); differences are taken along the first three axes.

    Fortran order: the voxels of one channel lie together, and those along I beside each other.
    """
    for axis in _AXES:
        values = np.diff(values, axis=axis, prepend=values.dtype.type(0))
    return {name + _ENDING: np.asfortranarray(values)}


def take_differences(arrays: Arrays, name: str, dtypes: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """The values that `pack_differences` was given, or those that an older file holds under ``name``; as `take`."""
    if name in arrays:
        return take(arrays, name, dtypes, shape)
    values = take(arrays, name + _ENDING, dtypes, shape)
    for axis in _AXES:
        values = np.cumsum(values, axis=axis, dtype=values.dtype)
    return np.ascontiguousarray(values)
