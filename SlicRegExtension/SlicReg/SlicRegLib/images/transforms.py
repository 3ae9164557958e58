"""Displacement fields to and from files, which ITK, Slicer and ANTs read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from .displacements import read_displacements, write_displacements
from .itk import make_image


def itk_transform(field: DisplacementField) -> sitk.DisplacementFieldTransform:
    """The field as an ITK transform, which maps a physical point p (LPS mm) to p + u(p); zero outside its grid."""
    vectors = field.vectors.detach().cpu().double().movedim(0, -1).numpy()
    return sitk.DisplacementFieldTransform(make_image(vectors, field.grid.affine, vector=True))


def save_transform(path: str | Path, field: DisplacementField) -> None:
    """Write a field, in the format of the suffix: ``.h5``, ``.nrrd`` or ``.nii.gz``; atomic.

    Vectors are float32, rounded to 1/128 mm: each component differs by at most .004 mm, and zeros stay zeros. ``.h5``
    is a transform file of ITK; the others are vector images. Slicer reads each as a from-parent grid transform. Raises
    WriteError, and UserError for any other suffix.
    """
    vectors = field.vectors.detach().cpu().movedim(0, -1).numpy()
    write_displacements(path, vectors, field.grid.affine)


def load_transform(path: str | Path) -> DisplacementField:
    """Read a field that `save_transform`, ITK or Slicer wrote, as float32 in RAS mm.

    Raises UserError for what is no displacement field.
    """
    vectors, affine = read_displacements(path)
    channels_first = np.ascontiguousarray(vectors.transpose(3, 0, 1, 2))
    return DisplacementField(torch.from_numpy(channels_first), Grid(vectors.shape[:3], affine))
