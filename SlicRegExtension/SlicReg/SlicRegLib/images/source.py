"""An image file that was opened but not read yet: what its header says, and the limits that hold for every format.

A header can declare anything. So size and geometry are checked before memory is taken for the voxels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..geometry.grid import Grid
from .files import MAX_SHEAR, MIN_SLICES

MAX_VOXELS = 1_000_000_000
"""More than any CT of a person has: 512 x 512 x 3800, or 1024 x 1024 x 950."""
MAX_EXTENT_MM = 3000.0
"""A scan that is longer than any scanner's table has a wrong spacing."""
MIN_EXTENT_MM = 8.0
"""A scan that is thinner shows no anatomy: 8 slices of 1 mm."""
MAX_SPACING_MM = 50.0
MIN_SPACING_MM = 0.05
"""Clinical CT resolves 0.1 mm at best; below are micro-CT and wrong units."""
SMALL_MM = 60.0
"""A scan whose longest side is shorter is read with a note: centimetres may have been taken for millimetres."""
MAX_DISTANCE_MM = 1e6
"""Farthest origin; beyond, single precision is coarser than a voxel."""
MAX_COMPRESSION = 1100
"""Deflate makes nothing smaller than this, so a small file cannot hold a large image."""


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Shape (I, J, K), the (4, 4) matrix from voxels to RAS mm, notes for the user, and how to read the voxels."""

    shape: tuple[int, ...]
    affine: np.ndarray
    load: Callable[[], np.ndarray]
    """Returns the voxels (I, J, K)."""
    notes: tuple[str, ...] = ()
    kind: str = "image"
    """"image", "dicom", or "segmentation" for a file of Slicer's segments."""


def check_shape(path: Path, shape: tuple[int, ...]) -> None:
    """Raise UserError unless the shape is that of a 3-D scan of a bearable size."""
    if len(shape) != 3:
        raise UserError(f"{path} is a {len(shape)}-D image of shape {shape}; choose a 3-D scan.")
    if min(shape) < MIN_SLICES:
        raise UserError(
            f"{path} has shape {shape}: fewer than {MIN_SLICES} slices cannot be registered; choose another scan."
        )
    if int(np.prod(shape, dtype=object)) > MAX_VOXELS:
        raise UserError(
            f"{path} has shape {shape}: more than {MAX_VOXELS // 1_000_000} million voxels cannot be read; crop or "
            "resample it."
        )


def check_content(path: Path, declared: int, stored: int, compressed: bool) -> None:
    """Raise UserError if a file with ``stored`` bytes of voxels cannot hold the ``declared`` bytes."""
    if declared > stored * (MAX_COMPRESSION if compressed else 1):
        raise UserError(
            f"{path} cannot be read as an image (its header declares {declared} bytes of voxels, but only {stored} "
            f"{'compressed ' if compressed else ''}bytes are there); copy or export it again."
        )


def check_geometry(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> Grid:
    """The grid. Raises UserError for a matrix without inverse, a sheared one, and sizes that no CT scan has."""
    no_matrix = UserError(f"{path} has no valid voxel-to-world matrix; set its spacing and orientation.")
    if not np.isfinite(affine).all():
        raise no_matrix
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise no_matrix
    _check_size(path, np.asarray(shape), spacing)
    if np.abs(affine[:3, 3]).max() > MAX_DISTANCE_MM:
        raise UserError(
            f"{path} begins {np.abs(affine[:3, 3]).max() / 1e6:.3g} km from the origin; correct its position, which "
            "must be in mm."
        )
    i, j, k = shape
    grid = Grid((i, j, k), affine)
    if grid.shear > MAX_SHEAR:
        raise UserError(
            f"{path} has a sheared voxel-to-world matrix (gantry tilt?); resample it to a rectangular grid."
        )
    return grid


def _check_size(path: Path, shape: np.ndarray, spacing: np.ndarray) -> None:
    extent = spacing * shape
    large, small = float(extent.max()), float(extent.min())
    cure = "correct its spacing, which must be in mm"
    if large > MAX_EXTENT_MM:
        raise UserError(f"{path} is {large / 1000:.3g} m long; {cure} (is it in micrometres?).")
    if small < MIN_EXTENT_MM:
        raise UserError(f"{path} is only {small:.3g} mm long along an axis; {cure} (is it in metres?).")
    if spacing.max() > MAX_SPACING_MM:
        raise UserError(f"{path} has voxels of {spacing.max():.3g} mm; {cure} (is it in micrometres?).")
    if spacing.min() < MIN_SPACING_MM:
        raise UserError(f"{path} has voxels of {spacing.min():.2g} mm, as in micro-CT; {cure}.")


def describe_doubts(path: Path, grid: Grid) -> tuple[str, ...]:
    """Notes about a geometry that is possible, but may have been lost on the way."""
    matrix = np.abs(grid.affine[:3])
    if np.array_equal(matrix, np.eye(4)[:3]):
        return (
            f"{path} has voxels of exactly 1 mm at the origin, as files have that lost their geometry; compare its "
            "size with the patient's.",
        )
    longest = float((grid.spacing * grid.shape).max())
    if longest < SMALL_MM:
        return (f"{path} is only {longest:.3g} mm long; if its spacing is in centimetres, correct it to mm.",)
    return ()
