"""The one place that decides what a file or folder is, and how it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..geometry.grid import Grid
from .dicom import open_dicom
from .dicom_tags import is_dicom
from .files import NIFTI, split_series
from .itk_reading import open_itk
from .nifti import open_nifti
from .source import ImageSource, check_geometry, check_shape, describe_doubts

PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")
"""Header and voxels of NIfTI or Analyze in two files."""


def read_image(path: Path, series: str = "") -> tuple[np.ndarray, Grid, tuple[str, ...], str]:
    """Voxels (I, J, K), grid, notes for the user, and the kind of the source (see `ImageSource.kind`).

    series: number or UID of a DICOM series where there are several. Raises UserError for everything that is no 3-D
    image of plausible size.
    """
    path, named = split_series(path)
    with explained(path):
        source = open_image(path, series or named)
        check_shape(path, source.shape)
        grid = check_geometry(path, source.shape, source.affine)
        data = source.load()
        return data, grid, (*source.notes, *describe_doubts(path, grid)), source.kind


def open_image(path: Path, series: str = "") -> ImageSource:
    """The image's header, by what the file is; voxels are not read yet."""
    if not path.exists():
        raise UserError(f"{path} does not exist; check the file name.")
    if path.is_dir() or is_dicom(path) or path.name.lower().endswith(".dcm") or path.name.upper() == "DICOMDIR":
        return open_dicom(path, series)
    if path.name.lower().endswith((*NIFTI, *PAIRS)):
        return open_nifti(path)
    return open_itk(path)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns every error of a reader, and a lack of memory, into one sentence about the file."""
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(
            f"{path} needs more memory than is free; close other programs, or crop or resample it."
        ) from error
    except Exception as error:  # each reader raises its own kinds; all mean the same to the user
        raise UserError(
            f"{path} cannot be read as an image ({_last_line(error)}); give a NIfTI, NRRD or MHA file."
        ) from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sitk::ERROR: ").rstrip(".") if lines else type(error).__name__
