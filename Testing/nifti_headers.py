"""NIfTI files with any header, right or wrong, for tests of readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

SPACING = np.array([4.0, 6.0, 8.0])
SHAPE = (16, 12, 10)
VOXELS = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 2000 - 1000).astype(np.int16)


def affine(angles=(10.0, 20.0, 30.0), spacing=SPACING, origin=(-100.0, 50.0, 70.0), skew: float = 0.0) -> np.ndarray:
    """A matrix from voxels to RAS mm. angles: degrees about the axes. skew: how far the first two axes lean."""
    lean = np.eye(3)
    lean[0, 1] = skew
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ lean * spacing
    matrix[:3, 3] = origin
    return matrix


def write_nifti(
    path: Path,
    qform: np.ndarray | None = None,
    sform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    voxels: np.ndarray = VOXELS,
    kind: type = nib.Nifti1Image,
    order: str = "<",
    **fields: Any,
) -> Path:
    """Write an uncompressed file. codes: of qform and sform. fields: values of the header that are set last."""
    qform = affine() if qform is None else qform
    header = kind.header_class(endianness=order)
    header.set_data_shape(voxels.shape)
    header.set_data_dtype(voxels.dtype)
    header.set_qform(qform, 1)
    header.set_sform(qform if sform is None else sform, 1)
    header["qform_code"], header["sform_code"] = codes
    header["vox_offset"] = 352 if kind is nib.Nifti1Image else 544
    header["xyzt_units"] = 2
    for name, value in fields.items():
        header[name] = value
    with path.open("wb") as file:
        file.write(header.binaryblock)
        file.write(bytes(4))
        file.write(voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F"))
    return path
