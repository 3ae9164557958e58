"""DICOM series as scans: known geometry and values, the choice of a series, and what is refused."""

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from scipy.spatial.transform import Rotation

from dicom_samples import (
    AXIAL,
    COLUMN_MM,
    ORIGIN,
    ROW_MM,
    SLICE_MM,
    SLICES,
    STORED,
    UID,
    slice_positions,
    write_enhanced,
    write_series,
)
from SlicRegLib.errors import UserError
from SlicRegLib.images.dicom_series import choose_each_series, choose_series
from SlicRegLib.images.volumes import load_labels, load_scan

HU = STORED.transpose(2, 1, 0).astype(np.float32) - 1024
RAS = np.diag([-1.0, -1, 1, 1])
TURN = Rotation.from_euler("xyz", [12, -20, 35], degrees=True).as_matrix()
OBLIQUE = (*TURN[:, 0], *TURN[:, 1])
CORONAL = (1, 0, 0, 0, 0, -1)


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


@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE, CORONAL, (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0)])
def test_geometry_and_values(tmp_path, directions):
    folder = write_series(tmp_path / "ct", directions=directions)
    volume = load_scan(folder)
    assert_is_the_scan(volume, directions)
    assert volume.data.dtype == np.float32 and volume.notes == ()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), UID))
    image = reader.Execute()
    theirs = np.eye(4)
    theirs[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    theirs[:3, 3] = image.GetOrigin()
    assert np.allclose(volume.grid.affine, RAS @ theirs, atol=1e-4)
    assert np.array_equal(volume.data, sitk.GetArrayFromImage(image).T)


def with_padding(item, k):
    item.PixelRepresentation, item.PixelPaddingValue = 1, -2000
    item.PixelData = (STORED[k].astype(np.int16) - 24).tobytes()
    item.RescaleIntercept = -1000


def with_slope(item, k):
    """Each slice has a slope of its own."""
    slope = (1, 0.5, 2)[k % 3]
    item.RescaleSlope, item.RescaleIntercept = slope, -1024 - 8 * k
    item.PixelData = np.round((HU.T[k] + 1024 + 8 * k) / slope).astype(np.uint16).tobytes()


def renumbered(item, k):
    item.InstanceNumber = 100 - k


def rounded(item, k):
    item.ImagePositionPatient = [f"{v:.1f}" for v in slice_positions()[k] + 0.04 * (k % 2) * np.array([0, 0, 1])]


def in_syntax(syntax, **settings):
    def edit(item, k):
        if syntax == RLELossless:
            item.compress(syntax)
        item.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            item.PixelData = STORED[k].astype(">u2").tobytes()

    return edit


@pytest.mark.parametrize(
    "edit, name",
    [
        (renumbered, lambda k: f"{(k * 7) % SLICES:02d}.dcm"),
        (None, lambda k: f"{(k * 3) % SLICES}"),
        (None, lambda k: f"I.{k}.1.2.840"),
        (with_padding, "s{}".format),
        (in_syntax(ImplicitVRLittleEndian), "s{}".format),
        (in_syntax(ExplicitVRBigEndian), "s{}".format),
        (in_syntax(RLELossless), "s{}".format),
        (in_syntax(DeflatedExplicitVRLittleEndian), "s{}".format),
    ],
)
def test_series_of_other_make(tmp_path, edit, name):
    assert_is_the_scan(load_scan(write_series(tmp_path / "ct", edit, name)))


def test_each_slice_has_its_own_slope(tmp_path):
    volume = load_scan(write_series(tmp_path / "ct", with_slope))
    assert np.abs(volume.data - HU).max() <= 1  # the stored values are whole numbers
    assert np.array_equal(volume.data[:, :, 0::3], HU[:, :, 0::3])


def test_positions_that_were_rounded(tmp_path):
    volume = load_scan(write_series(tmp_path / "ct", rounded))
    assert np.allclose(volume.grid.affine, known_affine(), atol=0.02)


def written(digits, along):
    """Positions as text: x and y with four digits, z rounded to a number of digits."""
    places = np.array(ORIGIN) + [0.1234, 0.5678, 0] + np.outer(along, [0, 0, 1])
    return [[f"{x:.4f}", f"{y:.4f}", f"{z:.{digits}f}"] for x, y, z in places]


@pytest.mark.parametrize("step, digits", [(0.625, 1), (1.25, 1), (2.5, 0), (5, 0)])
def test_slices_whose_z_was_rounded(tmp_path, step, digits):
    texts = written(digits, np.arange(40) * step)
    stored = np.resize(STORED, (40, *STORED.shape[1:]))

    def edit(item, k):
        item.ImagePositionPatient = texts[k]

    volume = load_scan(write_series(tmp_path / "ct", edit, stored=stored))
    assert abs(volume.grid.spacing[2] - step) < 0.002 * step
    assert abs(volume.grid.affine[2, 3] - ORIGIN[2]) <= 0.5 * 10**-digits
    assert bool(volume.notes) == (step != 5)
    if volume.notes:
        assert f"rounded, up to {0.5 * 10**-digits:.2g} mm off; even slices of" in volume.notes[0]


@pytest.mark.parametrize("digits, shift", [(0, 1), (1, 0.1), (1, 0.2)])
def test_rounding_explains_half_a_unit_only(tmp_path, digits, shift):
    along = np.round(np.arange(10) * 2.5 / (2.5 if digits else 1.25)) * (2.5 if digits else 2)
    along[[3, 4]] += [shift, -shift]
    texts = written(digits, along)

    def edit(item, k):
        item.ImagePositionPatient = texts[k]

    with pytest.raises(UserError, match="uneven distances"):
        load_scan(write_series(tmp_path / "ct", edit))


def test_a_file_stands_for_its_series(tmp_path):
    folder = write_series(tmp_path / "ct")
    write_series(folder, uid=f"{UID}.2", name="other{}".format, stored=STORED[::-1])
    assert_is_the_scan(load_scan(folder / "IM0004.dcm"))
    assert np.array_equal(load_scan(folder / "other4").data, HU[:, :, ::-1])


def test_folders_of_folders_and_a_dicomdir(tmp_path):
    write_series(tmp_path / "cd" / "DICOM" / "ST0" / "SE0", name="IM{}".format)
    (tmp_path / "cd" / "README.TXT").write_text("viewer")
    shutil.copy(tmp_path / "cd" / "DICOM" / "ST0" / "SE0" / "IM0", tmp_path / "cd" / "DICOMDIR")
    assert_is_the_scan(load_scan(tmp_path / "cd"))
    assert_is_the_scan(load_scan(tmp_path / "cd" / "DICOMDIR"))


def test_files_without_preamble(tmp_path):
    folder = write_series(tmp_path / "ct")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[132:])
    assert_is_the_scan(load_scan(folder))


@pytest.mark.parametrize("order", [range(SLICES), range(SLICES)[::-1], [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]])
@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE])
def test_enhanced_ct(tmp_path, order, directions):
    path = write_enhanced(tmp_path / "ct" / "IM1", list(order), directions)
    assert_is_the_scan(load_scan(path), directions)
    assert_is_the_scan(load_scan(path.parent), directions)


def with_undefined_lengths(items: Dataset) -> None:
    for element in items:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                with_undefined_lengths(item)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_sequences_of_undefined_length(tmp_path, syntax):
    path = write_enhanced(tmp_path / "IM1", list(range(SLICES)), OBLIQUE)
    item, inner, outer = pydicom.dcmread(path), Dataset(), Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    outer.ReferencedImageSequence = [inner, inner]
    item.ReferencedStudySequence = [outer, outer]
    with_undefined_lengths(item)
    item.file_meta.TransferSyntaxUID = syntax
    item.save_as(path, enforce_file_format=True)
    assert_is_the_scan(load_scan(path), OBLIQUE)


# --- several series ---


def numbered(number, description):
    def edit(item, k):
        item.SeriesNumber, item.SeriesDescription = number, description

    return edit


@pytest.fixture
def two_series(tmp_path):
    write_series(tmp_path / "ct", numbered(2, "Thorax"), "a{}".format)
    write_series(tmp_path / "ct", numbered(11, "Abdomen"), "b{}".format, stored=STORED[:9][::-1], uid=f"{UID}.2")
    return tmp_path / "ct"


def test_several_series_are_listed(two_series):
    with pytest.raises(UserError) as error:
        load_scan(two_series)
    text = str(error.value)
    assert "holds 2 CT series: 2 (Thorax, 10 slices), 11 (Abdomen, 9 slices)" in text and "--series" in text


def test_a_series_is_chosen_by_number_or_uid(two_series):
    assert_is_the_scan(load_scan(two_series, "2"))
    assert_is_the_scan(load_scan(two_series, UID))
    assert np.array_equal(load_scan(two_series, "11").data, HU[:, :, 8::-1])
    with pytest.raises(UserError, match=r"has no series 5; it holds 2 \(Thorax"):
        load_scan(two_series, "5")


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


def test_what_lies_beside_a_scan_is_passed_over(tmp_path):
    folder = write_series(tmp_path / "ct")
    for n, edit in enumerate((localizer, capture, modality("MR"), modality("PT"), colour, without("PixelData"))):
        write_series(folder, edit, f"x{n}_{{}}".format, uid=f"{UID}.{n + 5}")
    write_series(folder, numbered(1, "Scout"), "scout{}".format, stored=STORED[:2], uid=f"{UID}.99")
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "._IM0001.dcm").write_bytes(b"resource fork")
    (folder / ".DS_Store").write_bytes(bytes(40))
    assert_is_the_scan(load_scan(folder))


def test_copies_count_once(tmp_path):
    folder = write_series(tmp_path / "ct")
    for k in (2, 3):
        shutil.copy(folder / f"IM000{k}.dcm", folder / f"copy{k}.dcm")
    volume = load_scan(folder)
    assert_is_the_scan(volume)
    assert "copies of 2 slices" in volume.notes[0]


def test_a_wanted_series_is_named_with_its_folder(two_series, tmp_path):
    assert choose_series(two_series, "") == two_series
    chosen = choose_series(two_series, "11")
    assert str(chosen) == f"{two_series}#11"
    assert choose_series(two_series / "a3", f"{UID}.2").name == f"ct#{UID}.2"
    assert np.array_equal(load_scan(chosen).data, HU[:, :, 8::-1])
    (tmp_path / "scan.nii.gz").touch()
    for path, wanted, words in (
        (two_series, "5", "has no series 5"),
        (tmp_path / "scan.nii.gz", "5", "is no DICOM series; leave out"),
        (tmp_path / "none", "5", "does not exist"),
    ):
        with pytest.raises(UserError, match=words):
            choose_series(path, wanted)
    assert choose_each_series([two_series, tmp_path / "scan.nii.gz"], "11") == [chosen, tmp_path / "scan.nii.gz"]
    assert choose_each_series([two_series], "5") == [two_series]  # what is wrong is told when it is read


# --- refused ---

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
