"""Scans and label maps: files read back by independent programs, and one clear sentence for bad input."""

import hashlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume

FORMATS = [".nii", ".nii.gz", ".nrrd", ".mha"]


def scan_on(grid, seed=0):
    return Volume(np.random.default_rng(seed).integers(-1000, 1500, grid.shape).astype(np.float32), grid)


def assert_same(found, known):
    assert found.grid.matches(known.grid, 1e-3)
    np.testing.assert_array_equal(found.data, known.data)


def brightest(path, program):
    """RAS mm of the brightest voxel, as another program reads the file."""
    if program == "SimpleITK":
        image = sitk.ReadImage(str(path))
        index = np.unravel_index(sitk.GetArrayFromImage(image).argmax(), image.GetSize()[::-1])[::-1]
        return np.array(image.TransformIndexToPhysicalPoint([int(i) for i in index])) * (-1, -1, 1)
    image = nib.load(path)
    return (image.affine @ [*np.unravel_index(image.get_fdata().argmax(), image.shape), 1])[:3]


# --- formats ---


@pytest.mark.parametrize("suffix", FORMATS)
def test_written_files_are_read_alike_by_others(tmp_path, odd_grid, suffix):
    scan = scan_on(odd_grid)
    scan.data[5, 2, 7] = 5000
    path = tmp_path / f"scan{suffix}"
    save_volume(path, scan)
    assert_same(load_scan(path), scan)
    known = odd_grid.to_world(np.array([5.0, 2, 7]))
    np.testing.assert_allclose(brightest(path, "SimpleITK"), known, atol=1e-3)
    if suffix.startswith(".nii"):
        np.testing.assert_allclose(brightest(path, "nibabel"), known, atol=1e-3)


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_of_others_are_read(tmp_path, odd_grid, suffix):
    scan, path = scan_on(odd_grid), tmp_path / f"scan{suffix}"
    affine = np.diag([-1, -1, 1, 1]) @ odd_grid.affine
    image = sitk.GetImageFromArray(scan.data.transpose(2, 1, 0).astype(np.int16))
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(odd_grid.spacing.tolist())
    image.SetDirection((affine[:3, :3] / odd_grid.spacing).ravel().tolist())
    sitk.WriteImage(image, str(path))
    assert_same(load_scan(path), scan)


def test_nifti_of_nibabel_with_only_a_qform_and_a_slope(tmp_path, oblique):
    scan, path = scan_on(oblique()), tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image((2 * (scan.data + 1024)).astype(np.int16), None)
    image.header.set_slope_inter(0.5, -1024)
    image.set_qform(scan.grid.affine, 1)
    image.set_sform(None)
    nib.save(image, path)
    assert_same(load_scan(path), scan)


def test_a_trailing_axis_of_one_is_dropped(tmp_path, oblique):
    scan = scan_on(oblique())
    nib.save(nib.Nifti1Image(scan.data[..., None], scan.grid.affine), tmp_path / "scan.nii")
    assert_same(load_scan(tmp_path / "scan.nii"), scan)


def test_fingerprint_is_of_the_scan_not_of_the_file(tmp_path, oblique):
    scan = scan_on(oblique())
    for suffix in FORMATS:
        save_volume(tmp_path / f"scan{suffix}", scan)
    prints = {load_scan(tmp_path / f"scan{suffix}").fingerprint() for suffix in FORMATS}
    assert prints == {scan.fingerprint()}
    other = Volume(scan.data.copy(), scan.grid)
    other.data[0, 0, 0] += 1
    assert other.fingerprint() != scan.fingerprint()
    assert Volume(scan.data, oblique(origin=(-11.0, 23.0, 8.0))).fingerprint() != scan.fingerprint()


def test_a_fingerprint_stays_what_it_is_in_models_that_exist():
    affine = np.array([[-1.25, 0, 0, 100.5], [0, 1.25, 0, -80.25], [0, 0, 3, 7.125], [0, 0, 0, 1]])
    scan = Volume(np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 12.5, Grid((2, 3, 4), affine))
    numbers = [2, 3, 4, *np.round(affine * 1000).ravel(), *(np.arange(24) * 100 - 1250)]
    assert scan.fingerprint() == hashlib.sha256(np.array(numbers, "<i8").tobytes()).hexdigest()
    assert scan.fingerprint() == "d6c3364ae139019d345411660a2ecbfe7c3906956de86c50c8e11f2f0b681840"


def test_a_nifti_says_mm_and_has_both_matrices_in_scanner_coordinates(tmp_path, odd_grid):
    for name in ("scan.nii", "scan.nii.gz"):
        save_volume(tmp_path / name, scan_on(odd_grid))
        header = nib.load(tmp_path / name).header
        assert header.get_xyzt_units()[0] == "mm"
        assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
        assert np.allclose(header.get_qform(), header.get_sform(), atol=1e-4)


@pytest.mark.parametrize("suffix", FORMATS)
def test_labels_round_trip(tmp_path, odd_grid, suffix):
    scan = scan_on(odd_grid)
    for top, kind in ((13, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)):
        labels = Volume(np.random.default_rng(1).integers(0, top, odd_grid.shape).astype(kind), odd_grid)
        labels.data[0, 0, 0] = top
        save_volume(tmp_path / f"labels{suffix}", labels)
        found = load_labels(tmp_path / f"labels{suffix}", scan)
        assert found.data.dtype == kind
        assert_same(found, labels)


# --- bad input ---


def nifti(data, affine=np.eye(4)):
    return lambda path: nib.save(nib.Nifti1Image(np.asarray(data), affine), path)


def itk(image):
    return lambda path: sitk.WriteImage(image, str(path))


RAMP = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
NAN, INFINITE = RAMP.copy(), RAMP.copy()
NAN[3, 3, 3], INFINITE[3, 3, 3] = np.nan, np.inf
SHEARED = np.eye(4)
SHEARED[0, 2] = 0.3

BAD_SCANS = {
    "missing": ("scan.nii.gz", lambda path: None, "does not exist"),
    "text": ("scan.nii.gz", lambda path: path.write_text("not an image"), "cannot be read"),
    "text nrrd": ("scan.nrrd", lambda path: path.write_text("not an image"), "cannot be read"),
    "no suffix": ("scan.txt", lambda path: path.write_text("not an image"), "cannot be read"),
    "truncated": (
        "scan.nii",
        lambda path: (nifti(RAMP)(path), path.write_bytes(path.read_bytes()[:900])),
        "cannot be read",
    ),
    "truncated gz": (
        "scan.nii.gz",
        lambda path: (nifti(RAMP)(path), path.write_bytes(path.read_bytes()[:-40])),
        "cannot be read",
    ),
    "2-D": ("scan.nii.gz", nifti(RAMP[0]), "2-D"),
    "2-D png": ("scan.png", itk(sitk.GetImageFromArray(RAMP[0].astype(np.uint8))), "2-D"),
    "4-D": ("scan.nii.gz", nifti(np.stack([RAMP, RAMP], -1)), "4-D"),
    "4-D nrrd": ("scan.nrrd", itk(sitk.JoinSeries([sitk.GetImageFromArray(RAMP)] * 2)), "4-D"),
    "NaN": ("scan.nii.gz", nifti(NAN), "NaN"),
    "infinite": ("scan.nii.gz", nifti(INFINITE), "infinite"),
    "constant": ("scan.nii.gz", nifti(np.full((10, 10, 10), -1000, np.int16)), "constant"),
    "few slices": ("scan.nii.gz", nifti(RAMP[:, :, :7]), "fewer than 8 slices"),
    "sheared": ("scan.nii.gz", nifti(RAMP, SHEARED), "sheared"),
    "vector": ("scan.mha", itk(sitk.GetImageFromArray(np.stack([RAMP] * 3, -1), isVector=True)), "3 components"),
    "complex": ("scan.nii.gz", nifti(RAMP.astype(np.complex64)), "complex"),
}
BAD_LABELS = {
    "fractional": (nifti(RAMP / 7), "whole numbers"),
    "negative": (nifti(-RAMP), "whole numbers"),
    "one of -1": (nifti(np.where(RAMP == 5, -1, RAMP)), "whole numbers"),
    "NaN": (nifti(NAN), "whole numbers"),
    "too large": (nifti(RAMP * 100), "65535"),
    "one of 65536": (nifti(np.where(RAMP == 5, 65536, RAMP)), "65535"),
    "other shape": (nifti(RAMP[:9]), "(9, 10, 10)"),
    "other place": (nifti(RAMP, np.array([[1, 0, 0, 40], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])), "geometry"),
}


def assert_one_sentence(error, path, words):
    text = str(error.value)
    assert words in text and path.name in text
    assert text.endswith(".") and "\n" not in text and ". " not in text and len(text) < 400


@pytest.mark.parametrize("case", BAD_SCANS)
def test_bad_scans(tmp_path, case):
    name, write, words = BAD_SCANS[case]
    write(tmp_path / name)
    for load in (load_scan, load_labels) if case not in ("NaN", "infinite", "constant") else (load_scan,):
        with pytest.raises(UserError) as error:
            load(tmp_path / name)
        assert_one_sentence(error, tmp_path / name, words)


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(tmp_path, case):
    write, words = BAD_LABELS[case]
    write(tmp_path / "labels.nii.gz")
    with pytest.raises(UserError) as error:
        load_labels(tmp_path / "labels.nii.gz", Volume(RAMP, Grid(RAMP.shape, np.eye(4))))
    assert_one_sentence(error, tmp_path / "labels.nii.gz", words)
