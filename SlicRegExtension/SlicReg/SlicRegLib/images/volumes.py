"""Scans and label maps in memory: HU or labels on a grid in RAS mm. What a file is, `reading` decides."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch

from ..errors import UserError
from ..geometry.grid import Grid
from .files import NIFTI, atomic
from .hounsfield import judge_intensities
from .itk import make_image
from .itk_writing import write_image
from .reading import explained, read_image


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan or a label map: ``data`` (I, J, K) on ``grid``. Scans are float32 Hounsfield units, labels integers."""

    data: np.ndarray
    grid: Grid
    notes: tuple[str, ...] = ()
    """Sentences about what was corrected, or is worth knowing, when the file was read; each names the file."""

    @property
    def tensor(self) -> torch.Tensor:
        """The voxels as (1, I, J, K) float32; shares memory with ``data`` where that is float32."""
        return torch.from_numpy(np.ascontiguousarray(self.data, np.float32))[None]

    def fingerprint(self) -> str:
        """SHA-256 of the voxels (in the order of the array, to 0.01) and the geometry (to 0.001 mm).

        The same scan saved as NIfTI, NRRD or MHA has the same fingerprint.
        """
        digest = hashlib.sha256()
        digest.update(np.asarray(self.data.shape, np.int64).tobytes())
        affine = self.grid.affine.astype(np.float32).astype(np.float64)  # NIfTI keeps single precision, others double
        digest.update(np.round(affine * 1000).astype(np.int64).tobytes())
        for part in self.data:  # bounds memory
            digest.update(np.round(np.asarray(part, np.float64) * 100).astype(np.int64).tobytes())
        return digest.hexdigest()


def load_scan(path: str | Path, series: str = "") -> Volume:
    """Read a CT scan in any orientation, as float32: a NIfTI, NRRD or MHA file, or a folder with a DICOM series.

    series: number or UID of the series where a DICOM folder holds several. Raises UserError for what cannot be
    registered: NaN, a constant image, fewer than `MIN_SLICES` slices, a sheared grid, a size that no scan has, values
    that are not Hounsfield units (a certain offset is corrected, with a note).
    """
    path = Path(path)
    data, grid, notes, kind = read_image(path, series)
    if kind == "segmentation":
        raise UserError(f"{path} is a segmentation, not a scan; choose the CT scan.")
    with explained(path):
        data = np.asarray(data, np.float32)
        if not np.isfinite(data).all():
            raise UserError(f"{path} holds NaN or infinite values; export the scan again or replace them by -1000.")
        if data.min() == data.max():
            raise UserError(f"{path} is constant ({data.flat[0]:g} everywhere); choose a file that holds a scan.")
        judgement = judge_intensities(data)
        if judgement.refusal:
            raise UserError(f"{path} {judgement.refusal}")
        data = np.ascontiguousarray(judgement.correct(data))  # once, else at each use: files count axes from the end
    return Volume(data, grid, (*notes, f"{path} {judgement.note}") if judgement.note else notes)


def load_labels(path: str | Path, scan: Volume | None = None) -> Volume:
    """Read a label map, whole numbers from 0 to 65535, as uint8 or uint16.

    With ``scan`` it must lie on the scan's grid, to 1 mm. Raises UserError otherwise.
    """
    path = Path(path)
    data, grid, notes, kind = read_image(path)
    if kind == "dicom":
        raise UserError(f"{path} is a DICOM series, which holds no labels; give a NIfTI, NRRD or MHA file.")
    with explained(path):
        if not np.isfinite(data).all() or np.abs(data - np.round(data)).max() > 1e-3 or data.min() < 0:
            raise UserError(f"{path} is not a label map: labels must be whole numbers from 0 to 65535.")
        if data.max() > 65535:
            raise UserError(f"{path} is not a label map: it holds values above 65535, the largest label.")
        if scan is not None and not grid.matches(scan.grid, tolerance_mm=1.0):
            raise UserError(
                f"{path} (shape {grid.shape}) differs from its scan (shape {scan.grid.shape}) in shape or geometry; "
                "resample the labels to the scan's grid."
            )
        return Volume(np.round(data).astype(np.uint8 if data.max() < 256 else np.uint16), grid, notes)


def save_volume(path: str | Path, volume: Volume) -> None:
    """Write a scan or label map in the format of the suffix: NIfTI (qform and sform) or one of SimpleITK's; atomic.

    Raises WriteError, naming the file and the reason.
    """
    if not str(path).lower().endswith(NIFTI):
        write_image(path, to_itk(volume))
        return
    image = nib.Nifti1Image(volume.data, volume.grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.grid.affine, 1)
    image.set_qform(volume.grid.affine, 1)
    with atomic(path) as part, open(part, "wb") as file:  # nibabel would leave the file open after an error
        if str(path).lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


def to_itk(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image (LPS geometry)."""
    return make_image(volume.data, volume.grid.affine)
