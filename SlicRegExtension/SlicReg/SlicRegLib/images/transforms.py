"""Displacement fields as ITK transform files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from .itk import make_image, read_displacements
from .itk_writing import write_transform


def itk_transform(field: DisplacementField) -> sitk.DisplacementFieldTransform:
    """The field as an ITK transform, which maps a physical point p (LPS mm) to p + u(p); zero outside its grid."""
    vectors = field.vectors.detach().cpu().double().movedim(0, -1).numpy()
    return sitk.DisplacementFieldTransform(make_image(vectors, field.grid.affine, vector=True))


def save_transform(path: str | Path, field: DisplacementField) -> None:
    """Write a field as ITK transform file (``.h5``), which Slicer reads as a from-parent grid transform; atomic."""
    write_transform(path, itk_transform(field))


def load_transform(path: str | Path) -> DisplacementField:
    """Read a displacement field from an ITK transform file, such as `save_transform` writes, as float32 in RAS mm."""
    vectors, affine = read_displacements(path)
    channels_first = np.ascontiguousarray(vectors.transpose(3, 0, 1, 2))
    return DisplacementField(torch.from_numpy(channels_first), Grid(vectors.shape[:3], affine))
