"""NIfTI headers: the same geometry as SimpleITK's, which is Slicer's; notes and refusals."""

import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nifti_headers import SHAPE, SPACING, VOXELS, affine, write_nifti
from SlicRegLib.errors import UserError
from SlicRegLib.images.reading import read_image
from SlicRegLib.images.volumes import load_labels, load_scan

HERE, SHIFTED, TURNED = affine(), affine(origin=(-68.0, 50.0, 70.0)), affine(angles=(12.0, 20.0, 30.0))
STRAIGHT, STRETCHED = affine((0, 0, 0)), affine((0, 0, 0), SPACING + (0.3, 0, 0))  # at the 16th voxel 4.5 mm apart
FLIPPED = HERE @ np.diag([-1.0, 1, 1, 1])
CODES = [(q, s) for q, s in itertools.product(range(5), range(5))]


def read_with_simpleitk(path) -> np.ndarray:
    """The affine in RAS mm, without the code under test."""
    image = sitk.ReadImage(str(path))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1, 1, 1]) @ matrix


def headers():
    """Name -> arguments of `write_nifti`, for headers that ITK reads."""
    for codes in CODES:
        yield f"codes {codes}", dict(codes=codes)
        if min(codes) > 0:
            for name, other in (("shifted", SHIFTED), ("turned", TURNED), ("flipped", FLIPPED)):
                yield f"codes {codes} sform {name}", dict(codes=codes, sform=other)
    for codes in ((1, 0), (0, 1), (1, 1), (2, 4), (0, 0)):
        for units in (0, 2, 4, 7, 8 + 2, 16 + 2, 24 + 2, 16):
            yield f"units {units} codes {codes}", dict(codes=codes, xyzt_units=units)
        for qfac in (0, 1, -1, 2):
            yield f"qfac {qfac} codes {codes}", dict(codes=codes, pixdim=[qfac, *SPACING, 1, 1, 1, 1])
        for units, factor in ((1, 1e-3), (9, 1e-3), (3, 1e3), (19, 1e3)):
            far = affine(spacing=SPACING * factor, origin=np.array([-100.0, 50, 70]) * factor)
            yield f"units {units} codes {codes}", dict(codes=codes, qform=far, xyzt_units=units)
        for dims in (
            (4, *SHAPE, 1, 1, 1, 1),
            (5, *SHAPE, 1, 1, 1, 1),
            (7, *SHAPE, 1, 1, 1, 1),
            (3, *SHAPE, 7, 7, 7, 7),
        ):
            yield f"dim {dims} codes {codes}", dict(codes=codes, dim=dims)
        yield f"dim 0 codes {codes}", dict(codes=codes, dim=(4, *SHAPE, 0, 0, 0, 0))
        yield f"big-endian codes {codes}", dict(codes=codes, order=">")
        yield f"pixdim codes {codes}", dict(codes=codes, pixdim=[1, 5, 5, 5, 1, 1, 1, 1])
    for skew in (1e-6, 1e-5, 5e-5, 1e-3, 1e-2, 0.3):
        for code in (1, 2, 3):
            yield f"skew {skew} codes (1, {code})", dict(codes=(1, code), sform=affine(skew=skew))
    for skew in (1e-6, 1e-5, 5e-5):
        yield f"skew {skew} codes (0, 1)", dict(codes=(0, 1), sform=affine(skew=skew))
    for b, c, d in ((0.8, 0.8, 0.8), (1, 0, 0), (2, 0, 0), (0, 0, 1), (0, 0, 0)):
        yield f"quaternion {(b, c, d)}", dict(codes=(1, 0), quatern_b=b, quatern_c=c, quatern_d=d)
    yield "sform of zeros", dict(srow_x=0, srow_y=0, srow_z=0)
    yield "oblique, swapped", dict(codes=(0, 1), sform=HERE @ np.eye(4)[[1, 2, 0, 3]])
    for step in (1e-5, 1e-4, 1e-3, 0.1):
        yield f"moved {step}", dict(codes=(1, 2), sform=affine(origin=(-100 + step, 50, 70)))


def test_the_geometry_is_that_of_simpleitk(tmp_path):
    wrong, tried = [], 0
    for name, arguments in headers():
        path = write_nifti(tmp_path / "scan.nii", **arguments)
        expected, found = read_with_simpleitk(path), load_scan(path).grid
        tried += 1
        if found.shape != SHAPE or np.abs(found.affine - expected).max() > 1e-3:
            wrong.append((name, found.affine.round(3).tolist(), expected.round(3).tolist()))
    assert tried > 200
    assert not wrong, wrong


def test_the_voxels_are_those_of_simpleitk(tmp_path):
    nan, infinite = np.nan, np.inf
    scales = ((0, 0), (nan, nan), (2, -100), (infinite, 0), (1, nan), (nan, 5), (0, 5), (1, -1024), (-1, 0), (1e-20, 0))
    kinds = (np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64)
    for slope, intercept in scales:
        path = write_nifti(tmp_path / "scan.nii", scl_slope=slope, scl_inter=intercept)
        expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
        assert np.array_equal(load_scan(path).data, expected.astype(np.float32)), (slope, intercept)
    for kind, order in itertools.product(kinds, "<>"):
        path = write_nifti(
            tmp_path / "scan.nii", voxels=(VOXELS % 100).astype(kind), order=order, scl_slope=2, scl_inter=-5
        )
        expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
        assert np.array_equal(load_scan(path).data, expected.astype(np.float32)), (kind, order)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(codes=(1, 2), sform=SHIFTED), "differ by up to 32 mm; the qform is used"),
        (dict(codes=(1, 1), sform=SHIFTED), "differ by up to 32 mm; the sform is used"),
        (dict(codes=(2, 3), sform=FLIPPED), "the qform is used"),
        (dict(qform=STRAIGHT, codes=(1, 2), sform=STRETCHED), "differ by up to 4.5 mm; the qform is used"),
        (dict(codes=(1, 1), sform=affine(skew=0.1)), "the qform is used"),
        (dict(codes=(0, 0)), "neither orientation nor position"),
        (dict(codes=(0, 1), pixdim=[1, 4, 6, 9, 1, 1, 1, 1]), "voxel sizes of 4 x 6 x 8 in its sform"),
        (dict(codes=(0, 1), sform=affine(skew=5e-4)), "not quite perpendicular"),
        (dict(qform=np.eye(4)), "lost their geometry"),
        (dict(qform=affine(spacing=SPACING / 4)), "in centimetres"),
    ],
)
def test_notes(tmp_path, arguments, words):
    path = write_nifti(tmp_path / "scan.nii", **arguments)
    (note,) = load_scan(path).notes
    assert words in note and "scan.nii" in note and note.endswith(".") and ". " not in note


def test_an_ordinary_scan_has_no_notes(tmp_path):
    for codes in ((1, 1), (1, 0), (0, 1), (0, 2), (1, 4)):
        assert load_scan(write_nifti(tmp_path / "scan.nii", codes=codes)).notes == ()


def test_nearly_perpendicular_axes_are_straightened(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", codes=(0, 1), sform=affine(skew=5e-4))
    found = load_scan(path).grid
    assert found.shear < 1e-9
    assert np.abs(found.affine - HERE).max() < 5e-3
    assert np.allclose(found.spacing, SPACING, atol=1e-5)


def image_pair(kind):
    def write(folder):
        nib.save(kind(VOXELS, HERE), folder / "scan.hdr")
        return folder / "scan.hdr"

    return write


def compressed(name):
    def write(folder):
        plain = write_nifti(folder / "plain.nii").read_bytes()
        (folder / name).write_bytes(gzip.compress(plain[:3000]) + gzip.compress(plain[3000:]))
        return folder / name

    return write


def plain_named_gz(folder):
    return write_nifti(folder / "scan.nii.gz")


@pytest.mark.parametrize(
    "write",
    [
        image_pair(nib.Nifti1Pair),
        lambda folder: image_pair(nib.Nifti1Pair)(folder).with_suffix(".img"),
        compressed("scan.nii.gz"),
        compressed("SCAN.NII.GZ"),
        compressed("scan.nii"),
        plain_named_gz,
        lambda folder: write_nifti(folder / "scan.nii", kind=nib.Nifti2Image),
        lambda folder: write_nifti(folder / "scan.nii", kind=nib.Nifti2Image, order=">"),
    ],
)
def test_files_of_other_make(tmp_path, write):
    volume = load_scan(write(tmp_path))
    assert np.array_equal(volume.data, VOXELS)
    assert np.abs(volume.grid.affine - HERE).max() < 1e-4


def test_analyze(tmp_path):
    path = image_pair(nib.AnalyzeImage)(tmp_path)
    volume = load_scan(path)
    assert np.allclose(volume.grid.affine, read_with_simpleitk(path))
    assert np.array_equal(volume.data, VOXELS)
    assert "neither orientation nor position" in volume.notes[0]


NOT_FINITE = (np.nan, 0, 0, 0)
REFUSED = {
    "metres taken for mm": (dict(qform=affine(spacing=SPACING / 1000)), "is it in metres"),
    "10 microns": (dict(qform=affine(spacing=(0.8, 0.8, 0.01))), "mm long along an axis"),
    "micro-CT": (dict(qform=affine(spacing=(0.02, 3, 3)), voxels=np.repeat(VOXELS, 40, 0)), "micro-CT"),
    "1000 times too large": (dict(qform=affine(spacing=SPACING * 1000)), "is it in micrometres"),
    "thick": (dict(qform=affine(spacing=(2, 3, 60))), "voxels of 60 mm"),
    "metre units of mm": (dict(xyzt_units=1), "m long"),
    "far away": (dict(qform=affine(origin=(0, 3e6, 0))), "from the origin"),
    "zero voxel": (dict(pixdim=[1, 0, 3, 4, 1, 1, 1, 1]), "pixdim 0 x 3 x 4"),
    "negative voxel": (dict(pixdim=[1, -2, 3, 4, 1, 1, 1, 1]), "pixdim -2 x 3 x 4"),
    "NaN voxel": (dict(pixdim=[1, np.nan, 3, 4, 1, 1, 1, 1]), "pixdim nan"),
    "NaN qform": (dict(quatern_b=np.nan), "its qform is not finite"),
    "NaN position": (dict(qoffset_x=np.inf), "its qform is not finite"),
    "NaN sform": (dict(srow_x=NOT_FINITE), "its sform is not finite"),
    "sform only, zero": (dict(codes=(0, 1), srow_x=0, srow_y=0, srow_z=0), "voxel-to-world matrix"),
    "sheared": (dict(codes=(0, 1), sform=affine(skew=0.01)), "sheared"),
    "1-D": (dict(dim=(1, 100, 1, 1, 1, 1, 1, 1)), "1-D"),
    "2-D": (dict(dim=(2, 16, 120, 1, 1, 1, 1, 1)), "2-D"),
    "one slice": (dict(dim=(3, 16, 12, 1, 1, 1, 1, 1)), "(16, 12, 1): fewer than 8 slices"),
    "4-D": (dict(dim=(4, 16, 12, 5, 2, 1, 1, 1)), "4-D"),
    "5-D": (dict(dim=(5, 8, 8, 8, 1, 3, 1, 1)), "5-D"),
    "time before slices": (dict(dim=(4, 16, 12, 1, 10, 1, 1, 1)), "4-D"),
    "dim 0": (dict(dim=(0, 16, 12, 10, 1, 1, 1, 1)), "header is damaged"),
    "dim 9": (dict(dim=(9, 16, 12, 10, 1, 1, 1, 1)), "cannot be read"),
    "negative": (dict(dim=(3, 16, 12, -10, 1, 1, 1, 1)), "header is damaged"),
    "huge": (dict(dim=(3, 30000, 30000, 30000, 1, 1, 1, 1)), "million voxels"),
    "more than there is": (dict(dim=(3, 600, 600, 600, 1, 1, 1, 1)), "432000000 bytes"),
    "offset": (dict(vox_offset=1e9), "cannot be read"),
    "no offset": (dict(vox_offset=np.nan), "header is damaged"),
    "colour": (dict(datatype=128), "colour"),
    "no type": (dict(datatype=0), "cannot be read"),
    "unknown type": (dict(datatype=77), "cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_the_voxels_are_read(tmp_path, case):
    arguments, words = REFUSED[case]
    path = write_nifti(tmp_path / "scan.nii", **arguments)
    for load in (load_scan, load_labels):
        with pytest.raises(UserError) as error:
            load(path)
        text = str(error.value)
        assert words in text and "scan.nii" in text
        assert text.endswith(".") and ". " not in text and "\n" not in text and len(text) < 400


def test_a_small_file_cannot_hold_a_large_image(tmp_path):
    plain = write_nifti(tmp_path / "plain.nii", dim=(3, 900, 900, 900, 1, 1, 1, 1)).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(plain))
    with pytest.raises(UserError, match=r"declares 1458000000 bytes of voxels, but only \d+ compressed bytes"):
        load_scan(tmp_path / "bomb.nii.gz")
    whole = gzip.compress(write_nifti(tmp_path / "plain.nii").read_bytes())
    for name, content in (("cut", whole[:-900]), ("flipped", whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:])):
        (tmp_path / f"{name}.nii.gz").write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            load_scan(tmp_path / f"{name}.nii.gz")


def test_a_pair_without_its_voxels(tmp_path):
    path = image_pair(nib.Nifti1Pair)(tmp_path)
    path.with_suffix(".img").unlink()
    with pytest.raises(UserError, match=r"scan.img is missing"):
        read_image(path)


def test_no_flipped_bit_of_a_compressed_file_changes_voxels_unnoticed(tmp_path):
    whole = gzip.compress(write_nifti(tmp_path / "plain.nii").read_bytes(), 1)
    choose, refused, path = np.random.default_rng(0), 0, tmp_path / "scan.nii.gz"
    for position in choose.integers(10, len(whole), 60):  # the first ten bytes hold a time
        changed = bytearray(whole)
        changed[position] ^= 1 << choose.integers(8)
        path.write_bytes(changed)
        try:
            assert np.array_equal(load_scan(path).data, VOXELS)
        except UserError:
            refused += 1
    assert refused > 50
