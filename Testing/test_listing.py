"""The scans of a cohort: folders and CSV files."""

import pytest

from dicom_samples import STORED, write_series
from SlicRegLib.cohort.listing import list_cohort
from SlicRegLib.errors import UserError
from SlicRegLib.images.files import stem
from SlicRegLib.images.volumes import load_scan
from SlicRegLib.jobs.file_stamps import is_unchanged, make_stamp


@pytest.fixture
def images(tmp_path):
    """img/pt_1.nii.gz and img/pt_2.nii.gz, which are never opened."""
    (tmp_path / "img").mkdir()
    for name in ("pt_2", "pt_1"):
        (tmp_path / "img" / f"{name}.nii.gz").touch()
    return tmp_path / "img"


def test_a_folder(images):
    assert list_cohort(images) == [images / "pt_1.nii.gz", images / "pt_2.nii.gz"]
    (images / "pt_2.mha").touch()
    with pytest.raises(UserError, match=r"two scans called pt_2, .*; rename or remove one"):
        list_cohort(images)


def test_what_does_not_exist(images):
    with pytest.raises(UserError, match=r"none.csv does not exist"):
        list_cohort(images / "none.csv")
    with pytest.raises(UserError, match=r"folder .*none does not exist"):
        list_cohort(images / "none")


@pytest.mark.parametrize(
    "text",
    [
        "path\nimg/pt_2.nii.gz\nimg/pt_1.nii.gz\n",
        "id,Image ,age\n7,img/pt_2.nii.gz,50\n\n8, img/pt_1.nii.gz,60\n",
        "\ufeffpath;age\r\nimg/pt_2.nii.gz;50\r\nimg/pt_1.nii.gz;60\r\n",
        "img/pt_2.nii.gz,50\nimg/pt_1.nii.gz\n",
        "image\timage_date\nimg/pt_2.nii.gz\t2020\n{absolute}\t2021\n",
    ],
)
def test_tables(images, text):
    table = images.parent / "cohort.csv"
    table.write_bytes(text.format(absolute=images / "pt_1.nii.gz").encode())
    assert list_cohort(table) == [images / "pt_2.nii.gz", images / "pt_1.nii.gz"]


@pytest.mark.parametrize(
    "text, problem",
    [
        ("path\nimg/pt_1.nii.gz\nimg/pt_99.nii.gz\n", r"Row 3 of .*cohort.csv names img/pt_99.nii.gz"),
        ("file\nimg/pt_1.nii.gz\n", r"Row 1 of .*change it to `path` if it is the heading"),
        ("age,path\n50,img/pt_1.nii.gz\n60,\n", r"Row 3 of .*names no scan"),
        ("path\n", r"names no scan"),
        ("", r"names no scan"),
        ("img/pt_1.nii.gz\nimg/../img/pt_1.nii.gz\n", r"two scans called pt_1"),
        (b"\x1f\x8b\x08\xff\xfe", r"not a text file"),
    ],
)
def test_tables_with_mistakes(images, text, problem):
    table = images.parent / "cohort.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=problem):
        list_cohort(table)


# --- DICOM folders ---


@pytest.fixture
def dicom(tmp_path):
    """img/ with pt_1.nii.gz, pt_2/ (one series), pt_3/CT/ (two series) and a folder without scans."""
    folder = tmp_path / "img"
    write_series(folder / "pt_2", stored=STORED[:8])
    write_series(folder / "pt_3" / "CT", stored=STORED[:8])
    write_series(folder / "pt_3" / "CT", stored=STORED[:8], name="b{}".format, uid="1.2.9", edit=_number_7)
    (folder / "pt_1.nii.gz").touch()
    (folder / "labels").mkdir()
    (folder / "labels" / "pt_1.nii.gz").touch()
    (folder / ".hidden").mkdir()
    return folder


def _number_7(item, k):
    item.SeriesNumber = 7


def test_folders_that_hold_dicom_are_scans(dicom):
    assert list_cohort(dicom) == [dicom / "pt_1.nii.gz", dicom / "pt_2", dicom / "pt_3"]
    assert [stem(path) for path in list_cohort(dicom)] == ["pt_1", "pt_2", "pt_3"]


def test_a_series_is_chosen_where_there_are_several(dicom):
    found = list_cohort(dicom, "7")
    assert found == [dicom / "pt_1.nii.gz", dicom / "pt_2", dicom / "pt_3#7"]
    assert [stem(path) for path in found] == ["pt_1", "pt_2", "pt_3"]
    assert load_scan(found[2]).grid.shape == (12, 14, 8)
    assert make_stamp(found[2]) == make_stamp(dicom / "pt_3")


def test_a_folder_of_slices_is_one_scan(dicom):
    assert list_cohort(dicom / "pt_2") == [dicom / "pt_2"]
    (dicom / "pt_2" / "scan.nii.gz").touch()
    with pytest.raises(UserError, match="holds DICOM files beside other scans"):
        list_cohort(dicom / "pt_2")


def test_a_table_of_dicom(dicom):
    table = dicom.parent / "cohort.csv"
    table.write_text("path\nimg/pt_2/IM0001.dcm\nimg/pt_3#7\n")
    assert [stem(path) for path in list_cohort(table)] == ["pt_2", "pt_3"]
    table.write_text("path\nimg/pt_4#7\n")
    with pytest.raises(UserError, match="does not exist"):
        list_cohort(table)


def test_a_stamp_of_a_series_is_of_all_its_files(dicom):
    for path in (dicom / "pt_2", dicom / "pt_2" / "IM0001.dcm"):
        stamp = make_stamp(path)
        assert is_unchanged(stamp, path)
        last = dicom / "pt_2" / "IM0007.dcm"
        before = last.read_bytes()
        last.write_bytes(before[:-2] + b"\1\2")
        assert not is_unchanged(stamp, path)
        last.write_bytes(before)
        assert is_unchanged(stamp, path)
