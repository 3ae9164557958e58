"""The scans of a cohort: folders and CSV files."""

import pytest

from SlicRegLib.cohort.listing import list_cohort
from SlicRegLib.errors import UserError


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
