"""NRRD, MHA and other formats: the same geometry as SimpleITK's; one-frame series, segmentations, damage, limits."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nifti_headers import affine, write_nifti
from SlicRegLib.errors import UserError
from SlicRegLib.images.volumes import load_labels, load_scan

SIZE = (16, 12, 10)
VOXELS = (np.arange(np.prod(SIZE)).reshape(SIZE[::-1]) % 1300 - 1000).astype(np.int16)
"""(K, J, I)"""
HERE = affine()
RAS = np.diag([-1.0, -1, 1, 1])
FORMATS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def make_image(voxels=VOXELS, matrix=HERE) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    lps, spacing = RAS @ matrix, np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def as_series(image, frames=1, times=1):
    """The image as one of several frames, with further axes."""
    for _ in range(times):
        image = sitk.JoinSeries([image] * frames)
    return image


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("axes", [0, 1, 2])
def test_a_series_of_one_frame_lies_where_its_frame_lies(tmp_path, suffix, axes):
    path = tmp_path / f"scan{suffix}"
    for load, voxels in ((load_scan, VOXELS), (load_labels, np.maximum(VOXELS, 0))):
        sitk.WriteImage(as_series(make_image(voxels), times=axes), str(path))
        volume = load(path)
        assert np.allclose(volume.grid.affine, HERE, atol=1e-4)
        assert np.array_equal(volume.data, voxels.T) and volume.data.shape == SIZE
        assert volume.notes == ()


@pytest.mark.parametrize("suffix", FORMATS)
def test_several_frames_and_components_are_refused(tmp_path, suffix):
    path = str(tmp_path / f"scan{suffix}")
    sitk.WriteImage(as_series(make_image(), frames=2), path)
    with pytest.raises(UserError, match="4-D"):
        load_scan(path)
    sitk.WriteImage(sitk.Compose([make_image()] * 3), path)
    with pytest.raises(UserError, match=r"3 components|5-D"):
        load_scan(path)


def nrrd(path: Path, header: str, voxels=VOXELS, size="16 12 10", axes=3) -> Path:
    start = f"NRRD0005\ntype: short\ndimension: {axes}\nsizes: {size}\nendian: little\nencoding: raw\n"
    path.write_bytes(f"{start}{header}\n\n".encode() + voxels.tobytes())
    return path


def mha(path: Path, header: str = "", size="16 12 10", data="LOCAL", voxels=VOXELS) -> Path:
    start = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nDimSize = {size}\n"
    text = f"{start}ElementType = MET_SHORT\n{header}ElementDataFile = {data}\n"
    path.write_bytes(text.encode() + (voxels.tobytes() if data == "LOCAL" else b""))
    return path


DIRECTIONS = "space directions: (4,0,0) (0,6,0) (0,0,8)\nspace origin: (10,20,30)"


@pytest.mark.parametrize(
    "header",
    [
        f"space: {name}\n{DIRECTIONS}"
        for name in ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior", "RAS", "LPS")
    ]
    + [
        f"space dimension: 3\n{DIRECTIONS}",
        f"space: scanner-xyz\n{DIRECTIONS}",
        f'space: LPS\n{DIRECTIONS}\nspace units: "mm" "mm" "mm"',
        "space: LPS\nspace directions: (-4,0,0) (0,0,6) (0,8,0)\nspace origin: (1,2,3)",
        "spacings: 4 6 8",
        "spacings: 4 6 8\naxis mins: 1 2 3",
        "kinds: domain domain domain",
    ],
)
def test_nrrd_headers(tmp_path, header):
    path = nrrd(tmp_path / "scan.nrrd", header)
    image = sitk.ReadImage(str(path))
    volume = load_scan(path)
    theirs = np.eye(4)
    theirs[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    theirs[:3, 3] = image.GetOrigin()
    assert np.allclose(volume.grid.affine, RAS @ theirs)
    assert np.array_equal(volume.data, VOXELS.T)
    assert bool(volume.notes) == ("directions" not in header)  # nothing says where the patient's left is


@pytest.mark.parametrize("size", ["1 16 12 10", "16 12 10 1"])
def test_a_list_of_one_value(tmp_path, size):
    none = "none (4,0,0) (0,6,0) (0,0,8)" if size[0:2] == "1 " else "(4,0,0) (0,6,0) (0,0,8) none"
    kinds = "list domain domain domain" if size[0:2] == "1 " else "domain domain domain list"
    header = f"space: RAS\nspace directions: {none}\nspace origin: (1,2,3)\nkinds: {kinds}"
    volume = load_scan(nrrd(tmp_path / "scan.nrrd", header, size=size, axes=4))
    assert np.array_equal(volume.data, VOXELS.T)
    assert np.allclose(volume.grid.affine, [[4, 0, 0, 1], [0, 6, 0, 2], [0, 0, 8, 3], [0, 0, 0, 1]])


def segmentation(path: Path, layers: int) -> Path:
    kinds = ("list " if layers > 1 else "") + "domain domain domain"
    header = f"space: LPS\nspace directions: {'none ' if layers > 1 else ''}(4,0,0) (0,6,0) (0,0,8)\n"
    header += f"space origin: (10,20,30)\nkinds: {kinds}\nSegment0_ID:=Segment_1\nSegment0_Layer:=0"
    size, axes = ("16 12 10", 3) if layers == 1 else (f"{layers} 16 12 10", 4)
    return nrrd(path, header, np.repeat(VOXELS % 2, layers), size, axes)


def test_segmentations_of_slicer(tmp_path):
    one, two = segmentation(tmp_path / "one.seg.nrrd", 1), segmentation(tmp_path / "two.seg.nrrd", 2)
    assert np.array_equal(load_labels(one).data, VOXELS.T % 2)
    with pytest.raises(UserError, match="is a segmentation, not a scan"):
        load_scan(one)
    for load in (load_labels, load_scan):
        with pytest.raises(UserError, match="segmentation with 2 layers of overlapping segments"):
            load(two)


def picture(path):
    sitk.WriteImage(make_image(VOXELS.astype(np.uint8)), str(path))


def coloured(path):
    sitk.WriteImage(sitk.Compose([make_image(VOXELS.astype(np.uint8))] * 3), str(path))


def complex_voxels(path):
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS.astype(np.complex64)), str(path))


def nrrd_header(path):
    nrrd(path, "")


FIELD = sitk.DisplacementFieldTransform(sitk.Image([5, 5, 5], sitk.sitkVectorFloat64))
REFUSED = {
    "folder": ("ct", lambda path: path.mkdir(), "is a folder without a DICOM series"),
    "pipe": ("scan.nii.gz", os.mkfifo, "is a device or a pipe; give the file"),
    "pipe without a suffix": ("scan", os.mkfifo, "is a device or a pipe"),
    "pipe for DICOM": ("a.dcm", os.mkfifo, "is a device or a pipe"),
    "device": ("scan.mha", lambda p: p.symlink_to("/dev/zero"), "is a device or a pipe"),
    "voxels in a pipe": ("a.mhd", lambda p: (os.mkfifo(p.with_suffix(".raw")), mha(p, data="a.raw")), "a pipe"),
    "nrrd in a pipe": ("a.nhdr", lambda p: (os.mkfifo(p.with_suffix(".raw")), nrrd(p, "data file: a.raw")), "a pipe"),
    "header in a pipe": ("a.img", lambda p: (p.touch(), os.mkfifo(p.with_suffix(".hdr"))), "a.hdr is missing"),
    "transform": ("a.h5", lambda p: sitk.WriteTransform(FIELD, str(p)), "is a transform, not an image"),
    "transform in text": ("a.tfm", lambda p: sitk.WriteTransform(FIELD, str(p)), "is a transform, not an image"),
    "HDF5 image": ("a.hdf5", lambda p: sitk.WriteImage(make_image(), str(p)), "is an ITK image in HDF5, which is not"),
    "HDF5 otherwise": (
        "a.h5",
        lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)),
        "is an HDF5 file, which is not",
    ),
    "no HDF5": ("a.h5", lambda p: p.write_bytes(b"text"), "is called HDF5, but is none"),
    "nrrd by another name": ("scan", nrrd_header, "is an NRRD file under another name; rename it to .nrrd"),
    "mha by another name": ("scan.img2", mha, "is a MetaImage file under another name; rename it to .mha"),
    "zip": ("scan", lambda p: p.write_bytes(b"PK\x03\x04" + bytes(99)), "is a ZIP archive; unpack it"),
    "unknown": ("scan.mgz", lambda p: p.write_bytes(bytes(999)), "its format is unknown, or it is damaged"),
    "damaged": ("a.nrrd", lambda p: p.write_bytes(bytes(999)), "copy or export it again"),
    "tiff": ("scan.tif", picture, "picture format"),
    "vectors": ("scan.mha", coloured, "3 components"),
    "complex": ("scan.nii", complex_voxels, "complex"),
    "complex nrrd": ("scan.mha", complex_voxels, "components|cannot be read"),
    "metres": ("a.nrrd", lambda p: nrrd(p, f'space: LPS\n{DIRECTIONS}\nspace units: "m" "m" "m"'), "geometry in m,"),
    "cm": ("a.nrrd", lambda p: nrrd(p, 'spacings: 4 6 8\nunits: "cm" "cm" "cm"'), "geometry in cm,"),
    "sheared": (
        "a.nrrd",
        lambda p: nrrd(p, "space: LPS\nspace directions: (4,1,0) (0,6,0) (0,0,8)\nspace origin: (0,0,0)"),
        "sheared",
    ),
    "flat": (
        "a.nrrd",
        lambda p: nrrd(p, "space: LPS\nspace directions: (0,0,0) (0,6,0) (0,0,8)\nspace origin: (0,0,0)"),
        "voxel-to-world matrix",
    ),
    "negative spacing": ("a.nrrd", lambda p: nrrd(p, "spacings: -4 6 8"), "voxel-to-world matrix"),
    "negative mha": ("a.mha", lambda p: mha(p, "ElementSpacing = -4 6 8\n"), "voxel-to-world matrix"),
    "small negative mha": ("a.mha", lambda p: mha(p, "ElementSpacing = -0.9 6 8\n"), "voxel-to-world matrix"),
    "no spacing": ("a.mha", lambda p: mha(p, "ElementSpacing = 0 6 8\n"), "voxel-to-world matrix"),
    "metres taken for mm": ("a.mha", lambda p: mha(p, "ElementSpacing = 0.004 0.006 0.008\n"), "is it in metres"),
    "30 m": ("a.mha", lambda p: mha(p, "ElementSpacing = 2000 6 8\n"), "32 m long"),
    "no voxels": ("a.mhd", lambda p: mha(p, data="none.raw"), "cannot be read"),
    "no voxels, nrrd": ("a.nhdr", lambda p: nrrd(p, "data file: none.raw", VOXELS[:0]), "cannot be read"),
    "cut": ("a.mha", lambda p: mha(p, size="16 12 11"), "cannot be read"),
    "cut nrrd": ("a.nrrd", lambda p: nrrd(p, "", size="16 12 11"), "cannot be read"),
    "huge": ("a.mha", lambda p: mha(p, size="30000 30000 30000"), "million voxels"),
    "large": ("a.mha", lambda p: mha(p, size="900 900 900"), "declares 1458000000 bytes"),
    "large nrrd": ("a.nrrd", lambda p: nrrd(p, "", size="900 900 900"), "declares 1458000000 bytes"),
    "nothing": ("a.nrrd", lambda p: p.write_bytes(b""), "cannot be read"),
    "noise": ("a.mha", lambda p: p.write_bytes(os.urandom(3000)), "cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case, capfd):
    name, write, words = REFUSED[case]
    write(tmp_path / name)
    with pytest.raises(UserError, match=words) as error:
        load_scan(tmp_path / name)
    text = str(error.value)
    assert name in text and text.endswith(".") and "\n" not in text and len(text) < 400
    assert ". " not in text.replace(str(tmp_path), "")
    assert capfd.readouterr().err == ""  # the libraries' own messages would be a second sentence


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_compressed_voxels_of_each_type(tmp_path, suffix, kind):
    voxels = np.abs(VOXELS % 100).astype(kind)
    sitk.WriteImage(make_image(voxels), str(tmp_path / f"labels{suffix}"), True)
    assert np.array_equal(load_labels(tmp_path / f"labels{suffix}").data, voxels.T)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_no_flipped_bit_of_compressed_voxels_is_unnoticed(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(make_image(), str(path), True)
    assert np.array_equal(load_scan(path).data, VOXELS.T)
    detached = {".mhd": ".zraw", ".nhdr": ".raw.gz"}
    file = path.with_suffix(detached[suffix]) if suffix in detached else path
    whole, choose, refused = file.read_bytes(), np.random.default_rng(0), 0
    start = 10 if suffix in detached else whole.find(b"LOCAL") + 8 if suffix == ".mha" else whole.find(b"\n\n") + 12
    for position in choose.integers(start, len(whole), 40):
        changed = bytearray(whole)
        changed[position] ^= 1 << choose.integers(8)
        file.write_bytes(changed)
        try:
            assert np.array_equal(load_scan(path).data, VOXELS.T)
        except UserError:
            refused += 1
    assert refused > 35
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        load_scan(path)


def test_too_little_memory_is_said_in_one_sentence(tmp_path, monkeypatch):
    def fail(*arguments):
        raise MemoryError

    path = write_nifti(tmp_path / "scan.nii")
    monkeypatch.setattr("SlicRegLib.images.nifti.np.empty", fail)
    with pytest.raises(UserError, match=r"scan.nii needs more memory than is free; close other programs"):
        load_scan(path)


@pytest.mark.parametrize("name", ["scan", "a.gz", "scan.nrrd", "scan.mgz", "scan.dcm", "scan.h5"])
def test_nifti_by_another_name(tmp_path, name):
    plain = write_nifti(tmp_path / "plain.nii")
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()) if name.endswith("gz") else plain.read_bytes())
    volume, known = load_scan(tmp_path / name), load_scan(plain)
    assert volume.fingerprint() == known.fingerprint()
    note = f"{tmp_path / name} is a NIfTI file under another name; rename it to .nii or .nii.gz for other programs."
    assert volume.notes == (note, *known.notes)


@pytest.mark.parametrize("name", ["cut.nii.gz", "cut"])
@pytest.mark.parametrize("left", [2000, -900, -4])
def test_a_truncated_nifti_is_to_be_copied_again(tmp_path, name, left):
    whole = gzip.compress(write_nifti(tmp_path / "plain.nii").read_bytes(), 1)
    (tmp_path / name).write_bytes(whole[:left])
    with pytest.raises(UserError, match=r"damaged or end too early\); copy or download it again"):
        load_scan(tmp_path / name)


@pytest.mark.parametrize("name", ["a\nb.nii.gz", "a\0b.nii.gz", "b\udcff.mha", "b\udcff"])
def test_names_that_readers_do_not_take(tmp_path, name):
    for load in (load_scan, load_labels):
        with pytest.raises(UserError, match="rename the file or folder"):
            load(f"{tmp_path}/{name}")
