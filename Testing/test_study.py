"""The study's folder: what it stores of each scan, which scans are excluded, and that interruptions change nothing."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.images.preparation import body_mask, body_region
from SlicRegLib.teaching.options import SupervoxelOptions
from SlicRegLib.teaching.quality import FieldQuality, measure_field
from SlicRegLib.teaching.study import check_same_study, open_study
from study_samples import FRAME, SCANS, MirrorTeacher, assert_same_study, coarse_cohort, make_study, read_arrays
from tiny import CentreTeacher


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return coarse_cohort(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def mirrored(cohort, tmp_path_factory):
    """A study whose teacher folded pt_2, never interrupted."""
    folder = tmp_path_factory.mktemp("mirrored") / "study"
    make_study(cohort, folder, MirrorTeacher())
    return folder


@pytest.fixture
def copy(mirrored, tmp_path):
    """A copy of that study, to be changed."""
    return shutil.copytree(mirrored, tmp_path / "study")


def test_an_implausible_field_is_excluded_with_its_reason(cohort, mirrored):
    study = open_study(mirrored)
    assert study.scans == ["pt_1", "pt_3", "pt_4"] and list(study.failed) == ["pt_2"]
    assert study.failed["pt_2"].startswith(f"{cohort / 'img' / 'pt_2.nii.gz'}: the teacher's field ")
    assert "folds 100.0 % of the body" in study.failed["pt_2"]
    assert list(study.quality) == SCANS and study.quality["pt_2"]["folding_percent"] == 100
    assert study.quality == json.loads((mirrored / "study.json").read_text())["quality"]


def test_the_quality_is_that_of_the_stored_field(mirrored):
    study = open_study(mirrored)
    template = study.template()
    for name in study.scans:
        quality = FieldQuality(**study.quality[name])
        # The teacher aligns the centres of the frames, and so does the measurement before it.
        assert quality.similarity_after == pytest.approx(quality.similarity_before, abs=1e-6)
        assert quality.similarity_before > 0.3 and quality.folding_percent == 0
        scan, field = study.scan(name)
        assert asdict(measure_field(scan, template, field)) == pytest.approx(asdict(quality), abs=1e-3)  # rounded HU


def test_the_body_region_is_stored(mirrored):
    study = open_study(mirrored)
    for name in study.scans:
        scan, _ = study.scan(name)
        assert scan.known_region is scan.region and scan.region.dtype == torch.bool
        assert torch.equal(scan.region, body_region(body_mask(scan.hu)))
        assert 0 < scan.region.sum() < scan.region.numel()


@pytest.mark.parametrize("done", [1, 3])
def test_a_study_that_was_interrupted_between_scans_is_the_same(cohort, mirrored, tmp_path, done):
    registered = []

    class Counting(MirrorTeacher):
        def register(self, scan, template):
            if len(registered) == done:
                raise KeyboardInterrupt
            registered.append(scan.name)
            return super().register(scan, template)

    class Steady(MirrorTeacher):
        def register(self, scan, template):
            assert scan.name not in registered
            return super().register(scan, template)

    with pytest.raises(KeyboardInterrupt):
        make_study(cohort, tmp_path / "study", Counting())
    with pytest.raises(UserError, match=r"not finished; run the same `slicreg prepare` again to resume"):
        open_study(tmp_path / "study")
    make_study(cohort, tmp_path / "study", Steady())
    assert registered == SCANS[:done]
    assert_same_study(mirrored, tmp_path / "study")


@pytest.mark.parametrize("damage", [lambda content: content[:-200], lambda _: b"", lambda _: b"nothing"])
def test_a_damaged_scan_is_made_again(cohort, mirrored, copy, damage):
    path = copy / "scans" / "pt_3.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"pt_3.npz is missing or damaged"):
        open_study(copy).scan("pt_3")
    make_study(cohort, copy, MirrorTeacher())
    assert_same_study(mirrored, copy)


def test_failures_are_listed_in_the_order_of_the_cohort(cohort, tmp_path):
    study = make_study(cohort, tmp_path / "study", MirrorTeacher(mirrored="pt_1", failing="pt_4"))
    assert list(study.failed) == ["pt_1", "pt_4"]
    assert study.failed["pt_4"].endswith("pt_4.nii.gz: the teacher failed (RuntimeError: no convergence).")
    assert list(study.quality) == ["pt_1", "pt_2", "pt_3"]


def test_fields_are_kept_even_if_all_are_implausible(cohort, tmp_path):
    images = [cohort / "img" / "pt_2.nii.gz"]
    with pytest.raises(UserError, match=r"No scan of the list of scans could be prepared; .*pt_2.*folds"):
        make_study(cohort, tmp_path / "study", MirrorTeacher(), images)
    assert (tmp_path / "study" / "scans" / "pt_2.npz").is_file()


def test_a_study_of_an_earlier_version_is_completed_without_another_registration(cohort, mirrored, copy):
    """It has neither quality nor regions, and can be read all the same."""
    path = copy / "study.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "quality"}))
    for file in (copy / "scans").iterdir():
        np.savez_compressed(file, **{k: v for k, v in read_arrays(file).items() if k not in ("quality", "region")})
    old = open_study(copy)
    assert old.quality == {} and old.scan("pt_1")[0].known_region is None
    assert torch.equal(old.scan("pt_1")[0].region, open_study(mirrored).scan("pt_1")[0].region)

    class Idle(CentreTeacher):
        def register(self, scan, template):
            raise AssertionError("registered again")

    make_study(cohort, copy, Idle())
    assert_same_study(mirrored, copy)


def test_a_list_of_scans(cohort, mirrored, copy, tmp_path):
    images = sorted((cohort / "img").iterdir())
    (copy / "scans" / "pt_3.npz").unlink()
    make_study(cohort, copy, MirrorTeacher(), [*images, cohort / "template.nii.gz"])
    assert_same_study(mirrored, copy)
    chosen = make_study(cohort, tmp_path / "chosen", images=[str(images[3]), str(images[0])])
    assert chosen.scans == ["pt_4", "pt_1"]


def test_lists_that_cannot_be_used(cohort, tmp_path):
    one = cohort / "img" / "pt_1.nii.gz"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pt_1.nii.gz").write_bytes(one.read_bytes())
    for images, words in (
        ([cohort / "template.nii.gz"], "no scan besides the template in the list of scans"),
        ([one, tmp_path / "other" / "pt_1.nii.gz"], "both called pt_1"),
        ([tmp_path / "none.nii.gz"], "none.nii.gz"),
    ):
        with pytest.raises(UserError, match=words):
            make_study(cohort, tmp_path / "study", images=images)
        assert not (tmp_path / "study").exists()


def test_other_options_are_refused(mirrored):
    study = open_study(mirrored)
    check_same_study(study)
    check_same_study(replace(study, scans=[], failed={}, quality={}))  # while it is being made
    for changes, words in (
        ({"teacher": "deeds"}, "different teacher"),
        ({"preparation": replace(FRAME, margin_mm=1.0)}, "different preparation"),
        ({"supervoxels": SupervoxelOptions(seed=1), "template_sha256": "0"}, "different template_sha256, supervoxels"),
    ):
        with pytest.raises(UserError, match=f"{words}; choose another --out"):
            check_same_study(replace(study, **changes))


@pytest.mark.parametrize(
    "text, words",
    [(None, "not a study"), ("{", "is damaged"), ('{"version": 0}', "another version")],
)
def test_folders_that_hold_no_study(copy, text, words):
    path = copy / "study.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=f"{words}.*slicreg prepare"):
        open_study(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"scans": "pt_1"},
        {"scans": ["../pt_1"]},
        {"scans": ["pt_1", "pt_1"]},
        {"scans": [3]},
        {"preparation": {}},
        {"preparation": None},
        {"preparation": {"shape": [16, 16, 10**9]}},
        {"preparation": {"shape": [16, 16, 16], "spacing_mm": "4"}},
        {"supervoxels": {"layers": 0}},
        {"supervoxels": {"more": 1}},
        {"failed": {"pt_2": 3}},
        {"quality": {"pt_1": {"similarity_after": "high"}}},
        {"quality": []},
        {"teacher": None},
        {"folder": "elsewhere"},
    ],
    ids=str,
)
def test_a_description_that_cannot_be_is_one_sentence(copy, changes):
    path = copy / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=r"study.json is damaged; run `slicreg prepare` again") as error:
        open_study(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ['{"version": 1, "scans": [NaN]}', '{"version": 1e400}', "[1]", "[" * 10**5, "\xff"])
def test_a_description_that_is_no_json_is_one_sentence(copy, text):
    (copy / "study.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"study.json is damaged \(.*\); run `slicreg prepare` again"):
        open_study(copy)


@pytest.mark.parametrize(
    "name, change",
    [
        ("hu", lambda a: a[:-1]),
        ("hu", lambda a: a.astype(np.float32)),
        ("affine", lambda a: a * np.nan),
        ("affine", lambda a: a * 0),
        ("region", lambda a: a[:-1]),
        ("field", lambda a: a[:2]),
        ("field", lambda a: np.full_like(a, np.inf)),
        ("field_shift", lambda a: a + 1e7),
        ("field_affine", lambda a: a[:3]),
        ("field", lambda a: np.array([None])),
    ],
)
def test_arrays_that_cannot_be_are_one_sentence(copy, name, change):
    path = copy / "scans" / "pt_1.npz"
    content = read_arrays(path)
    np.savez_compressed(path, **{**content, name: change(content[name])})
    with pytest.raises(UserError, match=r"pt_1.npz is missing or damaged \(.*\); delete it and run") as error:
        open_study(copy).scan("pt_1")
    assert "\n" not in str(error.value)


def test_supervoxels_of_another_frame_are_one_sentence(copy):
    study = open_study(copy)
    for layers in (study.layers()[:, 1:], study.layers()[0], study.layers().astype(np.int32)):
        np.savez_compressed(copy / "supervoxels.npz", layers=layers)
        with pytest.raises(UserError, match=r"supervoxels.npz is missing or damaged"):
            study.layers()


def test_a_file_that_cannot_be_read_is_not_called_damaged(copy):
    study = open_study(copy)
    (copy / "supervoxels.npz").unlink()
    with pytest.raises(UserError, match=r"supervoxels.npz is missing or damaged \(there is no such file\)"):
        study.layers()
    (copy / "supervoxels.npz").symlink_to("supervoxels.npz")
    with pytest.raises(UserError, match=r"supervoxels.npz cannot be read: its symbolic links lead in a circle"):
        study.layers()
