"""Cohorts of phantoms with planted faults, and facts of scans that need no files."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from SlicRegLib.cohort.facts import ScanFacts
from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.volumes import Volume

SOUND = ("pt_1", "pt_2", "pt_3", "pt_4", "pt_5")


def flip(scan: Volume, axis: int = 0) -> Volume:
    """The same voxels at the same places, stored in the opposite direction along ``axis``."""
    affine = scan.grid.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (scan.data.shape[axis] - 1)
    affine[:, axis] *= -1
    return Volume(np.ascontiguousarray(np.flip(scan.data, axis)), Grid(scan.data.shape, affine))


def rotate_grid(scan: Volume) -> Volume:
    """The same patient on an oblique grid."""
    rotation = np.eye(4)
    rotation[:3, :3] = Rotation.from_euler("xyz", (12, -8, 5), degrees=True).as_matrix()
    centre = scan.grid.centre
    grid = Grid(scan.grid.shape, translation(centre) @ rotation @ translation(-centre) @ scan.grid.affine)
    return Volume(resample(scan.tensor, scan.grid, grid, fill=-1000.0)[0].numpy(), grid)


def make_facts(name, edge=3.0, length=400.0, litres=20.0, hu=-50.0, orientation="LPS", **more) -> ScanFacts:
    """edge: of a voxel along S. length: of the body."""
    return ScanFacts(
        name,
        f"/{name}.nii.gz",
        (100, 100, 100),
        (1.0, 1.0, edge),
        orientation,
        (100.0, 100.0, 100 * edge),
        (400.0, 250.0, length),
        litres * 1000,
        hu,
        name,
        **more,
    )


USUAL = [make_facts(f"pt_{i}") for i in range(6)]
