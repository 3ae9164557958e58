"""DICOM series as scans: known geometry and values, and the choice of a series."""

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from dicom_samples import (
    AXIAL,
    HU,
    ORIGIN,
    RAS,
    SLICES,
    STORED,
    UID,
    assert_is_the_scan,
    capture,
    colour,
    known_affine,
    localizer,
    modality,
    slice_positions,
    without,
    write_enhanced,
    write_series,
)
from SlicRegLib.errors import UserError
from SlicRegLib.images.dicom_series import choose_each_series, choose_series
from SlicRegLib.images.volumes import load_scan

TURN = Rotation.from_euler("xyz", [12, -20, 35], degrees=True).as_matrix()
OBLIQUE = (*TURN[:, 0], *TURN[:, 1])
CORONAL = (1, 0, 0, 0, 0, -1)


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
