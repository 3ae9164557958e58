"""Files written by SimpleITK: whole, or an error that says why. Without torch, as Slicer uses it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import UserError
from .files import IMAGE_SUFFIXES, atomic
from .itk import DETACHED, quiet

HEADER_BYTES = 1 << 16
"""More than the header of any file that is written."""


def write_image(path: str | Path, image: sitk.Image, compress: bool = True) -> None:
    """Write an image in the format of the suffix; atomic. Raises WriteError, and UserError for formats of two files."""
    if str(path).lower().endswith(DETACHED):
        raise UserError(f"{path} would be two files, header and voxels; use .nii.gz, .nrrd or .mha.")
    if not str(path).lower().endswith(IMAGE_SUFFIXES):
        raise UserError(f"{path} has no suffix of an image format; use .nii.gz, .nrrd or .mha.")

    def write(part: str) -> None:
        sitk.WriteImage(image, part, compress)

    def is_whole(part: str) -> bool:
        return _have_equal_voxels(sitk.ReadImage(part), image)

    size = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    _write(path, write, is_whole, 0 if compress else size + HEADER_BYTES)


def _have_equal_voxels(a: sitk.Image, b: sitk.Image) -> bool:
    there, here = sitk.GetArrayViewFromImage(a), sitk.GetArrayViewFromImage(b)
    return np.array_equal(there, here) or np.array_equal(there, here, equal_nan=True)  # the second takes long


def _write(path: str | Path, write: Callable[[str], None], is_whole: Callable[[str], bool], size: int) -> None:
    """Reserve ``size`` bytes, write, and read the file back.

    SimpleITK writes short NIfTI files without a word when the disk is full. So the space is asked for before, where the
    system says what is wrong.
    """
    with atomic(path) as part:
        _reserve(part, size)
        try:
            with quiet():
                write(str(part))
                whole = is_whole(str(part))
        except RuntimeError as error:
            _reserve(part, max(size, os.path.getsize(part) + HEADER_BYTES))  # says so if the disk is full
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise OSError(errno.EIO, f"SimpleITK: {lines[-1] if lines else 'no message'}", str(part)) from error
        if not whole:
            _reserve(part, max(size, os.path.getsize(part) + HEADER_BYTES))
            raise OSError(errno.EIO, "what was written cannot be read back", str(part))


def _reserve(part: Path, size: int) -> None:
    """Raise OSError if the file cannot have ``size`` bytes. It is empty afterwards."""
    with open(part, "wb", buffering=0) as file:
        try:
            if size:
                os.posix_fallocate(file.fileno(), 0, size)
        except (AttributeError, OSError) as error:  # absent on macOS and Windows, not supported by some disks
            if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            for start in range(0, size, 1 << 20):
                file.write(bytes(min(1 << 20, size - start)))
        file.truncate(0)
