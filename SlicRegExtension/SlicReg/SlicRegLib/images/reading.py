"""The one place that decides what a file or folder is, and how it is read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UserError, explain_os_error
from ..geometry.grid import Grid
from .dicom import open_dicom
from .dicom_tags import is_dicom
from .files import IMAGE_SUFFIXES, NIFTI, check_path, split_series
from .itk_reading import open_itk
from .nifti import is_nifti, open_nifti
from .source import ImageSource, check_geometry, check_shape, describe_doubts

PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")
"""Header and voxels of NIfTI or Analyze in two files."""
CONTENTS = (
    (b"NRRD000", "is an NRRD file under another name; rename it to .nrrd"),
    (b"ObjectType", "is a MetaImage file under another name; rename it to .mha"),
    (b"NDims", "is a MetaImage file under another name; rename it to .mha"),
    (b"#Insight Transform File", "is a transform, not an image; choose a CT scan"),
    (b"PK\x03\x04", "is a ZIP archive; unpack it"),
)
"""How files begin, and what to say of those that no reader takes by their name."""
HDF5 = b"\x89HDF\r\n\x1a\n"
HEADER_BYTES = 1 << 16


def read_image(path: Path, series: str = "") -> tuple[np.ndarray, Grid, tuple[str, ...], str]:
    """Voxels (I, J, K), grid, notes for the user, and the kind of the source (see `ImageSource.kind`).

    series: number or UID of a DICOM series where there are several. Raises UserError for everything that is no 3-D
    image of plausible size.
    """
    check_path(path)
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
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"{path} is a device or a pipe; give the file of a scan or a folder of DICOM files.")
    if path.is_file() and not path.name.lower().endswith((*NIFTI, *PAIRS)) and is_nifti(path):
        source = open_nifti(path)
        note = f"{path} is a NIfTI file under another name; rename it to .nii or .nii.gz for other programs."
        return replace(source, notes=(note, *source.notes))
    if path.is_dir() or is_dicom(path) or path.name.lower().endswith(".dcm") or path.name.upper() == "DICOMDIR":
        return open_dicom(path, series)
    if path.name.lower().endswith((*NIFTI, *PAIRS)):
        return open_nifti(path)
    _check_content(path)
    return open_itk(path)


def _check_content(path: Path) -> None:
    """Raise UserError for a file that is something else than its name says, or that no reader takes."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if start.startswith(HDF5):
        if b"TransformGroup" in start:
            raise UserError(f"{path} is a transform, not an image; choose a CT scan.")
        what = "an ITK image in HDF5" if b"ITKImage" in start else "an HDF5 file"
        raise UserError(f"{path} is {what}, which is not read; save the scan as NIfTI, NRRD or MHA.")
    if path.name.lower().endswith((".h5", ".hdf5")):
        raise UserError(f"{path} is called HDF5, but is none; give a NIfTI, NRRD or MHA file.")
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        for magic, words in CONTENTS:
            if start.startswith(magic):
                raise UserError(f"{path} {words}.")


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
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read as an image (its compressed data are damaged or end too early); copy or download "
            "it again."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {explain_os_error(error)}.") from error
    except Exception as error:  # each reader raises its own kinds; all mean the same to the user
        known = path.name.lower().endswith((*IMAGE_SUFFIXES, *PAIRS))
        cure = "copy or export it again" if known else "give a NIfTI, NRRD or MHA file"
        reason = _last_line(error)
        if reason.startswith("Unable to determine ImageIO reader"):
            reason = "its format is unknown, or it is damaged"
        raise UserError(f"{path} cannot be read as an image ({reason}); {cure}.") from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sitk::ERROR: ").rstrip(".") if lines else type(error).__name__
