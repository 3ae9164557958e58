"""Files of the paper's kind, written by a few independent lines: scans with a known deformation, their supervoxels in
one file of torch.save, results of deeds."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.preparation import prepare
from tiny import phantom

SHAPE, SPACING_MM = (64, 48, 80), 6.0
HALF = tuple(n // 2 for n in SHAPE)
TO_FRAME = (slice(None), slice(None, None, -1), slice(None, None, -1))
"""The files run to L and P, the canonical frame to R and A: of arrays (layers, I, J, K)."""


def template_hu() -> np.ndarray:
    """A phantom, (I, J, K) with i to the Left and j to the back."""
    scan = phantom(0)[0]
    return prepare(scan, Grid.centred(scan.grid.centre, SHAPE, SPACING_MM)).numpy()[::-1, ::-1]


def displace(shape: tuple[int, ...], step: float = 1.0) -> np.ndarray:
    """A smooth displacement (3, I, J, K) in voxels of the file, at every ``step``-th voxel."""
    i, j, k = step * np.indices(shape)
    return np.stack([2 + 2 * np.sin(j / 20), -3 + 2 * np.cos(k / 25), 4 + 2 * np.sin(i / 30)])


AFFINE = np.array([[1.03, 0.02, 0, 1.0], [-0.01, 0.97, 0.02, -2.0], [0, 0.01, 1.02, 1.5], [0, 0, 0, 1]])
"""Template voxel of a scan voxel, before `displace`."""


def places(with_affine: bool) -> np.ndarray:
    """Template voxel (3, I, J, K) of each voxel of a scan."""
    v = np.indices(SHAPE).astype(float)
    moved = np.einsum("ab,bijk->aijk", AFFINE[:3, :3], v) + AFFINE[:3, 3][:, None, None, None] if with_affine else v
    return moved + displace(SHAPE)


def write_scan(path: Path, hu: np.ndarray, at: np.ndarray | None = None, origin=(100.0, 50.0, -30.0)) -> Path:
    """Write ``hu``, or its values at the voxels ``at``, with axes along L, P, S."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = hu if at is None else ndimage.map_coordinates(hu, at, order=1, cval=-1000)
    affine = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1])
    affine[:3, 3] = origin
    nib.save(nib.Nifti1Image(np.round(data).astype(np.int16), affine), path)
    return path


def random_layers(count: int = 16, air: int = 3) -> np.ndarray:
    """Supervoxels of the template in its file's axes: uint8 (layers, i, j, k), nearest seed of 127; 0 at the border."""
    random, layers = np.random.default_rng(0), np.zeros((count, *HALF), np.uint8)
    inside = [slice(air, n - air) for n in HALF]
    voxels = np.indices([n - 2 * air for n in HALF]).reshape(3, -1).T
    for layer in layers:
        seeds = random.uniform(0, np.array(HALF) - 2 * air, (127, 3))
        layer[tuple(inside)] = 1 + cKDTree(seeds).query(voxels)[1].reshape([n - 2 * air for n in HALF])
    return layers


def warp_layers(layers: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Layers at every second voxel (middle of 2 x 2 x 2) of the scan whose voxels lie ``at`` the template's."""
    middle = at.reshape(3, HALF[0], 2, HALF[1], 2, HALF[2], 2).mean((2, 4, 6))
    i, j, k = np.round((middle - 0.5) / 2).astype(int)  # voxel 2 n + 0.5 is the middle of voxel n of the half
    inside = (i >= 0) & (i < HALF[0]) & (j >= 0) & (j < HALF[1]) & (k >= 0) & (k < HALF[2])
    found = layers[:, i * inside, j * inside, k * inside]
    return found * inside


def write_supervoxels(path: Path, scans: list[np.ndarray]) -> Path:
    torch.save(torch.from_numpy(np.stack(scans)), path)
    return path


def write_deeds(prefix: Path, matrix: np.ndarray, step: int = 4) -> None:
    """deeds' files for the matrix and `displace` on its control points: the matrix by columns, blocks j, i, k."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    lines = [" ".join(f"{matrix[row, column]:.6f}" for row in range(4)) for column in range(4)]
    Path(f"{prefix}_matrix.txt").write_text("\n".join(lines) + "\n")
    along = displace(tuple(n // step for n in SHAPE), step)
    with open(f"{prefix}_displacements.dat", "wb") as file:
        for part in (along[1], along[0], along[2]):
            for k in range(part.shape[2]):
                for j in range(part.shape[1]):
                    file.write(struct.pack(f"{part.shape[0]}f", *part[:, j, k]))
