"""The check of a cohort: each planted fault is found once, and sound scans are left alone."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from cohort_samples import SOUND, USUAL, flip, make_facts, rotate_grid
from SlicRegLib.cohort import check
from SlicRegLib.cohort.check import check_cohort, load_cohort, save_cohort
from SlicRegLib.cohort.facts import Cohort, ScanFacts, measure_scan
from SlicRegLib.cohort.summary import summarise
from SlicRegLib.cohort.unusual import HARMLESS, find_unusual
from SlicRegLib.errors import UserError
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from tiny import phantom, write_cohort


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Five sound scans and their template; not to be written to."""
    return write_cohort(tmp_path_factory.getbasetemp() / "tiny")


@pytest.fixture(scope="module")
def faulty(plain, tmp_path_factory):
    """The sound scans and one of each fault; pt_1 is also stored flipped and oblique, which is no fault and no copy."""
    images = shutil.copytree(plain / "img", tmp_path_factory.mktemp("faulty") / "img")
    first, second = load_scan(images / "pt_1.nii.gz"), load_scan(images / "pt_2.nii.gz")
    shutil.copy(images / "pt_3.nii.gz", images / "zz_again.nii.gz")
    save_volume(images / "as_mha.mha", first)  # sorted before pt_1, of which it has the voxels
    shutil.copy(plain / "template.nii.gz", images / "like_template.nii.gz")
    (images / "broken.nii.gz").write_bytes((images / "pt_1.nii.gz").read_bytes()[:2000])
    save_volume(images / "flipped.nii.gz", flip(first))
    save_volume(images / "oblique.nii.gz", rotate_grid(first))
    save_volume(images / "short.nii.gz", Volume(second.data[:, :, 20:44].copy(), second.grid))
    sixth = phantom(6)[0].data
    save_volume(images / "shifted_hu.nii.gz", Volume(np.where(sixth > -300, sixth + 200, sixth), second.grid))
    return images


@pytest.fixture(scope="module")
def checked(plain, faulty):
    return check_cohort(plain / "template.nii.gz", faulty)


def test_each_fault_is_found_and_nothing_else(checked):
    assert [scan.name for scan in checked.scans] == [
        "as_mha",
        "broken",
        "flipped",
        "like_template",
        "oblique",
        *SOUND,
        "shifted_hu",
        "short",
        "zz_again",
    ]
    assert {scan.name: scan.same_as for scan in checked.scans if scan.same_as} == {
        "pt_1": "as_mha",
        "like_template": "template",
        "zz_again": "pt_3",
    }
    problems = {scan.name: scan.problem for scan in checked.scans if scan.problem}
    assert list(problems) == ["broken"] and "broken.nii.gz cannot be read" in problems["broken"]
    assert checked.usable == ["as_mha", "flipped", "oblique", *SOUND[1:], "shifted_hu", "short"]
    unusual = {scan.name: scan.unusual for scan in checked.scans if scan.unusual}
    assert set(unusual) == {"flipped", "short", "shifted_hu"}
    assert unusual["flipped"] == [f"Stored as LAS, most scans as RAS. {HARMLESS}"]
    assert unusual["short"][0] == "Short field of view: 172 mm of the body; the template shows 424 mm."
    assert unusual["shifted_hu"][-1].startswith("The body has a mean of ") and len(unusual["shifted_hu"]) <= 2


def test_nothing_is_unusual_in_a_sound_cohort(plain):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        cohort = check_cohort(plain / "template.nii.gz", plain / "img")
        assert torch.get_num_threads() == 3  # what follows in this process is not slowed down
    finally:
        torch.set_num_threads(threads)
    assert cohort.usable == list(SOUND)
    assert not any(scan.unusual or scan.same_as or scan.problem for scan in cohort.scans)


def test_several_processes_find_the_same(plain, faulty, checked):
    steps = []
    assert check_cohort(plain / "template.nii.gz", faulty, 2, lambda *step: steps.append(step)) == checked
    assert {stage for stage, _, _ in steps} == {"check"}
    assert [share for _, share, _ in steps] == [n / 13 for n in range(14)]
    assert {text.split(": ")[1] for _, _, text in steps[1:]} == {scan.name for scan in checked.scans}


def test_a_template_and_other_scans_are_required(plain, tmp_path):
    with pytest.raises(UserError, match=r"template cannot be used: .*does not exist"):
        check_cohort(tmp_path / "none.nii.gz", plain / "img")
    for name in ("alone", "both"):
        (tmp_path / name).mkdir()
        shutil.copy(plain / "template.nii.gz", tmp_path / name)
    with pytest.raises(UserError, match=r"no scan besides the template"):
        check_cohort(tmp_path / "alone" / "template.nii.gz", tmp_path / "alone")
    shutil.copy(plain / "img" / "pt_1.nii.gz", tmp_path / "both")
    cohort = check_cohort(tmp_path / "both" / "template.nii.gz", tmp_path / "both")
    assert [scan.name for scan in cohort.scans] == ["pt_1"]


def test_the_summary():
    again = replace(make_facts("again"), fingerprint="pt_0")
    lost = ScanFacts("lost", "/lost.nii.gz", problem="It is lost.")
    short, thick = make_facts("short", length=150, litres=8), make_facts("thick", edge=8)
    cohort = find_unusual(Cohort(make_facts("template", length=380.0), [*USUAL, short, thick, again, lost]))
    assert summarise(cohort).splitlines() == [
        "10 scans, 8 usable; template template, 100 x 100 x 100 voxels, LPS",
        "Voxel size in mm: R 1, A 1, S 3 to 8",
        "Orientations: LPS (9)",
        "Fields of view in mm: R 100, A 100, S 300 to 800",
        "Length of the body in mm: 150 to 400; of the template 380",
        "Cannot be used: 1",
        "  lost: It is lost.",
        "Copies, excluded: 1",
        "  again: same voxels as pt_0",
        "Unusual, but used: 2",
        "  short: Short field of view: 150 mm of the body; the template shows 380 mm.",
        "  thick: Voxels of 8 mm along S; the median is 3 mm.",
    ]
    alone = summarise(Cohort(make_facts("template"), [lost])).splitlines()
    assert alone[1:] == ["Cannot be used: 1", "  lost: It is lost."]


# ---- the folder -----------------------------------------------------------------------------------------------


def test_findings_are_saved_and_loaded(checked, tmp_path):
    folder = tmp_path / "job" / "new"
    save_cohort(folder, checked)
    assert load_cohort(folder) == checked
    content = json.loads((folder / "cohort.json").read_text())
    assert content["summary"] == summarise(checked) and len(content["scans"]) == 13
    assert sorted(p.name for p in folder.iterdir()) == ["cohort.json", "cohort_unusual.png"]
    save_cohort(folder, Cohort(checked.template, [scan for scan in checked.scans if scan.name == "pt_4"]))
    assert [p.name for p in folder.iterdir()] == ["cohort.json"]  # the earlier picture is removed


def test_harmless_findings_are_shown_last(plain, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(check, "draw_thumbnails", lambda path, template, entries: shown.extend(entries))
    base = measure_scan(plain / "img" / "pt_1.nii.gz")
    stored = [f"Stored as RAS, most scans as LPS. {HARMLESS}"]
    findings = {"a": {"unusual": stored}, "b": {}, "c": {"unusual": ["Odd.", *stored]}, "d": {"same_as": "b"}}
    scans = [replace(base, name=name, **finding) for name, finding in findings.items()]
    save_cohort(tmp_path, Cohort(base, scans))
    assert [(scan.name, texts) for scan, texts in shown] == [
        ("c", ["Odd.", *stored]),
        ("d", ["Copy of b."]),
        ("a", stored),
    ]


@pytest.mark.parametrize(
    "text, problem",
    [
        (None, "does not exist"),
        ("", "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        ('{"version": 0}', "another version"),
        ('{"version": 1, "template": [], "scans": []}', "damaged"),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path, text, problem):
    if text is not None:
        (tmp_path / "cohort.json").write_text(text)
    with pytest.raises(UserError, match=problem):
        load_cohort(tmp_path)
