"""The arrays in the files of a study: prepared scans, the teacher's fields and their quality, stored compactly.

hu            int16 (I, J, K)      rounded HU in the canonical frame
affine        float64 (4, 4)       voxel to world (RAS mm) of that frame
region        uint8 (n,)           packed bits of the body region, in the order of hu
field         float16 (3, i, j, k) the teacher's vectors to the template, RAS mm, without their mean
field_shift   float32 (3, 1, 1, 1) that mean: half precision would not do for scans that lie metres apart
field_affine  float64 (4, 4)       voxel to world of the field's grid
quality       float64 (6,)         `FieldQuality` in the order of its attributes
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..images.files import atomic
from ..images.preparation import PreparedScan
from .quality import FieldQuality

Arrays = dict[str, np.ndarray]


def pack_scan(scan: PreparedScan) -> Arrays:
    """The scan without its region, which is not needed of the template."""
    return {"hu": scan.hu.round().numpy().astype(np.int16), "affine": scan.grid.affine}


def pack_field(field: DisplacementField) -> Arrays:
    shift = field.vectors.mean((1, 2, 3), keepdim=True)
    return {
        "field": (field.vectors - shift).numpy().astype(np.float16),
        "field_shift": shift.numpy(),
        "field_affine": field.grid.affine,
    }


def pack_measurements(scan: PreparedScan, quality: FieldQuality) -> Arrays:
    """What takes long to compute: the scan's body region and the quality of the field on it."""
    return {"region": np.packbits(scan.region.numpy()), "quality": np.array(astuple(quality))}


def unpack_scan(name: str, content: Arrays) -> PreparedScan:
    hu = torch.from_numpy(content["hu"].astype(np.float32))
    region = None
    if "region" in content:
        bits = np.unpackbits(content["region"], count=hu.numel()).astype(bool)
        region = torch.from_numpy(bits.reshape(hu.shape))
    return PreparedScan(name, hu, Grid(content["hu"].shape, content["affine"]), known_region=region)


def unpack_field(content: Arrays) -> DisplacementField:
    vectors = torch.from_numpy(content["field"].astype(np.float32))
    if "field_shift" in content:
        vectors = vectors + torch.from_numpy(content["field_shift"])
    return DisplacementField(vectors, Grid(content["field"].shape[1:], content["field_affine"]))


def save_arrays(path: Path, content: Arrays) -> None:
    """Write a compressed NPZ file; atomic."""
    with atomic(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **content)  # type: ignore[arg-type]  # no array is called allow_pickle


def load_arrays(path: Path, *names: str) -> Arrays:
    """The arrays ``names`` (default: all) that the file holds; empty if the file is missing or damaged."""
    try:
        with np.load(path) as file:
            return {name: file[name] for name in names or file.files if name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        return {}


def load_quality(path: Path) -> FieldQuality | None:
    """The quality in a scan's file; None if the file is missing, damaged or from a version that measured none."""
    content = load_arrays(path, "quality")
    return FieldQuality(*content["quality"].tolist()) if content else None
