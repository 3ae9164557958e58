"""The study's folder: what is kept of each scan, what is left out, and that an interruption changes nothing."""

import json
import shutil
from dataclasses import asdict, dataclass

import numpy as np
import pytest
import torch
from tiny import FRAME, NETWORK, CentreTeacher, write_cohort

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.images.preparation import body_mask, body_region
from SlicRegLib.teaching.create import create_study
from SlicRegLib.teaching.options import SupervoxelOptions
from SlicRegLib.teaching.quality import FieldQuality, measure_field
from SlicRegLib.teaching.study import open_study

SCANS = ["pt_1", "pt_2", "pt_3", "pt_4", "pt_5"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.getbasetemp() / "tiny")


def make(cohort, folder, teacher=CentreTeacher(), images=None, **more):
    return create_study(
        cohort / "template.nii.gz",
        images or cohort / "img",
        folder,
        teacher,
        1,
        FRAME,
        SupervoxelOptions(layers=NETWORK.layers),
        **more,
    )


def arrays(path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def assert_same(a, b):
    """Both folders hold the same study."""
    assert (a / "study.json").read_bytes() == (b / "study.json").read_bytes()
    files = sorted(p.relative_to(a) for p in a.rglob("*.npz"))
    assert files == sorted(p.relative_to(b) for p in b.rglob("*.npz")) and len(files) > 2
    for name in files:
        first, second = arrays(a / name), arrays(b / name)
        assert first.keys() == second.keys()
        assert all(
            first[key].dtype == second[key].dtype and np.array_equal(first[key], second[key]) for key in first
        ), name


@dataclass(frozen=True)
class MirrorTeacher(CentreTeacher):
    """Mirrors one scan, which folds all of it; fails on another."""

    mirrored: str = "pt_2"
    failing: str = ""

    def register(self, scan, template) -> DisplacementField:
        if scan.name == self.failing:
            raise RuntimeError("no convergence")
        field = super().register(scan, template)
        if scan.name != self.mirrored:
            return field
        x = scan.grid.points()[..., 0] - float(scan.grid.centre[0])
        vectors = field.on(scan.grid).vectors.clone()
        vectors[0] -= 2 * x
        return DisplacementField(vectors, scan.grid)


@pytest.fixture(scope="module")
def mirrored(cohort, tmp_path_factory):
    """A study whose teacher folded pt_2, never interrupted."""
    folder = tmp_path_factory.mktemp("mirrored") / "study"
    make(cohort, folder, MirrorTeacher())
    return folder


def test_an_implausible_field_is_left_out_with_its_reason(cohort, mirrored):
    study = open_study(mirrored)
    assert study.scans == ["pt_1", "pt_3", "pt_4", "pt_5"] and list(study.failed) == ["pt_2"]
    assert study.failed["pt_2"].startswith(f"{cohort / 'img' / 'pt_2.nii.gz'}: the teacher's field ")
    assert "folds 100.0 % of the body" in study.failed["pt_2"]
    assert list(study.quality) == SCANS and study.quality["pt_2"]["folding_percent"] == 100
    assert study.quality == json.loads((mirrored / "study.json").read_text())["quality"]


def test_quality_is_that_of_the_stored_field(mirrored):
    study = open_study(mirrored)
    for name in study.scans:
        quality = FieldQuality(**study.quality[name])
        assert quality.similarity_after == pytest.approx(
            quality.similarity_before, abs=1e-6
        )  # the frames' centres, both times
        assert quality.similarity_before > 0.3 and quality.folding_percent == 0
        template = study.template()
        measured = measure_field(*(study.scan(name)[:1]), template, study.scan(name)[1])
        assert asdict(measured) == pytest.approx(asdict(quality), abs=1e-3)  # the stored template is rounded


def test_the_region_is_kept(mirrored):
    study = open_study(mirrored)
    for name in study.scans:
        scan, _ = study.scan(name)
        assert "region" in vars(scan) and scan.region.dtype == torch.bool
        assert torch.equal(scan.region, body_region(body_mask(scan.hu))) and 0 < scan.region.sum() < scan.region.numel()


@pytest.mark.parametrize("done", [1, 4])
def test_interrupted_between_scans_gives_the_same_study(cohort, mirrored, tmp_path, done):
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
        make(cohort, tmp_path / "study", Counting())
    with pytest.raises(UserError, match="not finished"):
        open_study(tmp_path / "study")
    make(cohort, tmp_path / "study", Steady())
    assert registered == SCANS[:done]
    assert_same(mirrored, tmp_path / "study")


def test_a_damaged_scan_is_made_again(cohort, mirrored, tmp_path):
    shutil.copytree(mirrored, tmp_path / "study")
    path = tmp_path / "study" / "scans" / "pt_3.npz"
    for damage in (path.read_bytes()[:-200], b"", b"nothing"):
        path.write_bytes(damage)
        with pytest.raises(UserError, match="pt_3.npz is missing or damaged"):
            open_study(tmp_path / "study").scan("pt_3")
        make(cohort, tmp_path / "study", MirrorTeacher())
        assert_same(mirrored, tmp_path / "study")


def test_failures_stand_in_the_cohorts_order(cohort, tmp_path):
    study = make(cohort, tmp_path / "study", MirrorTeacher(mirrored="pt_1", failing="pt_4"))
    assert list(study.failed) == ["pt_1", "pt_4"] and "no convergence" in study.failed["pt_4"]
    assert list(study.quality) == ["pt_1", "pt_2", "pt_3", "pt_5"]


def test_fields_are_kept_where_all_are_implausible(cohort, tmp_path):
    images = [cohort / "img" / "pt_2.nii.gz"]
    with pytest.raises(UserError, match="No scan of the list of scans could be prepared; .*pt_2.*folds"):
        make(cohort, tmp_path / "study", MirrorTeacher(), images)
    assert (tmp_path / "study" / "scans" / "pt_2.npz").is_file()


def test_a_study_of_an_earlier_version(cohort, mirrored, tmp_path):
    """Neither quality nor regions: it opens, reads the same, and gets them without another registration."""
    shutil.copytree(mirrored, tmp_path / "study")
    path = tmp_path / "study" / "study.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "quality"}))
    for file in (tmp_path / "study" / "scans").iterdir():
        np.savez_compressed(file, **{k: v for k, v in arrays(file).items() if k not in ("quality", "region")})
    old = open_study(tmp_path / "study")
    assert old.quality == {} and "region" not in vars(old.scan("pt_1")[0])
    assert torch.equal(old.scan("pt_1")[0].region, open_study(mirrored).scan("pt_1")[0].region)

    class Idle(CentreTeacher):
        def register(self, scan, template):
            raise AssertionError("registered again")

    make(cohort, tmp_path / "study", Idle())
    assert_same(mirrored, tmp_path / "study")


def test_a_list_of_scans(cohort, mirrored, tmp_path):
    images = sorted((cohort / "img").iterdir())
    make(cohort, tmp_path / "study", MirrorTeacher(), [*images, cohort / "template.nii.gz"])
    assert_same(mirrored, tmp_path / "study")
    chosen = make(cohort, tmp_path / "chosen", images=[str(images[3]), str(images[0])])
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
            make(cohort, tmp_path / "study", images=images)
        assert not (tmp_path / "study").exists()
