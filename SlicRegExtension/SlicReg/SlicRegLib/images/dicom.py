"""CT series of DICOM files as scans: geometry from the slices' positions, voxels through GDCM in Hounsfield units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import UserError
from .dicom_series import DIRECTIONS, FRAME_ITEMS, POSITION, SHARED_ITEMS, Series, count, count_frames, find_series
from .dicom_tags import Header
from .files import MAX_SHEAR
from .itk import LPS, quiet
from .source import ImageSource, check_shape

ROWS, COLUMNS, PIXEL_SPACING = 0x00280010, 0x00280011, 0x00280030
SLOPE, INTERCEPT, LOOK_UP_TABLE = 0x00281053, 0x00281052, 0x00283000
PLANE_POSITION, PLANE_ORIENTATION, PIXEL_MEASURES, RESCALING = 0x00209113, 0x00209116, 0x00289110, 0x00289145
UNEVEN = 0.01
"""Slices may be this share of their distance away from where they should be."""
SAME = 1e-4
"""Directions and voxel sizes of all slices agree to this."""


@dataclass(frozen=True)
class Slice:
    """Where one slice lies (LPS, mm)."""

    header: Header
    frame: int
    position: tuple[float, ...]
    directions: tuple[float, ...]
    """Of the rows, then of the columns."""
    spacing: tuple[float, ...]
    """Distance of the rows, then of the columns."""
    size: tuple[int, int]
    """Columns, rows."""
    rounding: tuple[float, ...]
    """How far each coordinate of the position may be off, mm: half a unit of its last digit."""


def open_dicom(path: Path, wanted: str = "") -> ImageSource:
    """The CT series of a folder, or of one of its files. Raises UserError where it is none or has no even slices."""
    series = find_series(path, wanted)
    slices = _sort_slices(path, series)
    columns, rows = slices[0].size
    shape = (columns, rows, len(slices))
    check_shape(path, shape)
    affine, notes = _find_affine(path, slices, [file.name for file in series.damaged])
    paths = [str(one.header.path) for one in slices]
    frames = [one.frame for one in slices]

    def load() -> np.ndarray:
        try:
            with quiet():
                data = _read_frames(paths[0]) if len(set(paths)) == 1 else _read_files(paths)
        except RuntimeError as error:
            raise UserError(
                f"{path} cannot be read as an image (its pixels, of transfer syntax {slices[0].header.syntax}, are "
                "damaged or compressed in an unknown way); copy it again or export it uncompressed."
            ) from error
        if data.shape[1:] != (rows, columns) or max(frames) >= len(data):
            raise UserError(f"{path} cannot be read as an image (its pixels do not fit its header); copy it again.")
        return (data[frames] if len(set(paths)) == 1 else data).transpose(2, 1, 0)

    return ImageSource(shape, affine, load, (*series.notes, *notes), "dicom")


def _read_files(paths: list[str]) -> np.ndarray:
    """(K, J, I) float32: each slice with its own slope and intercept, which may differ."""
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(paths)
    reader.SetOutputPixelType(sitk.sitkFloat32)
    return sitk.GetArrayFromImage(reader.Execute())


def _read_frames(path: str) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(path)
    reader.SetOutputPixelType(sitk.sitkFloat32)
    return sitk.GetArrayFromImage(reader.Execute())


def _sort_slices(path: Path, series: Series) -> list[Slice]:
    """The slices along the normal of their plane. Raises UserError where they are not those of one scan."""
    slices = [one for header in series.files for one in _read_slices(header)]
    if len(series.files) > 1 and any(count_frames(header) > 1 for header in series.files):
        raise UserError(f"{path} holds a series of several files with several frames each; give one of the files.")
    first = slices[0]
    for one in slices:
        agree = one.size == first.size and np.allclose(one.directions, first.directions, atol=SAME)
        if not (agree and np.allclose(one.spacing, first.spacing, rtol=SAME, atol=0)):
            raise UserError(
                f"{path} mixes slices of different size, voxel size or orientation in one series, such as "
                f"{first.header.path.name} and {one.header.path.name}; remove those that do not belong to the scan."
            )
    normal = np.cross(first.directions[:3], first.directions[3:])
    return sorted(slices, key=lambda one: float(np.dot(normal, one.position)))


def _read_slices(header: Header) -> list[Slice]:
    """The slice of a file, or each frame of a file of several. Raises UserError where its place is not known."""
    name = header.path
    if not header.is_complete:
        raise UserError(f"{name} is incomplete; copy or export the series again.")
    if LOOK_UP_TABLE in header.items and SLOPE not in header.items:
        raise UserError(f"{name} gives its values through a table instead of a slope; export it in Hounsfield units.")
    frames = header.sequence(FRAME_ITEMS) or [{}]
    if count_frames(header) > 1 and len(frames) != count_frames(header):
        raise UserError(f"{name} has {count_frames(header)} frames without positions; export it as single slices.")
    shared = (header.sequence(SHARED_ITEMS) or [{}])[0]
    for tag in (SLOPE, INTERCEPT):
        if len({header.text(tag, _group(header, RESCALING, frame, shared, {})) for frame in frames}) > 1:
            raise UserError(f"{name} has frames of different slope or intercept; export it as single slices.")
    return [_read_slice(header, number, frame, shared) for number, frame in enumerate(frames)]


def _group(header: Header, tag: int, frame: Any, shared: Any, otherwise: Any) -> Any:
    """The functional group of a frame, of all frames, or the plain data set."""
    for items in (frame, shared):
        if found := header.sequence(tag, items):
            return found[0]
    return otherwise


def _read_slice(header: Header, number: int, frame: Any, shared: Any) -> Slice:
    groups = {
        tag: _group(header, group, frame, shared, header.items)
        for tag, group in ((POSITION, PLANE_POSITION), (DIRECTIONS, PLANE_ORIENTATION), (PIXEL_SPACING, PIXEL_MEASURES))
    }
    position, directions, spacing = (tuple(header.numbers(tag, groups[tag])) for tag in groups)
    finite = np.isfinite([*position, *directions, *spacing]).all()
    if [len(position), len(directions), len(spacing)] != [3, 6, 2] or not finite or min(spacing) <= 0:
        raise UserError(f"{header.path} has no valid position, orientation or pixel spacing; export the series again.")
    row, column = np.array(directions[:3]), np.array(directions[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(row @ column)) > MAX_SHEAR:
        raise UserError(f"{header.path} has an orientation that is no rotation; export the series again.")
    texts = header.text(POSITION, groups[POSITION]).split("\\")
    decimals = [len(text.strip().partition(".")[2]) if "e" not in text.lower() else 6 for text in texts]
    rounding = tuple(0.5 * 10.0**-digits for digits in decimals)
    size = (header.integer(COLUMNS), header.integer(ROWS))
    return Slice(header, number, position, (*(row / lengths[0]), *(column / lengths[1])), spacing, size, rounding)


def _find_affine(path: Path, slices: list[Slice], damaged: list[str]) -> tuple[np.ndarray, list[str]]:
    """The (4, 4) matrix to RAS mm, and notes. Raises UserError for slices that are missing, double, uneven or shifted.

    damaged: names of files that may be missing slices.
    """
    first = slices[0]
    row, column = np.array(first.directions[:3]), np.array(first.directions[3:])
    normal = np.cross(row, column)
    positions = np.array([one.position for one in slices])
    _check_gaps(path, positions @ normal, damaged)
    start, notes = positions[0], []
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    lean = float(np.linalg.norm(step - normal * (step @ normal)) / (step @ normal))
    if lean > MAX_SHEAR:
        raise UserError(
            f"{path} was taken with a gantry tilt of {math.degrees(math.atan(lean)):.1f} degrees, so that its slices "
            "are sheared; resample it to a rectangular grid."
        )
    number = np.arange(len(slices))[:, None]
    tolerance = UNEVEN * float(step @ normal)
    away = np.abs(positions - start - number * step).max(1)
    if away.max() > tolerance:
        # Rounded, perhaps: then even places exist that are no farther away than rounding moves a coordinate.
        start, step = np.transpose([_fit_line(values) for values in positions.T])
        rounding = np.min([one.rounding for one in slices], axis=0)  # of the most digits: some leave out zeros
        left = np.abs(positions - start - number * step)
        if (left > np.maximum(tolerance, rounding * (1 + SAME))).any():
            raise UserError(
                f"{path} has uneven distances between its slices (up to {away.max():.2g} mm off, at "
                f"{slices[int(away.argmax())].header.path.name}); resample it to even slices."
            )
        notes = [
            f"{path} stores the positions of its slices rounded, up to {left.max():.2g} mm off; even slices of "
            f"{float(step @ normal):.4g} mm are taken, which you should compare with the scan's protocol."
        ]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * first.spacing[1], column * first.spacing[0], step
    affine[:3, 3] = start
    return LPS @ affine, notes


def _fit_line(values: np.ndarray) -> tuple[float, float]:
    """(start, step) of the evenly spaced values whose largest distance from the given ones is least."""
    number = np.arange(len(values))
    low, high = float(np.diff(values).min()), float(np.diff(values).max())
    for _ in range(100):  # the largest distance is convex in the step
        third = (high - low) / 3
        if np.ptp(values - (low + third) * number) < np.ptp(values - (high - third) * number):
            high -= third
        else:
            low += third
    rest = values - (low + high) / 2 * number
    return float(rest.max() + rest.min()) / 2, (low + high) / 2


def _check_gaps(path: Path, along: np.ndarray, damaged: list[str]) -> None:
    """Raise UserError where slices are double or missing. along: positions along the normal, sorted, mm."""
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if usual <= 0 or gaps.min() < 0.01 * usual:
        double = int((gaps < max(0.01 * usual, 1e-3)).sum())
        raise UserError(
            f"{path} has {count(double, 'pair')} of slices at the same place (several phases in one series?); keep one "
            "of each."
        )
    if gaps.max() > 1.5 * usual:
        where = int(gaps.argmax())
        missing = int((np.round(gaps / usual) - 1).clip(0).sum())
        holds = f" ({damaged[0]} is called .dcm, but holds no DICOM)" if damaged else ""
        raise UserError(
            f"{path} lacks about {count(missing, 'slice')}, the first between {along[where]:.1f} and "
            f"{along[where + 1]:.1f} mm{holds}; copy or export the whole series again."
        )
