"""Files of displacement fields: known points to known points, as SimpleITK, nibabel and h5py read them; refusals."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images import displacements
from SlicRegLib.images.displacements import WRITERS, read_displacements, write_displacements

LPS = np.array([-1.0, -1.0, 1.0])
STEP = 1 / 128


def random_vectors(shape) -> np.ndarray:
    """Up to 8 mm, in whole steps; zero at the first slice."""
    vectors = np.random.default_rng(0).integers(-8 * 128, 8 * 128, (*shape, 3)).astype(np.float32) * STEP
    vectors[0] = 0
    return vectors


def open_in_itk(path) -> sitk.Transform:
    if path.suffix == ".h5":
        return sitk.ReadTransform(str(path))
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


@pytest.mark.parametrize("suffix", WRITERS)
def test_itk_moves_known_points_to_known_points(suffix, odd_grid, tmp_path):
    vectors = random_vectors(odd_grid.shape)
    path = tmp_path / f"field{suffix}"
    write_displacements(path, vectors, odd_grid.affine)
    itk = open_in_itk(path)
    voxels = np.random.default_rng(1).integers(0, np.array(odd_grid.shape) - 1, (50, 3))
    for i, j, k in voxels:
        at = odd_grid.to_world(np.array([i, j, k], float))
        there = np.array(itk.TransformPoint((at * LPS).tolist())) * LPS
        np.testing.assert_allclose(there, at + vectors[i, j, k], atol=1e-4)
        middle = odd_grid.to_world(np.array([i, j, k + 0.5]))
        there = np.array(itk.TransformPoint((middle * LPS).tolist())) * LPS
        np.testing.assert_allclose(there, middle + vectors[i, j, k : k + 2].mean(0), atol=1e-4)
    outside = odd_grid.to_world(np.array([0.0, 0, -3])) * LPS
    np.testing.assert_array_equal(itk.TransformPoint(outside.tolist()), outside)


@pytest.mark.parametrize("suffix", WRITERS)
def test_what_is_read_is_what_was_written_to_half_a_step(suffix, odd_grid, tmp_path):
    vectors = np.random.default_rng(2).normal(0, 30, (*odd_grid.shape, 3)).astype(np.float32)
    vectors[:2] = 0
    path = tmp_path / f"FIELD{suffix.upper()}"
    write_displacements(path, vectors, odd_grid.affine)
    found, affine = read_displacements(path)
    assert found.dtype == np.float32 and np.abs(found - vectors).max() <= STEP / 2
    assert not found[:2].any() and not np.signbit(found[:2]).any()
    np.testing.assert_allclose(affine, odd_grid.affine, atol=1e-5)  # NIfTI: single precision
    first = path.read_bytes()
    write_displacements(path, vectors, odd_grid.affine)
    assert path.read_bytes() == first


def test_nifti_as_nibabel_reads_it(odd_grid, tmp_path):
    """Displacements are RAS vectors there, as the standard says and ITK expects since 5.4."""
    vectors = random_vectors(odd_grid.shape)
    write_displacements(tmp_path / "field.nii.gz", vectors, odd_grid.affine)
    image = nib.load(tmp_path / "field.nii.gz")
    assert image.shape == (*odd_grid.shape, 1, 3) and image.get_data_dtype() == np.float32
    assert image.header.get_intent()[0] == "displacement vector" and int(image.header["intent_code"]) == 1006
    assert image.header.get_xyzt_units()[0] == "mm"
    for matrix, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(matrix, odd_grid.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[:, :, :, 0], vectors)


def test_nrrd_and_hdf5_as_they_are_on_the_disk(oblique, tmp_path):
    grid = oblique()
    vectors = random_vectors(grid.shape)
    for suffix in (".nrrd", ".h5"):
        write_displacements(tmp_path / f"field{suffix}", vectors, grid.affine)
    header = (tmp_path / "field.nrrd").read_bytes().split(b"\n\n")[0].decode().splitlines()
    for line in (
        "type: float",
        "sizes: 3 14 12 10",
        "space: left-posterior-superior",
        "kinds: vector domain domain domain",
        "encoding: gzip",
    ):
        assert line in header
    with h5py.File(tmp_path / "field.h5") as file:
        assert {"ITKVersion", "HDFVersion", "OSName", "OSVersion", "TransformGroup"} == set(file)
        group = file["TransformGroup/0"]
        assert group["TransformType"][0] == b"DisplacementFieldTransform_float_3_3"
        values = group["TransformParameters"]
        assert values.dtype == np.float32 and values.compression == "gzip" and values.shuffle
        np.testing.assert_array_equal(values[:].reshape(10, 12, 14, 3).transpose(2, 1, 0, 3) * LPS, vectors)
        fixed = group["TransformFixedParameters"][:]
    reference = tmp_path / "reference.h5"  # the same header by SimpleITK itself
    sitk.WriteTransform(sitk.ReadTransform(str(tmp_path / "field.h5")), str(reference))
    with h5py.File(reference) as file:
        np.testing.assert_allclose(fixed, file["TransformGroup/0/TransformFixedParameters"][:], atol=1e-12)


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_field_of_a_head_takes_less_than_10_mb(suffix, smooth_field, tmp_path):
    """Measured on a smaller grid: a head at 4 mm has 153 x 154 x 99 points."""
    grid = Grid.centred((0, 0, 0), (64, 64, 48), (4.0, 4.0, 4.0))
    vectors = smooth_field(grid, 15.0, wavelength_mm=120.0).vectors.movedim(0, -1).numpy()
    write_displacements(tmp_path / f"field{suffix}", vectors, grid.affine)
    size = (tmp_path / f"field{suffix}").stat().st_size
    assert size * (153 * 154 * 99) / (64 * 64 * 48) < 10e6


def test_files_of_doubles_by_itk_and_warps_of_ants(odd_grid, tmp_path):
    vectors = np.random.default_rng(3).normal(0, 5, (*odd_grid.shape, 3)).astype(np.float32)
    image = displacements.make_image(vectors, odd_grid.affine, vector=True)
    doubles = sitk.Cast(image, sitk.sitkVectorFloat64)
    sitk.WriteTransform(sitk.DisplacementFieldTransform(sitk.Image(doubles)), str(tmp_path / "doubles.h5"))
    for name in ("doubles.nrrd", "ants.nii.gz"):  # plain vectors of NIfTI stay LPS
        sitk.WriteImage(doubles, str(tmp_path / name))
    assert int(nib.load(tmp_path / "ants.nii.gz").header["intent_code"]) == 1007
    for name in ("doubles.h5", "doubles.nrrd", "ants.nii.gz"):
        found, affine = read_displacements(tmp_path / name)
        np.testing.assert_array_equal(found, vectors)
        np.testing.assert_allclose(affine, odd_grid.affine, atol=1e-5)


def test_itk_before_5_4_reads_displacements_of_nifti_as_numbers(oblique, tmp_path, monkeypatch):
    """SimpleITK 2.3 does: an image of five axes, whose vectors it leaves as they are."""
    grid = oblique()
    vectors = random_vectors(grid.shape)
    write_displacements(tmp_path / "field.nii.gz", vectors, grid.affine)
    whole = sitk.ReadImage(str(tmp_path / "field.nii.gz"))

    class OldReader:
        def __init__(self):
            self.image = sitk.GetImageFromArray(vectors.transpose(3, 2, 1, 0)[:, None], isVector=False)
            direction = np.eye(5)
            direction[:3, :3] = np.reshape(whole.GetDirection(), (3, 3))
            self.image.SetDirection(direction.ravel().tolist())
            self.image.SetSpacing([*whole.GetSpacing(), 1, 1])
            self.image.SetOrigin([*whole.GetOrigin(), 0, 0])

        def GetPixelID(self):
            return self.image.GetPixelID()

        def GetSize(self):
            return self.image.GetSize()

        def GetNumberOfComponents(self):
            return 1

        def GetMetaDataKeys(self):
            return ("intent_code",)

        def GetMetaData(self, key):
            return "1006"

        def SetFileName(self, name): ...

        def ReadImageInformation(self): ...

        def Execute(self):
            return self.image

    monkeypatch.setattr(sitk, "ImageFileReader", OldReader)
    found, affine = read_displacements(tmp_path / "field.nii.gz")
    np.testing.assert_array_equal(found, vectors)
    np.testing.assert_allclose(affine, grid.affine, atol=1e-5)


# ---- what is no field -----------------------------------------------------------------------------------------------

VECTORS = sitk.GetImageFromArray(random_vectors((9, 8, 7)), isVector=True)
FIELD = sitk.GetImageFromArray(random_vectors((9, 8, 7)).astype(float), isVector=True)


def write_image(path, image, **metadata):
    image = sitk.Image(image)
    for key, value in metadata.items():
        image.SetMetaData(key.replace("_", " "), value)
    sitk.WriteImage(image, str(path))


def write_nan(path):
    vectors = random_vectors((9, 8, 7))
    vectors[3, 3, 3] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(vectors, isVector=True), str(path))


def cut(path):
    if path.suffix == ".nii" or path.name == "raw.nrrd":
        sitk.WriteImage(FIELD, str(path))
    else:
        write_displacements(path, random_vectors((9, 8, 7)), np.eye(4))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_colours(path):
    write_displacements(path, random_vectors((9, 8, 7)), np.eye(4))
    path.write_bytes(path.read_bytes().replace(b"kinds: vector", b"kinds: RGB-color", 1))


def write_nifti(path, intent):
    image = nib.Nifti1Image(random_vectors((9, 8, 7))[:, :, :, None], np.eye(4))
    image.header["intent_code"] = intent
    nib.save(image, path)


NO_FIELDS = {
    "absent.h5": (lambda p: None, "does not exist"),
    "text.h5": (lambda p: p.write_text("text"), "cannot read it"),
    "text.nrrd": (lambda p: p.write_text("text"), "cannot read it"),
    "text.nii.gz": (lambda p: p.write_text("text"), "cannot read it"),
    "affine.h5": (lambda p: sitk.WriteTransform(sitk.AffineTransform(3), str(p)), "cannot read it"),
    "rigid.tfm": (lambda p: sitk.WriteTransform(sitk.Euler3DTransform(), str(p)), "cannot read it"),
    "half.h5": (cut, "cannot read it"),
    "half.nrrd": (cut, "compressed voxels are damaged"),
    "half.nii.gz": (cut, "compressed voxels are damaged"),
    "half.nii": (cut, "ends too early"),
    "raw.nrrd": (cut, "cannot read it"),
    "scalar.nrrd": (lambda p: write_image(p, sitk.Image(9, 8, 7, sitk.sitkFloat32)), "three numbers"),
    "colours.nrrd": (
        lambda p: write_image(p, sitk.Image([9, 8, 7], sitk.sitkVectorUInt8, 3)),
        "three numbers",
    ),
    "pairs.nrrd": (
        lambda p: write_image(p, sitk.Image([9, 8, 7], sitk.sitkVectorFloat32, 2)),
        "three numbers",
    ),
    "flat.nrrd": (lambda p: write_image(p, sitk.Image([9, 8], sitk.sitkVectorFloat32, 3)), "three numbers"),
    "numbers.nii.gz": (lambda p: write_nifti(p, 0), "intent code is not 1006"),
    "decimal_colours.nrrd": (write_colours, "colours"),
    "nan.nrrd": (write_nan, "NaN"),
    "modeling.nrrd": (lambda p: write_image(p, VECTORS, displacement_field_type="modeling"), "opposite direction"),
}


@pytest.mark.parametrize("name", NO_FIELDS)
def test_what_is_no_field_is_one_sentence(name, tmp_path, capfd):
    make, part = NO_FIELDS[name]
    make(tmp_path / name)
    with pytest.raises(UserError, match=part) as found:
        read_displacements(tmp_path / name)
    text = str(found.value)
    assert str(tmp_path / name) in text and text.endswith(".") and text.isprintable() and ". " not in text
    assert capfd.readouterr().err == ""


def test_other_suffixes_are_refused(tmp_path):
    for name in ("field.tfm", "field.mha", "field.nii", "field", "field.nhdr"):
        with pytest.raises(UserError, match=r"has no suffix of a transform file; use \.h5, \.nrrd or \.nii\.gz\.$"):
            write_displacements(tmp_path / name, random_vectors((9, 8, 7)), np.eye(4))
    assert list(tmp_path.iterdir()) == []
