"""Scans changed in what should not matter to a registration, and mirrored ones, in which it does."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np

from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.images.volumes import Volume

ORIENTATIONS = ["".join(letters) for order in permutations(("RL", "AP", "SI")) for letters in product(*order)]
"""The 48 orders and directions of a scan's axes, each as the letters of the directions that i, j and k lead to."""


def shift_hu(scan: Volume, hu: float) -> Volume:
    """The scan with ``hu`` added to every voxel."""
    return Volume(scan.data + np.float32(hu), scan.grid)


def add_noise(scan: Volume, sigma_hu: float, seed: int = 0) -> Volume:
    """The scan with independent normal noise in every voxel."""
    noise = np.random.default_rng(seed).standard_normal(scan.data.shape, np.float32)
    return Volume(scan.data + np.float32(sigma_hu) * noise, scan.grid)


def reorient(volume: Volume, axes: str) -> Volume:
    """The same voxels at the same places, stored in another of the `ORIENTATIONS`."""
    now = nib.io_orientation(volume.grid.affine)
    change = nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(axes))
    data = np.ascontiguousarray(nib.apply_orientation(volume.data, change))
    affine = volume.grid.affine @ nib.orientations.inv_ornt_aff(change, volume.grid.shape)
    return Volume(data, Grid(data.shape, affine))


def move_origin(volume: Volume, offset_mm: tuple[float, float, float]) -> Volume:
    """The volume ``offset_mm`` elsewhere in the world."""
    return Volume(volume.data, Grid(volume.grid.shape, translation(offset_mm) @ volume.grid.affine))


def mirror(volume: Volume) -> Volume:
    """The patient mirrored, left for right: the array is flipped along that axis, and the matrix says nothing of it."""
    axis = int(np.abs(volume.grid.affine[0, :3] / volume.grid.spacing).argmax())
    return Volume(np.ascontiguousarray(np.flip(volume.data, axis)), volume.grid)
