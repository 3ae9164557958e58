"""Whether a scan is CT in Hounsfield units: a phantom stored in many ways, and other images."""

import numpy as np
import pytest
import SimpleITK as sitk

from reliability.ct_changes import CHANGED, CT, SHIFTED
from reliability.hounsfield import judge
from reliability.other_images import OTHER
from SlicRegLib.cohort.facts import Cohort, measure_scan
from SlicRegLib.cohort.summary import summarise
from SlicRegLib.errors import UserError
from SlicRegLib.images.hounsfield import judge_intensities
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume
from tiny import phantom

BLURRED = ["+1024, low dose", "+1024, resampled"]
"""Where the tissues of a phantom with voxels of 7 mm are not told apart for certain."""


@pytest.fixture(scope="module")
def hu():
    return np.round(phantom(1)[0].data)


def change(change_of_hu, hu):
    return change_of_hu(hu, np.random.default_rng(0))


@pytest.mark.parametrize("name", CT)
def test_a_ct_in_hounsfield_units_is_accepted(hu, name):
    changed = change(CT[name], hu)
    assert changed is None or judge(changed) == ("accepted", "")


@pytest.mark.parametrize("name", [name for name in SHIFTED if name not in BLURRED])
def test_a_certain_offset_is_corrected(hu, name):
    verdict, note = judge(change(SHIFTED[name], hu))
    assert verdict == "corrected"
    assert next(word for word in ("1024", "1000", "8192", "32768", "65536") if word in name or word == "65536") in note


@pytest.mark.parametrize("name", BLURRED)
def test_an_offset_that_is_not_certain_is_not_accepted(hu, name):
    assert judge(change(SHIFTED[name], hu))[0] != "accepted"


@pytest.mark.parametrize("name", [*CHANGED, *OTHER])
def test_what_is_not_in_hounsfield_units_is_refused(hu, name):
    assert judge(change((CHANGED | OTHER)[name], hu))[0] == "refused"


@pytest.mark.parametrize(
    "name, words",
    {
        "+500": "looks like a CT, with air at -502 instead of -1000",
        "+1024, cropped inside the body": "offset of about 1024; subtract it",
        "inverted, 0 to 4095": "looks inverted",
        "0 to 1": "looks scaled to 0 to 1",
        "-1 to 1": "looks scaled to -1 to 1",
        "0 to 255 (-160 to 240 HU)": "8-bit image of a grey-value window",
        "z-score": "as after a z-score or a division by 1000",
        "cut at -160 and 240": "cut off or begin at -160 instead of -1000",
        "0 outside the body": "it is 0, which is water; set it to -1000 there",
        "label map": "looks like a label map (whole numbers from 0 to 5)",
        "mask of 0 and 255": "a mask of the values 0 and 255",
        "MR, T1, to 1500": "an MR, PET or dose image",
        "PET, SUV": "a PET (SUV)",
        "signed distance map": "a map that was computed",
    }.items(),
)
def test_the_sentence_says_what_it_looks_like_and_what_to_do(hu, name, words):
    sentence = judge(change((CHANGED | OTHER)[name], hu))[1]
    assert words in sentence and sentence.startswith("is not a CT in Hounsfield units: ")
    assert any(cure in sentence for cure in ("choose", "export", "subtract", "rescale", "set it")), sentence


BALLS = {
    "one tissue": ([40.0], "accepted"),
    "water": ([0.0], "accepted"),
    "fat, muscle, bone": ([-100.0, 50, 700], "accepted"),
    "MR without air": ([300.0, 600, 900], "refused"),
}


@pytest.mark.parametrize("name", BALLS)
def test_synthetic_images_without_noise(name):
    tissues, known = BALLS[name]
    distance = np.linalg.norm(np.indices((20, 22, 24)).T - (10, 11, 12), axis=-1).T
    image = np.full(distance.shape, -1000.0 if known == "accepted" else 0.0)
    for radius, value in zip((8, 6, 3), tissues, strict=False):
        image[distance < radius] = value
    assert judge(image)[0] == known
    image[0, 0, 0] = -3024  # one voxel of padding changes nothing
    assert judge(image)[0] == known


def test_air_alone_is_left_to_others():
    assert judge(np.random.default_rng(0).normal(-1000, 5, (20, 20, 20))) == ("accepted", "")


def test_air_that_lies_too_high_is_noted(hu):
    verdict, note = judge(np.maximum(hu + 110, -1000 + 110 + np.random.default_rng(0).normal(0, 5, hu.shape)))
    assert verdict == "accepted" and "instead of -1000; are its values calibrated?" in note


def test_the_correction_restores_the_values(hu):
    for shifted in (hu + 1024, hu + 1000, hu + 8192, hu - 1024, np.where(hu < 0, hu + 65536, hu)):
        shifted = shifted.astype(np.float32)
        np.testing.assert_array_equal(judge_intensities(shifted).correct(shifted), hu)
    assert judge_intensities(hu).correct(hu) is hu


# --- files and commands ---


def save_shifted(path, scan, offset=1024):
    image = sitk.GetImageFromArray((np.round(scan.data) + offset).astype(np.uint16).T)
    image.SetSpacing([float(edge) for edge in scan.grid.spacing])
    image.SetOrigin([-float(scan.grid.affine[0, 3]), -float(scan.grid.affine[1, 3]), float(scan.grid.affine[2, 3])])
    image.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
    sitk.WriteImage(image, str(path))
    return path


def test_an_unsigned_file_is_corrected_and_says_so(tmp_path):
    scan = phantom(1)[0]
    found = load_scan(save_shifted(tmp_path / "unsigned.nrrd", scan))
    np.testing.assert_array_equal(found.data, np.round(scan.data))
    assert found.grid.matches(scan.grid, 1e-3)
    assert [note for note in found.notes if "unsigned.nrrd was stored with an offset of 1024" in note]


def save_magnetic(path):
    scan = phantom(2)[0]
    voxels = change(OTHER["MR, T1, to 1500"], scan.data).astype(np.float32)
    save_volume(path, Volume(voxels, scan.grid))
    return path


def test_check_lists_what_cannot_be_used_and_what_was_corrected(tmp_path):
    scans = [phantom(seed)[0] for seed in (1, 2)]
    shifted = measure_scan(save_shifted(tmp_path / "shifted.nrrd", scans[0]))
    same = tmp_path / "same.nrrd"
    save_volume(same, Volume(np.round(scans[0].data), scans[0].grid))
    assert shifted.fingerprint == measure_scan(same).fingerprint and not shifted.problem
    magnetic = measure_scan(save_magnetic(tmp_path / "mr.nii.gz"))
    cohort = Cohort(measure_scan(same), [shifted, magnetic])
    assert cohort.usable == ["shifted"]
    lines = summarise(cohort).splitlines()
    assert lines[lines.index("Cannot be used: 1") + 1].startswith(
        f"  mr: {tmp_path}/mr.nii.gz is not a CT in Hounsfield"
    )
    assert "shifted.nrrd was stored with an offset of 1024" in lines[lines.index("Noted on reading: 1") + 1]


def test_a_label_map_is_no_scan_but_labels_are_not_judged(tmp_path):
    scan, labels = phantom(1)
    save_volume(tmp_path / "labels.nii.gz", labels)
    assert np.array_equal(load_labels(tmp_path / "labels.nii.gz", scan).data, labels.data)
    with pytest.raises(UserError, match=r"labels.nii.gz is not a CT in Hounsfield units: it looks like a label map"):
        load_scan(tmp_path / "labels.nii.gz")


def vertex_slab(slices: int = 8) -> np.ndarray:
    """The top of a head: a thick skull between brain and a scalp of fat, in air without noise."""
    rng = np.random.default_rng(1)
    x, y = np.ogrid[-64:64, -64:64]
    radius = np.hypot(x, y)[..., None].repeat(slices, 2)
    scan = np.full(radius.shape, -1024.0)
    for outer, hu, noise in ((34, -80, 20), (31, 1000, 90), (24, 35, 12)):
        inside = radius < outer
        scan[inside] = rng.normal(hu, noise, int(inside.sum()))
    return scan.round().astype(np.float32)


def test_the_top_of_a_head_is_not_taken_for_a_scan_with_an_offset():
    judgement = judge_intensities(vertex_slab())
    assert not judgement.refusal and not judgement.corrected and not judgement.note


@pytest.mark.parametrize("offset", [-1024.0, -1000.0])
def test_an_intercept_applied_twice_is_undone_by_its_own_value(hu, offset):
    scan = np.maximum(hu, -1024)
    np.testing.assert_allclose(judge_intensities(scan + offset).correct(scan + offset), scan, atol=0.01)


def test_a_ct_in_bytes_is_refused():
    wrapped = vertex_slab().astype(np.int16).astype(np.int8).astype(np.float32)
    assert (wrapped.min(), wrapped.max()) == (-128, 127)
    assert "16-bit" in judge_intensities(wrapped).refusal
