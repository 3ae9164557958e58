"""Files read back by independent programs, transforms applied by ITK, and one clear sentence for bad input."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.files import atomic, list_images, stem
from SlicRegLib.images.transforms import load_transform, save_transform
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume, to_itk

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
    image = nib.Nifti1Image(((scan.data + 1024) / 2).astype(np.float32), None)
    image.set_qform(scan.grid.affine, 1)
    image.set_sform(None)
    nib.save(image, path)
    found = load_scan(path)
    assert found.grid.matches(scan.grid, 1e-3)
    np.testing.assert_allclose(found.data, (scan.data + 1024) / 2)


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


@pytest.mark.parametrize("suffix", FORMATS)
def test_labels_round_trip(tmp_path, odd_grid, suffix):
    scan = scan_on(odd_grid)
    for top, kind in ((13, np.uint8), (4000, np.uint16)):
        labels = Volume(np.random.default_rng(1).integers(0, top, odd_grid.shape).astype(kind), odd_grid)
        labels.data[0, 0, 0] = top
        save_volume(tmp_path / f"labels{suffix}", labels)
        found = load_labels(tmp_path / f"labels{suffix}", scan)
        assert found.data.dtype == kind
        assert_same(found, labels)


def test_names(tmp_path):
    assert [stem(n) for n in ("a/pt_1.nii.gz", "x.y.nrrd", "z.NII", "plain")] == ["pt_1", "x.y", "z", "plain"]
    for name in ("b.nii.gz", "a.mha", "notes.txt", ".c.nii"):
        (tmp_path / name).touch()
    assert [p.name for p in list_images(tmp_path)] == ["a.mha", "b.nii.gz"]


# --- transforms ---


def test_transform_round_trip(tmp_path, odd_grid, smooth_field):
    field = smooth_field(odd_grid, 9.0)
    save_transform(tmp_path / "transform.h5", field)
    found = load_transform(tmp_path / "transform.h5")
    assert found.grid.matches(odd_grid, 1e-3)
    np.testing.assert_allclose(found.vectors, field.vectors, atol=1e-5)


def test_itk_applies_the_transform_file_as_we_do(tmp_path, oblique, left_handed, smooth_field):
    moving, target = oblique((30, 28, 26)), left_handed((13, 11, 9), (1.7, 2.3, 1.1))
    shift = moving.centre - target.centre
    field = smooth_field(left_handed((16, 14, 12)), 4.0)
    field.vectors.add_(torch.tensor(shift, dtype=torch.float32)[:, None, None, None])
    scan = scan_on(moving)
    save_transform(tmp_path / "transform.h5", field)
    transform = sitk.ReadTransform(str(tmp_path / "transform.h5"))
    itk = sitk.Resample(
        to_itk(scan), to_itk(Volume(np.zeros(target.shape, np.float32), target)), transform, sitk.sitkLinear, -1000
    )
    itk = sitk.GetArrayFromImage(itk).transpose(2, 1, 0)
    ours = resample(scan.tensor, moving, target, field, fill=-1000.0)[0].numpy()
    voxel = moving.to_voxel(field(target.points())).numpy()
    within = field.grid.to_voxel(target.points()).numpy()  # outside the field ITK takes zero, we the edge
    inside = (
        (voxel >= 0)
        & (voxel <= np.array(moving.shape) - 1)
        & (within >= 0)
        & (within <= np.array(field.grid.shape) - 1)
    ).all(-1)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(ours[inside], itk[inside], atol=0.5)  # of 2500 HU: float32 coordinates

    point = field.grid.to_world(np.array([5.0, 6, 4]))  # a node: its vector itself
    moved = np.array(transform.TransformPoint((point * (-1, -1, 1)).tolist())) * (-1, -1, 1)
    np.testing.assert_allclose(moved, point + field.vectors[:, 5, 6, 4].numpy(), atol=1e-3)


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
    "NaN": (nifti(NAN), "whole numbers"),
    "too large": (nifti(RAMP * 100), "65535"),
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


def test_no_images(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="folder"):
            list_images(folder)


def test_atomic_leaves_nothing_on_failure(tmp_path):
    path = tmp_path / "result.nii.gz"
    for content in (None, "kept"):
        if content:
            path.write_text(content)
        with pytest.raises(RuntimeError), atomic(path) as part:
            part.write_text("half")
            raise RuntimeError
        assert [p.name for p in tmp_path.iterdir()] == ([path.name] if content else [])
    assert path.read_text() == "kept"
    with atomic(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1
