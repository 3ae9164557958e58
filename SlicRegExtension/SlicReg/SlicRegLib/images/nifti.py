"""NIfTI-1, NIfTI-2 and Analyze files, with the geometry that ITK and Slicer give them.

A NIfTI header can hold two matrices, qform and sform, and voxel sizes of its own. ITK's reader (NiftiImageIO, ITK 5.4)
takes directions and position from one of the two, and the voxel sizes from ``pixdim``:

- the sform, if its code is 1 (scanner), or the qform's code is 0, or both are equal; and its axes are perpendicular;
- otherwise the qform, if its code is above 0;
- without codes: the origin, and axes to the patient's left, posterior and superior.

A transform that is to be used in Slicer must follow the same rule. `Testing/test_nifti.py` compares both.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np

from ..errors import UserError
from .files import MAX_SHEAR
from .source import ImageSource, check_content, check_shape

UNITS_MM = {1: 1000.0, 3: 0.001}
"""Code of the spatial unit in xyzt_units -> mm: metres and micrometres; all others are taken as mm."""
COLOURS = (32, 128, 1792, 2048, 2304)
"""Types of voxels that are complex or coloured."""
MAGIC = (b"n+1\0", b"ni1\0", b"n+2\0", b"ni2\0")
"""The first four bytes of the word that tells NIfTI from Analyze."""
EQUAL = 1e-4
"""ITK's tolerance: where qform and sform are equal, and where directions are perpendicular."""
MAX_REST = 1 << 28
"""Bytes behind the voxels that are read to reach the checksum of a compressed file."""
NOTED_MM = 0.1
"""Matrices that differ by more, anywhere in the scan, are worth a note."""
_SIZES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])


def is_nifti(path: Path) -> bool:
    """Whether the content is NIfTI in a single file, whatever its name."""
    try:
        with _open(path) as file:
            start = file.read(348)
    except (OSError, EOFError, zlib.error):
        return False
    return start[344:347] == b"n+1" or start[4:7] == b"n+2"


def open_nifti(path: Path) -> ImageSource:
    """Raises UserError for headers that are damaged or that hold no 3-D scalar image."""
    header_path = _header_path(path)
    if not header_path.is_file():
        raise UserError(f"{path} cannot be read as an image ({header_path} is missing); copy both files.")
    with _open(header_path) as file:
        header = _read_header(path, file)
    if int(header["datatype"]) in COLOURS:
        raise UserError(f"{path} holds complex or colour voxels; choose a CT scan.")
    shape = _read_shape(path, header)
    try:
        kind = np.dtype(header.get_data_dtype())
    except KeyError as error:
        raise UserError(f"{path} cannot be read as an image (voxels of type {error}); export it again.") from error
    check_shape(path, shape)
    data_path, offset = _find_voxels(path, header_path, header)
    declared = int(np.prod(shape)) * kind.itemsize
    compressed = _is_gzip(data_path)
    check_content(path, declared, max(0, data_path.stat().st_size - (0 if compressed else offset)), compressed)
    affine, notes = find_affine(path, header, shape)

    def load() -> np.ndarray:
        raw = np.empty(declared, np.uint8)
        with _open(data_path) as file:
            _skip(file, offset)
            if _fill(file, raw) < declared:
                raise UserError(f"{path} cannot be read as an image (it ends too early); copy or export it again.")
            _skip(file, MAX_REST)  # the end of a compressed file holds a checksum, which is compared now
        return _rescale(raw.view(kind).reshape(shape, order="F"), header)

    return ImageSource(shape, affine, load, notes)


def find_affine(path: Path, header: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The matrix from voxels to RAS mm as ITK chooses it, and notes where the header contradicts itself."""
    with np.errstate(invalid="ignore"):  # a NaN
        spacing = np.asarray(header["pixdim"], np.float64)[1:4]
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise UserError(
            f"{path} has no valid voxel-to-world matrix (pixdim {' x '.join(f'{s:g}' for s in spacing)}); "
            "correct its header or convert the scan again."
        )
    unit = UNITS_MM.get(int(header["xyzt_units"]) & 7, 1.0) if _is_nifti(header) else 1.0
    qform = _read_qform(header, spacing) if _code(header, "qform_code") > 0 else None
    sform = _read_sform(header) if _code(header, "sform_code") > 0 else None
    for name, form in (("qform", qform), ("sform", sform)):
        if form is not None and not np.isfinite(form).all():
            raise UserError(
                f"{path} has no valid voxel-to-world matrix (its {name} is not finite); convert the scan again."
            )
    notes: list[str] = []
    if qform is None and sform is None:
        used, name = np.eye(4), ""
        used[:3, :3] = _RAS_FROM_LPS
        notes.append(
            f"{path} stores neither orientation nor position; as in ITK and Slicer, its axes are taken to run to the "
            "patient's left, posterior and superior."
        )
    else:
        used, name = _choose(path, qform, sform, _code(header, "sform_code"), notes)
    affine = used.copy()
    affine[:3, :3] = used[:3, :3] / np.linalg.norm(used[:3, :3], axis=0) * spacing
    corners = _corners(shape)
    for other, form in (("qform", qform), ("sform", sform)):
        if form is None:
            continue
        distance = float(np.abs((form - affine)[:3] @ corners).max()) * unit
        if distance > NOTED_MM and other != name:
            notes.append(
                f"{path} has a qform and an sform that differ by up to {distance:.3g} mm; the {name} is used, as in "
                "ITK and Slicer."
            )
        elif distance > NOTED_MM:
            sizes = " x ".join(f"{s:.4g}" for s in np.linalg.norm(form[:3, :3], axis=0))
            notes.append(
                f"{path} has voxel sizes of {sizes} in its sform, which differ from those in pixdim; pixdim is used, "
                "as in ITK and Slicer."
            )
    affine[:3] *= unit
    return affine, tuple(notes)


def _choose(
    path: Path, qform: np.ndarray | None, sform: np.ndarray | None, code: int, notes: list[str]
) -> tuple[np.ndarray, str]:
    """The matrix that ITK uses, and its name."""
    if (
        sform is not None
        and _skew(sform) <= EQUAL
        and (qform is None or code == 1 or np.abs(qform - sform).max() <= EQUAL)
    ):
        return sform, "sform"
    if qform is not None:
        return qform, "qform"
    assert sform is not None
    if _skew(sform) > MAX_SHEAR:
        raise UserError(
            f"{path} has a sheared voxel-to-world matrix (gantry tilt?); resample it to a rectangular grid."
        )
    straight = sform.copy()
    left, _, right = np.linalg.svd(sform[:3, :3] / np.linalg.norm(sform[:3, :3], axis=0))
    straight[:3, :3] = left @ right
    notes.append(f"{path} has axes that are not quite perpendicular; they were straightened.")
    return straight, "sform"


def _skew(matrix: np.ndarray) -> float:
    """How far the directions are from perpendicular: 0 for a rotation, infinite without an inverse."""
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if lengths.min() <= 0:
        return np.inf
    directions = matrix[:3, :3] / lengths
    return float(np.abs(directions @ directions.T - np.eye(3)).max())


def _read_qform(header: Any, spacing: np.ndarray) -> np.ndarray:
    b, c, d = (float(header[f"quatern_{name}"]) for name in "bcd")
    square = 1.0 - (b * b + c * c + d * d)
    if square < 1e-7:  # half a turn, or a quaternion that is too long: its direction counts
        length = np.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b / length, c / length, d / length
    else:
        a = np.sqrt(square)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    if float(header["pixdim"][0]) < 0:
        rotation[:, 2] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * spacing
    matrix[:3, 3] = [float(header[f"qoffset_{name}"]) for name in "xyz"]
    return matrix


def _read_sform(header: Any) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3] = [np.asarray(header[f"srow_{name}"], np.float64) for name in "xyz"]
    return matrix


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    """Voxel indices of the corners, (4, 8)."""
    unit = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3)
    return np.vstack([(unit * (np.asarray(shape) - 1)).T, np.ones(8)])


def _code(header: Any, name: str) -> int:
    return int(header[name]) if _is_nifti(header) else 0


def _is_nifti(header: Any) -> bool:
    """Whether it is no Analyze header, in whose place of the codes something else is stored."""
    return bytes(header["magic"].tobytes()[:2]) in (b"n+", b"ni")


def _read_header(path: Path, file: BinaryIO) -> Any:
    start = file.read(4)
    kind = next((c for n, c in _SIZES.items() for order in ("little", "big") if start == n.to_bytes(4, order)), None)
    block = start + file.read(kind.template_dtype.itemsize - 4) if kind else b""
    if kind is None or len(block) < kind.template_dtype.itemsize:
        raise UserError(f"{path} cannot be read as an image (it has no NIfTI header); give a NIfTI, NRRD or MHA file.")
    header = kind(block, kind.guessed_endian(np.ndarray((), kind.template_dtype, block)), check=False)
    if _is_nifti(header) and header["magic"].tobytes().ljust(4, b"\0")[:4] not in MAGIC:  # for ITK it would be Analyze
        raise UserError(f"{path} cannot be read as an image (its NIfTI header is damaged); copy or export it again.")
    return header


def _read_shape(path: Path, header: Any) -> tuple[int, ...]:
    """The shape without further axes of length one."""
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7 or min(dims[1 : 1 + min(3, dims[0])]) < 1:
        raise UserError(f"{path} cannot be read as an image (its header is damaged); copy or export it again.")
    shape = [*dims[1:4][: dims[0]], *(max(1, n) for n in dims[4 : 1 + dims[0]])]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _rescale(data: np.ndarray, header: Any) -> np.ndarray:
    """The voxels with slope and intercept; without, where they are absent or invalid. As in ITK."""
    slope, intercept = (float(header[name]) if _is_nifti(header) else 0.0 for name in ("scl_slope", "scl_inter"))
    slope = slope if np.isfinite(slope) and abs(slope) > np.finfo(float).eps else 1.0
    intercept = intercept if np.isfinite(intercept) else 0.0
    if (slope, intercept) == (1.0, 0.0):
        return data
    return data.astype(np.float32 if data.itemsize <= 2 else np.float64) * slope + intercept


def _header_path(path: Path) -> Path:
    """The file that holds the header: the path itself, or the .hdr beside an .img."""
    for ending, header in ((".img", ".hdr"), (".img.gz", ".hdr.gz")):
        if path.name.lower().endswith(ending):
            upper = path.name.endswith(ending.upper())
            return path.with_name(path.name[: -len(ending)] + (header.upper() if upper else header))
    return path


def _find_voxels(path: Path, header_path: Path, header: Any) -> tuple[Path, int]:
    """The file that holds the voxels, and at which byte they begin."""
    start = float(header["vox_offset"])
    if not (np.isfinite(start) and 0 <= start < 2**40):
        raise UserError(f"{path} cannot be read as an image (its header is damaged); copy or export it again.")
    if header["magic"].tobytes()[:2] == b"n+":
        return header_path, max(int(start), header.template_dtype.itemsize)
    for ending, image in ((".hdr", ".img"), (".hdr.gz", ".img.gz")):
        if header_path.name.lower().endswith(ending):
            upper = header_path.name.endswith(ending.upper())
            data_path = header_path.with_name(header_path.name[: -len(ending)] + (image.upper() if upper else image))
            if not data_path.is_file():
                raise UserError(f"{path} cannot be read as an image ({data_path} is missing); copy both files.")
            return data_path, int(start)
    return header_path, max(int(start), header.template_dtype.itemsize)  # a pair's header in a single file


def _is_gzip(path: Path) -> bool:
    """By content: plain files called .nii.gz and compressed ones called .nii are common."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    with cast(BinaryIO, gzip.open(path)) if _is_gzip(path) else path.open("rb") as file:
        yield file


def _skip(file: BinaryIO, count: int) -> None:
    """Move on by ``count`` bytes."""
    if isinstance(file, gzip.GzipFile):
        while count and (part := file.read(min(count, 1 << 20))):
            count -= len(part)
    else:
        file.seek(count, os.SEEK_CUR)


def _fill(file: Any, target: np.ndarray) -> int:
    """Read until the target, bytes, is full or the file ends; returns the bytes read."""
    done = 0
    while done < len(target) and (count := file.readinto(target[done:])):
        done += count
    return done
