"""Which DICOM files are one scan: damaged files beside it, series of one number, several paths to one scan."""

import pytest

from dicom_samples import STORED, UID, write_enhanced, write_series
from SlicRegLib.cohort.check import check_cohort
from SlicRegLib.errors import UserError
from SlicRegLib.images.dicom_series import choose_series, find_series, is_same_scan
from SlicRegLib.images.volumes import load_scan
from SlicRegLib.jobs.batch import Batch
from SlicRegLib.teaching.create import _without


def number_one(item, k):
    item.SeriesNumber = 1


@pytest.fixture
def twins(tmp_path):
    """Two series with number 1, the second of nine slices, and one of two slices."""
    folder = write_series(tmp_path / "ct", number_one, "a{}".format)
    write_series(folder, number_one, "b{}".format, stored=STORED[:9], uid=f"{UID}.2")
    return folder


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_a_file_without_dicom_is_left_out_with_a_note(tmp_path, content):
    folder = write_series(tmp_path / "ct")
    (folder / "x.dcm").write_bytes(content)
    for volume in (load_scan(folder), load_scan(folder, "3"), load_scan(folder / "IM0001.dcm")):
        assert volume.data.shape[2] == len(STORED)
        assert volume.notes == (
            f"x.dcm in {folder} is called .dcm, but holds no DICOM, and was left out; the scan may lack slices at an "
            "end.",
        )
    (folder / "y.dcm").write_bytes(content)
    assert load_scan(folder).notes[0].startswith("x.dcm and 1 other in")


def test_a_file_without_dicom_may_be_the_slice_that_is_missing(tmp_path):
    folder = write_series(tmp_path / "ct")
    (folder / "IM0004.dcm").write_bytes(b"")
    with pytest.raises(UserError, match=r"lacks about 1 slice, .* \(IM0004.dcm is called .dcm, but holds no DICOM\);"):
        load_scan(folder)
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"IM0000.dcm is called .dcm, but holds no DICOM; copy it again"):
        load_scan(folder)


def test_series_of_one_number_are_listed_by_uid(twins):
    for wanted, words in (("", "holds 2 CT series: "), ("1", "has several series 1; it holds ")):
        with pytest.raises(UserError) as error:
            find_series(twins, wanted)
        text = str(error.value)
        assert f"{words}{UID} (Thorax, 10 slices), {UID}.2 (Thorax, 9 slices)" in text
        assert "number or UID" not in text
    assert find_series(twins, f"{UID}.2").slices == 9


def test_a_number_means_the_scan_and_not_a_scout_of_the_same_number(tmp_path):
    folder = write_series(tmp_path / "ct", number_one)
    write_series(folder, number_one, "scout{}".format, stored=STORED[:1], uid=f"{UID}.2")
    assert find_series(folder, "1").uid == UID
    with pytest.raises(UserError, match=r"\(Thorax, 1 slice\)"):
        find_series(folder, "7")


def test_several_paths_to_one_scan(twins, tmp_path):
    single = write_series(tmp_path / "single" / "CT")
    enhanced = write_enhanced(tmp_path / "enhanced" / "IM1", range(len(STORED)))
    first, second = choose_series(twins, UID), choose_series(twins, f"{UID}.2")
    same = [
        (single, single / "IM0003.dcm"),
        (single.parent, single / "IM0003.dcm"),
        (single / "IM0000.dcm", single / "IM0003.dcm"),
        (choose_series(single, "3"), single),
        (choose_series(single, "3"), single / "IM0003.dcm"),
        (first, twins / "a3"),
        (second, twins / "b3"),
        (enhanced, enhanced.parent),
        (tmp_path / "scan.nii.gz", tmp_path / "ct" / ".." / "scan.nii.gz"),
    ]
    other = [(first, second), (first, twins / "b3"), (twins / "a0", twins / "b3"), (single, enhanced)]
    other += [(single, tmp_path / "scan.nii.gz"), (tmp_path / "scan.nii.gz", tmp_path / "other.nii.gz")]
    (tmp_path / "scan.nii.gz").touch()
    for paths, expected in [(pair, True) for pair in same] + [(pair, False) for pair in other]:
        assert is_same_scan(*paths) is expected and is_same_scan(*reversed(paths)) is expected, paths


def test_the_template_is_no_scan_of_its_cohort(tmp_path):
    folder = write_series(tmp_path / "images" / "pt_1")
    for template in (folder / "IM0003.dcm", choose_series(folder, "3")):
        with pytest.raises(UserError, match="no scan besides the template"):
            check_cohort(template, tmp_path / "images")
        with pytest.raises(UserError, match="no scan besides the template"):
            _without(template, {"pt_1": folder}, "images")
        (tmp_path / "model.slicreg").touch()
        with pytest.raises(UserError, match="no scan to register besides the template"):
            Batch([("pt_1", folder)], template, tmp_path / "model.slicreg", tmp_path / "out")
