"""What an average keeps of the scans it was made of: no more of one than of the others, no names, no paths."""

import io
import zipfile

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from atlas_samples import NAMES
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.inverse import invert
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.volumes import Volume, load_labels, load_scan, save_volume
from SlicRegLib.network.options import PRESETS
from SlicRegLib.registration.atlas import LEVELS, STORED, Atlas
from SlicRegLib.registration.image_features import describe_body
from SlicRegLib.registration.model import load_model
from SlicRegLib.teaching import groupwise
from SlicRegLib.teaching.averaging import AveragedScan, average
from SlicRegLib.teaching.create import StudyPlan, count_labels, create_study, prepare_study
from SlicRegLib.teaching.options import PrepareRequest, SupervoxelOptions
from SlicRegLib.teaching.study import Study, find_finished_study, save_study
from SlicRegLib.teaching.teachers import RefinementTeacher
from SlicRegLib.training.options import TrainRequest
from SlicRegLib.training.train import train_model
from tiny import NETWORK, write_cohort


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = write_cohort(tmp_path_factory.mktemp("private_place"), 7)
    plan = StudyPlan(
        template_path=folder / "img" / "pt_1.nii.gz",
        images=folder / "img",
        folder=folder / "study",
        teacher=RefinementTeacher(),
        preparation=PreparationOptions(spacing_mm=16.0),
        supervoxels=SupervoxelOptions(layers=NETWORK.layers),
        average=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groupwise, "MOST_ROUNDS", 1)
        return count_labels(create_study(plan), str(folder / "label"), NAMES)


@pytest.fixture(scope="module")
def to_scans(study):
    """Of each scan, the field from the average to it."""
    template = study.template()
    return {name: invert(study.scan(name)[1], template.grid) for name in study.scans}


def weigh(average: np.ndarray, scans: list[np.ndarray]) -> np.ndarray:
    """The weight of each scan in the sum of scans that comes nearest to the average. Their mean is 1: a scan with 2
    has twice its share."""
    known = np.stack([scan.ravel() for scan in scans], 1)
    known, wanted = known - known.mean(0), average.ravel() - average.mean()
    weights = np.linalg.lstsq(known, wanted, rcond=None)[0]
    return weights / weights.mean()


def weigh_images(study: Study, atlas: Atlas, to_scans) -> np.ndarray:
    """Of each scan in the average's image, from the fine structure within the body."""
    body = gaussian_filter((atlas.image.data > -300).astype(np.float32), 1) > 0.9

    def fine(image: np.ndarray) -> np.ndarray:
        return (np.clip(image, -200, 300) - gaussian_filter(np.clip(image, -200, 300), 2))[body]

    moved, points = [], atlas.image.grid.points()
    for name, field in to_scans.items():
        scan = load_scan(study.folder.parent / "img" / f"{name}.nii.gz")
        moved.append(fine(sample(scan.tensor, scan.grid, field(points))[0].numpy()))
    return weigh(fine(atlas.image.data), moved)


def weigh_features(study: Study, atlas: Atlas, to_scans) -> np.ndarray:
    """Of each scan in the average's features."""
    i, j, k = (slice(a, a + n) for a, n in zip(atlas.first, atlas.features.shape, strict=False))
    moved, points = [], atlas.grid.points()[i, j, k]
    everywhere = torch.from_numpy(atlas.seen == len(to_scans))[i, j, k].numpy()
    for name, field in to_scans.items():
        scan = study.scan(name)[0]
        features = describe_body(scan.hu, scan.region, STORED)
        part = scan.grid.cropped(features.first.tolist(), features.values.shape[:3])
        values = sample(features.values.movedim(-1, 0), part, field(points)).movedim(0, -1)
        moved.append(values.numpy()[everywhere])
    return weigh((atlas.features / LEVELS)[everywhere], moved)


def with_more_of(study: Study, to_scans, name: str) -> Atlas:
    """What must not be: an average to which one scan has contributed three times."""

    def go_through():
        for other in [*study.scans, name, name]:
            yield AveragedScan(study.scan(other)[0], to_scans[other])

    return average(go_through, study.atlas().grid)


@pytest.mark.parametrize("measure", [weigh_images, weigh_features])
def test_no_scan_has_more_than_its_share(study, to_scans, measure):
    """Not even the one with which the averaging began, pt_1. The measure finds a scan that has more."""
    weights = measure(study, study.atlas(), to_scans)
    assert study.scans == [f"pt_{n}" for n in range(1, 8)] and (weights > 0.8).all() and (weights < 1.2).all()
    for name in ("pt_1", "pt_4"):
        weights = measure(study, with_more_of(study, to_scans, name), to_scans)
        assert weights.max() > 1.25 and study.scans[weights.argmax()] == name


def test_no_scan_has_more_than_its_vote(study, to_scans):
    """The consensus' votes agree with each scan's labels about equally; smoothed, they follow none of them."""
    consensus = study.consensus()
    organ = max(consensus.organs, key=lambda organ: organ.shares.size)
    i, j, k = (slice(a, a + n) for a, n in zip(organ.first, organ.shares.shape, strict=True))
    points, moved = consensus.grid.points()[i, j, k], []
    for name, field in to_scans.items():
        labels = load_labels(study.folder.parent / "label" / f"{name}.nii.gz")
        mask = torch.from_numpy((labels.data == organ.value).astype(np.float32))[None]
        moved.append(sample(mask, labels.grid, field(points))[0].numpy())
    weights = weigh(organ.shares / 255, moved)
    assert organ.raters == 7 and (weights > 0.6).all() and (weights < 1.4).all()


def test_a_study_whose_average_was_deleted_is_not_finished(study):
    """Else a training would make a model without it, without a word."""
    kept = study.atlas_path.read_bytes()
    assert find_finished_study(study.folder).scans == study.scans
    study.atlas_path.unlink()
    assert find_finished_study(study.folder) is None
    study.atlas_path.write_bytes(kept)


def test_labels_that_belong_to_no_scan_are_refused_before_the_work(study, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "other.nii.gz").touch()
    request = PrepareRequest(images=study.folder.parent / "img", out=tmp_path / "out", labels=str(tmp_path / "labels"))
    with pytest.raises(UserError, match=r"No file in .*labels has the name of a scan of the cohort"):
        prepare_study(request)
    assert not (tmp_path / "out").exists()


def test_labels_that_cannot_be_counted(study, tmp_path):
    given = load_labels(study.folder.parent / "label" / "pt_2.nii.gz")
    before, path = study.consensus_path.read_bytes(), tmp_path / "pt_2.nii.gz"
    away = given.grid.affine.copy()
    away[:3, 3] += 50
    for labels, words in (
        (Volume(np.zeros_like(given.data), given.grid), "nothing but background"),
        (Volume(given.data, Grid(given.grid.shape, away)), "pt_2.nii.gz .* reaches beyond its scan"),
    ):
        save_volume(path, labels)
        with pytest.raises(UserError, match=words):
            count_labels(study, str(tmp_path), NAMES)
    part = given.grid.cropped((5, 5, 5), (40, 30, 40))
    save_volume(path, Volume(np.ascontiguousarray(given.data[5:45, 5:35, 5:45]), part))
    with pytest.raises(UserError, match=r"Each organ in .* is drawn in one scan only.* --single-rater"):
        count_labels(study, str(tmp_path), NAMES)
    cropped = count_labels(study, str(tmp_path), NAMES, single_rater=True)  # as Slicer crops them
    assert {organ["raters"] for organ in cropped.organs} == {1} and not (study.folder / "votes").exists()
    assert "drawn in one scan only" in cropped.label_notes[-1]
    study.consensus_path.write_bytes(before)
    save_study(study)


def test_a_trained_model_holds_no_names_and_no_paths(study, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "compact", NETWORK)
    path = tmp_path / "m.slicreg"
    train_model(TrainRequest(study=study.folder, out=path, iterations=2, preset="compact", device="cpu"))
    model = load_model(path)
    assert not any(organ.correction for organ in model.consensus.organs)  # labels teach only when they are asked to
    assert model.atlas.scans == 7 and len(model.consensus.organs) == 13 and model.own_template is model.atlas.image
    assert model.is_own(study.atlas().image) and model.template is None and model.template_labels is None
    with zipfile.ZipFile(path) as archive:
        assert "template.npz" not in archive.namelist()
        contents = {name: archive.read(name) for name in archive.namelist()}
        for name in ("atlas.npz", "consensus.npz"):
            with zipfile.ZipFile(io.BytesIO(contents[name])) as arrays:
                contents |= {f"{name}/{part}": arrays.read(part) for part in arrays.namelist()}
    binary = (".npz", "/shares.npy", "_differences.npy", "/seen.npy", ".safetensors")  # with any bytes
    texts = {name: content for name, content in contents.items() if not name.endswith(binary)}
    assert len(texts) > 6
    for name, content in texts.items():
        assert not any(word in content for word in (b"pt_", b"private_place", b"nii", str(tmp_path).encode())), name
    assert b"Left lung" in texts["bundle.json"]
