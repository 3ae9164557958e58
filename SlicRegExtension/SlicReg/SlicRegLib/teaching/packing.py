"""The arrays in the files of a study: prepared scans, the teacher's fields and their quality, stored compactly.

hu            int16 (I, J, K)      rounded HU in the canonical frame
affine        float64 (4, 4)       voxel to world (RAS mm) of that frame
original      float64 (4, 4)       voxel to world of the scan as it was loaded; studies of older versions have none
original_shape int32 (3,)          its voxels
region        uint8 (n,)           packed bits of the body region, in the order of hu
field         float16 (3, i, j, k) the teacher's vectors to the template, RAS mm, without their mean
field_shift   float32 (3, 1, 1, 1) that mean: half precision would not do for scans that lie metres apart
field_affine  float64 (4, 4)       voxel to world of the field's grid
quality       float64 (6,)         `FieldQuality` in the order of its attributes
supervoxels   uint8 (layers, i, j, k) only where they were warped elsewhere: the scan's own supervoxels
supervoxels_affine float64 (4, 4)  voxel to world of their grid
"""

from __future__ import annotations

from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..images.archive import ArchiveError
from ..images.arrays import Arrays, read_arrays, take, take_affine
from ..images.files import atomic
from ..images.preparation import PreparedScan
from .quality import FieldQuality

MAX_DISPLACEMENT_MM = 1e6


def pack_scan(scan: PreparedScan) -> Arrays:
    """The scan without its region, which is not needed of the template."""
    content = {"hu": scan.hu.round().numpy().astype(np.int16), "affine": scan.grid.affine}
    if scan.original:
        content |= {"original": scan.original.affine, "original_shape": np.array(scan.original.shape, np.int32)}
    return content


def pack_field(field: DisplacementField) -> Arrays:
    shift = field.vectors.mean((1, 2, 3), keepdim=True)
    return {
        "field": (field.vectors - shift).numpy().astype(np.float16),
        "field_shift": shift.numpy(),
        "field_affine": field.grid.affine,
    }


def pack_supervoxels(layers: np.ndarray, grid: Grid) -> Arrays:
    """Supervoxels of a scan, uint8 (layers, i, j, k) on ``grid``, from which training reads its targets."""
    return {"supervoxels": layers, "supervoxels_affine": grid.affine}


def pack_measurements(scan: PreparedScan, quality: FieldQuality) -> Arrays:
    """What takes long to compute: the scan's body region and the quality of the field on it."""
    return {"region": np.packbits(scan.region.numpy()), "quality": np.array(astuple(quality))}


def unpack_scan(name: str, content: Arrays) -> PreparedScan:
    """Raises ArchiveError where the arrays do not fit each other, as `unpack_field` does."""
    voxels = take(content, "hu", "i2", (None, None, None))
    hu = torch.from_numpy(voxels.astype(np.float32))
    region = None
    if "region" in content:
        packed = take(content, "region", "u1", (-(-hu.numel() // 8),))
        bits = np.unpackbits(packed, count=hu.numel()).astype(bool)
        region = torch.from_numpy(bits.reshape(hu.shape))
    original = None
    if "original" in content:
        i, j, k = (max(1, int(n)) for n in take(content, "original_shape", "i4", (3,)))
        original = Grid((i, j, k), take_affine(content, "original"))
    supervoxels = None
    if "supervoxels" in content:
        layers = take(content, "supervoxels", "u1", (None, None, None, None))
        supervoxels = layers, Grid(layers.shape[1:], take_affine(content, "supervoxels_affine"))
    grid = Grid(voxels.shape, take_affine(content))
    return PreparedScan(name, hu, grid, known_region=region, original=original, supervoxels=supervoxels)


def unpack_field(content: Arrays) -> DisplacementField:
    stored = take(content, "field", "f2", (3, None, None, None))
    vectors = torch.from_numpy(stored.astype(np.float32))
    if "field_shift" in content:
        vectors = vectors + torch.from_numpy(take(content, "field_shift", "f4", (3, 1, 1, 1)))
    if vectors.abs().max() > MAX_DISPLACEMENT_MM:
        raise ArchiveError("its field leads kilometres away")
    return DisplacementField(vectors, Grid(stored.shape[1:], take_affine(content, "field_affine")))


def save_arrays(path: Path, content: Arrays) -> None:
    """Write a compressed NPZ file; atomic."""
    with atomic(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **content)  # type: ignore[arg-type]  # no array is called allow_pickle


def load_arrays(path: Path, *names: str) -> Arrays:
    """The arrays ``names`` (default: all) that the file holds; empty if the file is missing or damaged."""
    try:
        return read_arrays(path, *names)
    except (OSError, ArchiveError):
        return {}


def load_quality(path: Path) -> FieldQuality | None:
    """The quality in a scan's file; None if the file is missing, damaged or from a version that measured none."""
    try:
        return FieldQuality(*take(load_arrays(path, "quality"), "quality", "f8", (len(fields(FieldQuality)),)).tolist())
    except ArchiveError:
        return None
