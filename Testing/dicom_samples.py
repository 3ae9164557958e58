"""CT series written with pydicom, right and wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

ROWS, COLUMNS, SLICES = 14, 12, 10
ROW_MM, COLUMN_MM, SLICE_MM = 7.0, 6.0, 5.0
ORIGIN = (-50.0, -40.0, 30.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
STORED = (np.arange(SLICES * ROWS * COLUMNS).reshape(SLICES, ROWS, COLUMNS) % 3000).astype(np.uint16)
"""(K, J, I), before slope and intercept."""
HU = STORED.transpose(2, 1, 0).astype(np.float32) - 1024
"""(I, J, K)."""
RAS = np.diag([-1.0, -1, 1, 1])
"""From DICOM's LPS."""
UID = "1.2.826.0.1.3680043.8.498.1"


def slice_positions(count: int = SLICES, directions: Sequence[float] = AXIAL, step: float = SLICE_MM) -> np.ndarray:
    """(count, 3) LPS mm, along the normal of the slices."""
    return np.array(ORIGIN) + np.arange(count)[:, None] * step * np.cross(directions[:3], directions[3:])


def make_slice(
    number: int, stored: np.ndarray, position: Sequence[float], directions=AXIAL, uid: str = UID
) -> FileDataset:
    """One CT slice. number: its InstanceNumber. stored: (J, I) uint16."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    item.SeriesInstanceUID, item.StudyInstanceUID, item.FrameOfReferenceUID = uid, "1.2.3", "1.2.4"
    item.Modality, item.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    item.SeriesNumber, item.SeriesDescription, item.InstanceNumber = 3, "Thorax", number
    item.ImagePositionPatient = [f"{value:.6f}" for value in position]
    item.ImageOrientationPatient = [f"{value:.10f}" for value in directions]
    item.PixelSpacing, item.SliceThickness = [ROW_MM, COLUMN_MM], 1.25  # thinner than the distance of the slices
    item.Rows, item.Columns = stored.shape
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 0
    item.RescaleSlope, item.RescaleIntercept = 1, -1024
    item.PixelData = stored.tobytes()
    return item


def write_series(
    folder: Path,
    edit: Callable[[FileDataset, int], object] | None = None,
    name: Callable[[int], str] = "IM{:04d}.dcm".format,
    positions: np.ndarray | None = None,
    directions: Sequence[float] = AXIAL,
    stored: np.ndarray = STORED,
    uid: str = UID,
) -> Path:
    """Write one file for each slice; returns the folder. edit: changes a slice, by its number from 0."""
    folder.mkdir(parents=True, exist_ok=True)
    places = slice_positions(len(stored), directions) if positions is None else positions
    for k, (pixels, position) in enumerate(zip(stored, places, strict=True)):
        item = make_slice(k + 1, pixels, position, directions, uid)
        if edit:
            edit(item, k)
        if item.file_meta.TransferSyntaxUID.is_little_endian:
            item.save_as(folder / name(k), enforce_file_format=True)
        else:
            encoding = dict(little_endian=False, implicit_vr=False, force_encoding=True)
            dcmwrite(folder / name(k), item, **encoding)
    return folder


def write_enhanced(path: Path, order: Sequence[int], directions=AXIAL) -> Path:
    """Write an Enhanced CT file with all slices as frames, in the given order."""
    item = make_slice(1, STORED[0], ORIGIN)
    item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = EnhancedCTImageStorage
    for word in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(item, word)
    item.NumberOfFrames = len(order)
    item.PixelData = STORED[list(order)].tobytes()
    shared, measures, plane, rescaling = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [ROW_MM, COLUMN_MM], 1.25
    plane.ImageOrientationPatient = list(directions)
    rescaling.RescaleSlope, rescaling.RescaleIntercept, rescaling.RescaleType = 1, -1024, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [rescaling]
    item.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [f"{value:.6f}" for value in slice_positions(directions=directions)[k]]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    item.PerFrameFunctionalGroupsSequence = frames
    path.parent.mkdir(parents=True, exist_ok=True)
    item.save_as(path, enforce_file_format=True)
    return path


def known_affine(directions=AXIAL) -> np.ndarray:
    """Columns go along the row's direction by the columns' distance, and the other way round."""
    matrix = np.eye(4)
    row, column = np.array(directions[:3]), np.array(directions[3:])
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = row * COLUMN_MM, column * ROW_MM, np.cross(row, column) * SLICE_MM
    matrix[:3, 3] = ORIGIN
    return RAS @ matrix


def assert_is_the_scan(volume, directions=AXIAL):
    assert np.allclose(volume.grid.affine, known_affine(directions), atol=1e-4)
    assert np.array_equal(volume.data, HU)


def localizer(item, k):
    item.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def capture(item, k):
    item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = SecondaryCaptureImageStorage


def modality(name):
    def edit(item, k):
        item.Modality = name

    return edit


def colour(item, k):
    item.SamplesPerPixel, item.PhotometricInterpretation, item.PlanarConfiguration = 3, "RGB", 0
    item.BitsAllocated, item.BitsStored, item.HighBit = 8, 8, 7
    item.PixelData = np.repeat(STORED[k].astype(np.uint8)[..., None], 3, -1).tobytes()


def without(word):
    return lambda item, k: delattr(item, word)
