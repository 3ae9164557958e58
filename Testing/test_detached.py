"""Headers whose voxels are in other files, and whether these have changed."""

import pytest

from SlicRegLib.images.detached import find_data_files
from SlicRegLib.jobs.file_stamps import is_unchanged, make_stamp


@pytest.mark.parametrize(
    "name, header, files",
    [
        ("a.mha", "NDims = 3\nElementDataFile = LOCAL\nElementDataFile = x", []),
        ("a.mha", "NDims = 3\nElementDataFile = a.raw\n", ["a.raw"]),
        ("a.mhd", "NDims = 3\r\nElementDataFile = with blank.zraw\r\n", ["with blank.zraw"]),
        ("a.mhd", "ElementDataFile = LIST\nz1.raw\nz2.raw\n", ["z1.raw", "z2.raw"]),
        ("a.mhd", "ElementDataFile = z%02d.raw 1 2 1\n", ["z1.raw", "z2.raw"]),
        ("a.nrrd", "NRRD0004\ntype: short\n\ndata file: of the voxels", []),
        ("a.nrrd", "NRRD0005\ndata file:=a key of the user\n\n", []),
        ("a.nrrd", "NRRD0005\r\nDATAFILE: sub/a.raw\r\n\r\n", ["sub/a.raw"]),
        ("a.nhdr", "NRRD0005\ndata file: LIST 3\nz1.raw\nz2.raw\n", ["z1.raw", "z2.raw"]),
        ("a.nii", "data file: a.raw\n", []),
    ],
)
def test_the_files_with_the_voxels(tmp_path, name, header, files):
    for data in ("z1.raw", "z2.raw"):
        (tmp_path / data).touch()
    (tmp_path / name).write_bytes(header.encode())
    assert find_data_files(tmp_path / name) == [tmp_path / file for file in files]


def test_new_voxels_are_a_change(tmp_path):
    header, data = tmp_path / "a.mhd", tmp_path / "a.raw"
    header.write_text("ElementDataFile = a.raw\n")
    data.write_bytes(b"1234")
    stamp = make_stamp(header)
    assert is_unchanged(stamp, header)
    data.write_bytes(b"1235")
    assert not is_unchanged(stamp, header)
    data.unlink()
    assert not is_unchanged(stamp, header) and make_stamp(header) is None
