"""Displacement fields as ITK transform files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from .files import atomic
from .itk import LPS, itk_image


def itk_transform(field: DisplacementField) -> sitk.DisplacementFieldTransform:
    """The field as an ITK transform, which maps a physical point p (LPS mm) to p + u(p); zero outside its grid."""
    vectors = field.vectors.detach().cpu().double().movedim(0, -1).numpy() * LPS.diagonal()[:3]
    return sitk.DisplacementFieldTransform(itk_image(vectors, field.grid, vector=True))


def save_transform(path: str | Path, field: DisplacementField) -> None:
    """Write a field as ITK transform file (``.h5``), which Slicer reads as a from-parent grid transform; atomic."""
    with atomic(path) as part:
        sitk.WriteTransform(itk_transform(field), str(part))


def load_transform(path: str | Path) -> DisplacementField:
    """Read a displacement field from an ITK transform file, such as `save_transform` writes, as float32 in RAS mm."""
    image = sitk.DisplacementFieldTransform(sitk.ReadTransform(str(path))).GetDisplacementField()
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    vectors = sitk.GetArrayFromImage(image).transpose(3, 2, 1, 0) * LPS.diagonal()[:3, None, None, None]
    return DisplacementField(
        torch.from_numpy(np.ascontiguousarray(vectors, np.float32)), Grid(image.GetSize(), LPS @ affine)
    )
