"""DICOM that is no scan, and what each is refused with."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    EnhancedCTImageStorage,
    HTJ2KLossless,
)

from dicom_samples import (
    AXIAL,
    COLUMN_MM,
    ORIGIN,
    ROW_MM,
    SLICE_MM,
    SLICES,
    STORED,
    assert_is_the_scan,
    capture,
    colour,
    localizer,
    modality,
    slice_positions,
    without,
    write_enhanced,
    write_series,
)
from SlicRegLib.errors import UserError
from SlicRegLib.images.volumes import load_labels, load_scan

Z = np.array([0, 0, 1.0])
TILT = np.cross(AXIAL[:3], AXIAL[3:]) + [0, np.tan(np.radians(12)), 0]


def moved(k, by):
    places = slice_positions()
    places[k] += by
    return places


def other_size(item, k):
    if k == 4:
        item.Rows, item.Columns = 12, 14


def other_turn(item, k):
    if k == 4:
        item.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


def other_spacing(item, k):
    if k == 4:
        item.PixelSpacing = [ROW_MM, COLUMN_MM * 1.1]


def skewed(item, k):
    item.ImageOrientationPatient = [1, 0, 0, 0.3, 0.95, 0]


def huge(item, k):
    item.Rows, item.Columns = 60000, 60000


def unreadable(item, k):
    item.file_meta.TransferSyntaxUID = HTJ2KLossless
    item.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    item["PixelData"].is_undefined_length = True


def cut(folder):
    path = write_series(folder) / "IM0004.dcm"
    path.write_bytes(path.read_bytes()[:-50])


def cut_early(folder):
    path = write_series(folder) / "IM0004.dcm"
    path.write_bytes(path.read_bytes()[:300])


def empty_file(folder):
    (write_series(folder) / "IM0004.dcm").write_bytes(b"")


def without_a_slice(folder):
    (write_series(folder) / "IM0004.dcm").unlink()


def frames_without_positions(folder):
    def edit(item, k):
        item.NumberOfFrames, item.PixelData = SLICES, STORED.tobytes()

    write_series(folder, edit, stored=STORED[:1])


def two_enhanced(folder):
    write_enhanced(folder / "a", range(SLICES))
    write_enhanced(folder / "b", range(SLICES))


def series(*arguments, **more):
    return lambda folder: write_series(folder, *arguments, **more)


REFUSED = {
    "missing slice": (without_a_slice, "lacks about 1 slice, the first between 45.0 and 55.0 mm"),
    "double slice": (series(positions=moved(4, -SLICE_MM * Z)), "has 1 pair of slices at the same place"),
    "two phases": (
        series(positions=slice_positions()[np.arange(SLICES) // 2], stored=STORED),
        "several phases",
    ),
    "uneven": (series(positions=moved(4, 0.15 * Z)), "uneven distances"),
    "shifted": (series(positions=moved(4, np.array([0.5, 0, 0]))), "uneven distances"),
    "drifting": (series(positions=slice_positions() + np.arange(SLICES)[:, None] ** 2 * 0.03 * Z), "uneven"),
    "tilt": (series(positions=np.array(ORIGIN) + np.arange(SLICES)[:, None] * SLICE_MM * TILT), "tilt of 12.0 degrees"),
    "few": (series(stored=STORED[:7]), "fewer than 8 slices"),
    "one": (series(stored=STORED[:1]), "fewer than 8 slices"),
    "localizers": (series(localizer), "no CT series, but localizers"),
    "captures": (series(capture), "secondary captures"),
    "MR": (series(modality("MR")), "MR objects"),
    "PET": (series(modality("PT")), "PT objects"),
    "colour": (series(colour), "colour images"),
    "no pixels": (series(without("PixelData")), "objects without pixels"),
    "no position": (series(without("ImagePositionPatient")), "images without position"),
    "no orientation": (series(without("ImageOrientationPatient")), "no valid position, orientation"),
    "no spacing": (series(without("PixelSpacing")), "no valid position, orientation or pixel spacing"),
    "other size": (series(other_size), "mixes slices"),
    "other turn": (series(other_turn), "mixes slices"),
    "other spacing": (series(other_spacing), "mixes slices"),
    "skewed": (series(skewed), "no rotation"),
    "huge": (series(huge), "million voxels"),
    "unreadable": (series(unreadable), "of transfer syntax 1.2.840.10008.1.2.4.201, are damaged or compressed"),
    "cut": (cut, "IM0004.dcm is incomplete"),
    "cut early": (cut_early, "IM0004.dcm is incomplete"),
    "empty file": (empty_file, "IM0004.dcm is called .dcm"),
    "frames": (frames_without_positions, "frames without positions"),
    "several enhanced": (two_enhanced, "several files with several frames"),
    "empty folder": (lambda folder: folder.mkdir(), "folder without a DICOM series"),
    "other files": (
        lambda folder: (folder.mkdir(), (folder / "scan.txt").write_text("x")),
        "folder without a DICOM series",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    write, words = REFUSED[case]
    write(tmp_path / "ct")
    with pytest.raises(UserError) as error:
        load_scan(tmp_path / "ct")
    text = str(error.value)
    assert words in text and "ct" in text
    assert text.endswith(".") and ". " not in text.replace(str(tmp_path), "") and "\n" not in text and len(text) < 450


def test_single_files_that_are_no_slice(tmp_path):
    folder = write_series(tmp_path / "ct", localizer)
    with pytest.raises(UserError, match=r"IM0001.dcm holds localizers, no CT slice"):
        load_scan(folder / "IM0001.dcm")
    (folder / "text.dcm").write_text("no DICOM")
    with pytest.raises(UserError, match="no DICOM file"):
        load_scan(folder / "text.dcm")


def test_a_series_is_no_label_map(tmp_path):
    with pytest.raises(UserError, match="holds no labels"):
        load_labels(write_series(tmp_path / "ct"))


def test_the_class_is_no_condition(tmp_path):
    def edit(item, k):
        item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = EnhancedCTImageStorage

    assert_is_the_scan(load_scan(write_series(tmp_path / "ct", edit)))
