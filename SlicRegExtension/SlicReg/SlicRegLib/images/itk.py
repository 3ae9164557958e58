"""Geometry of SimpleITK images: the only conversion between ITK's LPS and the RAS of everything else."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..geometry.grid import Grid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS <-> LPS, its own inverse


def itk_image(data: np.ndarray, grid: Grid, vector: bool = False) -> sitk.Image:
    """Array (I, J, K[, 3]) on a RAS grid -> SimpleITK image (LPS geometry; vectors must be LPS already)."""
    axes = (2, 1, 0, 3) if vector else (2, 1, 0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(axes)), isVector=vector)
    affine = LPS @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image
