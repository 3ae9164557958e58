"""Geometry of SimpleITK images: the only conversion between ITK's LPS and the RAS of everything else.

Without torch, so that Slicer can use it before packages are installed. An affine is a (4, 4) float64 matrix from voxel
indices to RAS mm; arrays are (I, J, K[, 3]), the transpose of SimpleITK's.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS <-> LPS, its own inverse
DETACHED = (".mhd", ".nhdr")
"""Headers whose voxels are in another file."""
_PRINTING = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What C and C++ print to stderr in the block is dropped: their errors are raised as well."""
    with _PRINTING:
        try:
            before = os.dup(2)
        except OSError:  # stderr is closed
            yield
            return
        try:
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


def flip_vectors(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) from RAS to LPS or from LPS to RAS, in their own precision."""
    flipped = vectors * LPS.diagonal()[:3].astype(vectors.dtype)
    flipped += 0.0  # no negative zeros
    return flipped


def make_image(data: np.ndarray, affine: np.ndarray, vector: bool = False) -> sitk.Image:
    """Array (I, J, K) as an image; with ``vector``, RAS vectors (I, J, K, 3) as an image of LPS vectors."""
    voxels = flip_vectors(data).transpose(2, 1, 0, 3) if vector else data.transpose(2, 1, 0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels), isVector=vector)
    origin, spacing, direction = split_affine(affine)
    image.SetOrigin(origin.tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    return image


def split_affine(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(origin (3,), spacing (3,), direction (3, 3)) as ITK has them, in LPS mm."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    itk = LPS @ affine
    return itk[:3, 3], spacing, itk[:3, :3] / spacing


def flip_matrix(matrix: np.ndarray) -> np.ndarray:
    """A 4x4 map of points from RAS to RAS as one from LPS to LPS, or the other way round."""
    return LPS @ matrix @ LPS


def read_affine(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """The affine of an image, or of a reader that knows its header. Of further axes than three, only the first three
    count: a series of one frame lies where its frame lies."""
    affine, n = np.eye(4), image.GetDimension()
    directions = np.asarray(image.GetDirection()).reshape(n, n)[:3, :3]
    k = len(directions)
    affine[:k, :k] = directions * np.asarray(image.GetSpacing())[:3]
    affine[:k, 3] = image.GetOrigin()[:3]
    return LPS @ affine
