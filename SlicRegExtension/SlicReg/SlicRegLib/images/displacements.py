"""Displacement fields in files of three formats, as ITK, Slicer and ANTs read them. Without torch, as Slicer uses it.

Fields are (vectors, affine): (I, J, K, 3) float32 in RAS mm, and the 4x4 matrix from voxels to RAS mm.
"""

from __future__ import annotations

import gzip
import io
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import UserError, show_name
from .checksum import check_compressed
from .files import NIFTI, write_bytes
from .inputs import check_file
from .itk import flip_vectors, make_image, quiet, read_affine, split_affine
from .itk_writing import write_image

STEPS_PER_MM = 128
"""Vectors are rounded to this part of a mm, so that they compress well; the error is at most .004 mm."""
DISPLACEMENTS, VECTORS = "1006", "1007"
"""Intent codes of NIfTI. Displacements are RAS vectors, which ITK (from 5.4) and Slicer (from 5.2) turn to LPS as they
read them; plain vectors, such as the warps of ANTs, are LPS and stay as they are."""
LEVEL = 1
"""Of the compression: higher ones take several times as long and save a fifth."""
SINGLES = (sitk.sitkFloat32, sitk.sitkVectorFloat32)
DOUBLES = (sitk.sitkFloat64, sitk.sitkVectorFloat64)
CHUNK = 1 << 18
"""Numbers that HDF5 compresses together: 1 MB."""


def write_displacements(path: str | Path, vectors: np.ndarray, affine: np.ndarray) -> None:
    """Write a field as float32, compressed, in the format of the suffix; atomic. What is zero stays exactly zero.

    ``.h5``: a transform file of ITK. ``.nrrd``: an image of LPS vectors. ``.nii.gz``: an image of RAS vectors with the
    intent of displacements. Raises WriteError, and UserError for any other suffix.
    """
    writer = next((WRITERS[suffix] for suffix in WRITERS if str(path).lower().endswith(suffix)), None)
    if writer is None:
        raise UserError(f"{show_name(path)} has no suffix of a transform file; use {_list_suffixes()}.")
    rounded = np.round(np.asarray(vectors, np.float32) * STEPS_PER_MM) / STEPS_PER_MM
    writer(path, rounded + 0.0, affine)  # no negative zeros


def _write_hdf5(path: str | Path, vectors: np.ndarray, affine: np.ndarray) -> None:
    """HDF5 makes the file in memory, where no disk can be full: afterwards it would keep the file open and complain
    until the process ends."""
    import h5py  # here, since Slicer itself only reads and has no h5py of its own

    origin, spacing, direction = split_affine(affine)
    text = h5py.string_dtype("ascii")
    about = {
        "ITKVersion": sitk.Version.ITKVersionString(),
        "HDFVersion": f"HDF5 library version: {h5py.version.hdf5_version}",
        "OSName": platform.system(),
        "OSVersion": platform.release(),
    }
    content = io.BytesIO()
    with h5py.File(content, "w", libver=("v108", "v108")) as file:  # as ITK: every HDF5 since 1.8 reads it
        for name, value in about.items():
            file.create_dataset(name, data=[value], dtype=text)
        group = file.create_group("TransformGroup/0")
        # readers turn the numbers into the precision that they work in, whatever is named here
        group.create_dataset("TransformType", data=["DisplacementFieldTransform_float_3_3"], dtype=text)
        fixed = np.concatenate([vectors.shape[:3], origin, spacing, direction.ravel()])
        group.create_dataset("TransformFixedParameters", data=fixed)
        values = np.ascontiguousarray(flip_vectors(vectors).transpose(2, 1, 0, 3)).ravel()
        group.create_dataset(
            "TransformParameters",
            data=values,
            chunks=(min(CHUNK, values.size),),
            shuffle=True,
            compression="gzip",
            compression_opts=LEVEL,
        )
    write_bytes(path, content.getbuffer())


def _write_nrrd(path: str | Path, vectors: np.ndarray, affine: np.ndarray) -> None:
    write_image(path, make_image(vectors, affine, vector=True))


def _write_nifti(path: str | Path, vectors: np.ndarray, affine: np.ndarray) -> None:
    """By nibabel: SimpleITK cannot write the intent of displacements."""
    import nibabel as nib

    image = nib.Nifti1Image(vectors[:, :, :, None], affine)
    image.header.set_intent(int(DISPLACEMENTS))
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    write_bytes(path, gzip.compress(image.to_bytes(), LEVEL, mtime=0))


WRITERS: dict[str, Callable[[str | Path, np.ndarray, np.ndarray], None]] = {
    ".h5": _write_hdf5,
    ".nrrd": _write_nrrd,
    ".nii.gz": _write_nifti,
}


def read_displacements(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """(vectors, affine) of a field in a transform file of ITK, such as ``.h5``, or in a NRRD or NIfTI vector image.

    Doubles, as SimpleITK and Slicer write them, become float32. Raises UserError for what is no displacement field.
    """
    path = Path(path)
    check_file(path, "check the file name")
    try:
        with quiet():
            found = _read_image(path) if path.name.lower().endswith((".nrrd", *NIFTI)) else _read_transform(path)
    except RuntimeError as error:
        raise _refusal(path, "SimpleITK cannot read it as one") from error
    if not np.isfinite(found[0]).all():
        raise _refusal(path, "it holds NaN or infinite vectors")
    return found


def _read_transform(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = sitk.DisplacementFieldTransform(sitk.ReadTransform(str(path))).GetDisplacementField()
    return _read_vectors(image), read_affine(image)


def _read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    about = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    size, components, kind = reader.GetSize(), reader.GetNumberOfComponents(), reader.GetPixelID()
    is_nifti = path.name.lower().endswith(NIFTI)
    by_old_itk = len(size) == 5 and size[3:] == (1, 3)  # before 5.4, it reads displacements as scalars
    if kind not in (*SINGLES, *DOUBLES) or not (by_old_itk or (len(size) == 3 and components == 3)):
        raise _refusal(path, "it holds no three numbers with decimals per voxel")
    if is_nifti and about.get("intent_code") not in ((DISPLACEMENTS,) if by_old_itk else (DISPLACEMENTS, VECTORS)):
        raise _refusal(path, f"its intent code is not {DISPLACEMENTS}")
    if "color" in about.get("NRRD_kinds[pixel]", "").lower():
        raise _refusal(path, "it holds colours")
    if about.get("displacement field type", "resampling").lower() != "resampling":  # as Slicer calls it
        raise _refusal(path, "its vectors are of the opposite direction; invert it in Slicer and save it again")
    declared = int(np.prod(size, dtype=object)) * components * (8 if kind in DOUBLES else 4)
    if path.name.lower().endswith(".nii") and path.stat().st_size < declared:
        raise _refusal(path, "it ends too early")
    check_compressed(path, declared)
    image = reader.Execute()
    if by_old_itk:
        return sitk.GetArrayFromImage(image)[:, 0].transpose(3, 2, 1, 0).astype(np.float32), read_affine(image)
    return _read_vectors(image), read_affine(image)


def _read_vectors(image: sitk.Image) -> np.ndarray:
    return flip_vectors(sitk.GetArrayFromImage(image).astype(np.float32).transpose(2, 1, 0, 3))


def _refusal(path: Path, problem: str) -> UserError:
    return UserError(
        f"{show_name(path)} is no displacement field ({problem}); give a {_list_suffixes()} file as SlicReg writes it."
    )


def _list_suffixes() -> str:
    *others, last = WRITERS
    return f"{', '.join(others)} or {last}"
