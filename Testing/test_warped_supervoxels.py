"""Supervoxels and deeds results made elsewhere, through `slicreg prepare`: direction, axes and units against known
deformations."""

from pathlib import Path

import numpy as np
import pytest
import torch

import published_samples as published
from command_line import is_one_sentence, run
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import load_scan
from SlicRegLib.network.options import STRIDE
from SlicRegLib.teaching.study import open_study
from SlicRegLib.teaching.warped_supervoxels import find_field, open_warped_supervoxels, turn_to_world
from SlicRegLib.training.options import AugmentationOptions
from SlicRegLib.training.samples import TrainingSet

FRAME = Grid((12, 14, 16), np.diag([4.0, 4, 4, 1]))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr("SlicRegLib.workers.IN_THIS_PROCESS", True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Template img0038 and two scans, img0002 and img0003, that show it deformed and elsewhere in the world."""
    folder, hu = tmp_path_factory.mktemp("published"), published.template_hu()
    published.write_scan(folder / "img" / "img0038.nii.gz", hu)
    for number, affine in ((2, False), (3, True)):
        path = folder / "img" / f"img000{number}.nii.gz"
        published.write_scan(path, hu, published.places(affine), origin=(300.0 * number, 20, 700))
    return folder


@pytest.fixture(scope="module")
def supervoxels(data):
    """The file with the supervoxels of img0002, img0003 and img0038, and these."""
    layers = published.random_layers()
    scans = [*(published.warp_layers(layers, published.places(affine)) for affine in (False, True)), layers]
    return published.write_supervoxels(data / "warped.pth", scans), scans


def prepare(data: Path, out: Path, **options) -> int:
    return run("prepare", template=data / "img" / "img0038.nii.gz", images=data / "img", out=out, jobs=1, **options)


def test_prepared_supervoxels_are_what_a_training_learns(data, supervoxels, tmp_path):
    file, scans = supervoxels
    assert prepare(data, tmp_path / "study", supervoxels=file) == 0
    study = open_study(tmp_path / "study")
    assert study.scans == ["img0002", "img0003"] and study.teacher == "warped supervoxels"
    assert study.preparation.shape == published.HALF and study.preparation.spacing_mm == 12
    np.testing.assert_array_equal(study.layers(), scans[2][:, ::-1, ::-1])  # the files' i and j run to L and P
    for name, known in zip(study.scans, scans, strict=False):
        own = TrainingSet(study, [name], AugmentationOptions(), None)
        batch = own.batch([0], torch.Generator(), augment=False)
        scan = study.scan(name)[0]
        file_grid = load_scan(data / "img" / f"{name}.nii.gz").grid.pooled(2)
        voxels = file_grid.to_voxel(scan.grid.strided(STRIDE).points().reshape(-1, 3).numpy())
        inner = ((voxels > 0) & (voxels < np.array(published.HALF) - 1)).all(1)
        inner &= (np.abs(voxels - np.floor(voxels) - 0.5) > 0.02).all(1)  # else rounding decides
        i, j, k = np.round(voxels[inner]).astype(int).T
        assert inner.sum() > 2000
        np.testing.assert_array_equal(batch.targets[0][inner].T.numpy(), known[:, i, j, k])


def known_field_error(data: Path, study, name: str, affine: bool) -> np.ndarray:
    """Distance in mm of the study's field from the known place in the template, in the scan's body."""
    scan, field = study.scan(name)
    files = [load_scan(data / "img" / f"{stem}.nii.gz").grid for stem in (name, "img0038")]
    points = scan.grid.points()[scan.body]
    at = [np.round(part).astype(int) for part in files[0].to_voxel(points.numpy()).T]
    inside = np.all([(a >= 0) & (a < n) for a, n in zip(at, published.SHAPE, strict=True)], 0)
    voxels = np.stack(at, 1)[inside]  # compared at whole voxels of the file
    known = files[1].to_world(published.places(affine)[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].T)
    start = torch.from_numpy(files[0].to_world(voxels.astype(float))).float()
    return np.linalg.norm(field(start).numpy() - known, axis=1)


def test_the_field_of_supervoxels_leads_to_the_same_place(data, supervoxels, tmp_path):
    assert prepare(data, tmp_path / "study", supervoxels=supervoxels[0]) == 0
    study = open_study(tmp_path / "study")
    for name, affine in (("img0002", False), ("img0003", True)):
        assert np.median(known_field_error(data, study, name, affine)) < 0.5 * 12  # half a voxel of the supervoxels


def test_deeds_files_with_the_published_names_lead_to_the_known_place(data, tmp_path):
    baseline = tmp_path / "baseline"
    published.write_deeds(baseline / "F02_38", np.eye(4))
    published.write_deeds(baseline / "F03_38", published.AFFINE)
    options = {"shape": (32, 32, 48), "spacing": 12}
    assert prepare(data, tmp_path / "study", teacher="deeds", deeds_dir=baseline, **options) == 0
    study = open_study(tmp_path / "study")
    assert study.scans == ["img0002", "img0003"] and not study.failed
    for name, affine in (("img0002", False), ("img0003", True)):
        error = known_field_error(data, study, name, affine)
        assert np.percentile(error, 95) < 1.0 and np.median(error) < 0.3  # mm; voxels have 6


def test_deeds_without_one_of_the_matrices_leaves_the_scan_out(data, tmp_path):
    baseline = tmp_path / "baseline"
    for name in ("F02_38", "img0003"):
        published.write_deeds(baseline / name, published.AFFINE if name == "img0003" else np.eye(4))
    (baseline / "F02_38_matrix.txt").unlink()
    assert prepare(data, tmp_path / "study", teacher="deeds", deeds_dir=baseline, shape=(32, 32, 48), spacing=12) == 0
    study = open_study(tmp_path / "study")
    assert study.scans == ["img0003"] and "F02_38_matrix.txt does not exist" in study.failed["img0002"]


def test_places_of_equal_combinations():
    layers = published.random_layers(6, air=0)[:, : FRAME.shape[0], : FRAME.shape[1], : FRAME.shape[2]]
    moved = np.roll(layers, (2, -4), (1, 3))  # scan voxel v shows the template's v - (2, 0, -4)
    field = find_field(moved, FRAME, layers, FRAME, "these")
    middle = field.vectors[:, 2:-2, 2:-2, 2:-3].flatten(1).median(1).values
    np.testing.assert_allclose(middle, (-8, 0, 16), atol=1.0)


def test_supervoxels_of_another_template():
    layers = published.random_layers(6, air=0)
    grid = Grid(published.HALF, np.diag([4.0, 4, 4, 1]))
    with pytest.raises(UserError, match=r"these are not those of the template"):
        find_field(layers[::-1].copy(), grid, layers, grid, "these")


def test_turned_axes(oblique):
    layers = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    affine = np.array([[0, -2, 0, 7], [0, 0, 2, 8], [2, 0, 0, 9], [0, 0, 0, 1.0]])  # i to S, j to L, k to A
    grid = Grid((3, 4, 5), affine)
    turned, world = turn_to_world(layers, grid, "x")
    assert turned.shape == (2, 4, 5, 3) and (np.diag(world.affine)[:3] == 2).all()
    for voxel in ((0, 0, 0), (2, 1, 4), (1, 3, 2)):
        i, j, k = np.round(world.to_voxel(grid.to_world(np.array(voxel, float)))).astype(int)
        np.testing.assert_array_equal(turned[:, i, j, k], layers[(slice(None), *voxel)])
    for wrong in (oblique(spacing=(2, 2, 2)), Grid((3, 4, 5), np.diag([2.0, 2, 3, 1]))):
        with pytest.raises(UserError, match=r"cubes along the world's axes"):
            turn_to_world(layers, wrong, "x")


def test_the_authors_file_is_read_by_the_numbers_of_the_scans(tmp_path):
    numbers = [*range(1, 11), *range(21, 41)]
    file = tmp_path / "s.pth"
    torch.save(torch.arange(30, dtype=torch.uint8).view(30, 1, 1, 1, 1).expand(30, 2, 2, 3, 4).contiguous(), file)
    scans = [tmp_path / f"img{number:04d}.nii.gz" for number in (40, 2, 21)]
    teacher = open_warped_supervoxels(file, tmp_path / "img0038.nii.gz", scans)
    grid = Grid((4, 6, 8), np.diag([2.0, 2, 2, 1]))
    for number in (38, 40, 2, 21):
        layers, half = teacher.layers(f"img{number:04d}", grid)
        assert (layers == numbers.index(number)).all() and half.matches(grid.pooled(2))
    with pytest.raises(UserError, match=r"no supervoxels of a scan called img0022"):
        teacher.layers("img0022", grid)


WRONG = {
    "missing": (None, "does not exist"),
    "text": (b"hello", "not a file of torch.save"),
    "a pickle": ({"labels": Path("x")}, "not a file of torch.save"),
    "a dictionary": ({"a": torch.zeros(1)}, "holds no tensor but a dict"),
    "floats": (torch.zeros(3, 16, 4, 4, 4), "holds float32 3 x 16 x 4 x 4 x 4"),
    "one scan": (torch.zeros(16, 4, 4, 4, dtype=torch.uint8), "holds uint8 16 x 4 x 4 x 4"),
    "other scans": (torch.zeros(5, 16, 4, 4, 4, dtype=torch.uint8), "of 5 scans, but there are 3"),
    "other size": (torch.zeros(3, 16, 4, 4, 4, dtype=torch.uint8), "must be half as many"),
    "empty": (torch.zeros(3, 2, *published.HALF, dtype=torch.uint8), "is empty"),
    "too many": (torch.arange(200, dtype=torch.uint8).repeat(2**10)[: 32 * 24 * 40].view(1, 1, *published.HALF).expand(
        3, 2, -1, -1, -1).contiguous(), "above 127"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_in_one_sentence(data, tmp_path, capfd, case):
    content, words = WRONG[case]
    file = tmp_path / "s.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    assert prepare(data, tmp_path / "study", supervoxels=file) == 2
    assert is_one_sentence(capfd, words) and not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"teacher": "deeds"}, "need no teacher"),
        ({"average": True}, "belong to one template"),
        ({"from_": "x.slicreg"}, "Both --supervoxels and --from"),
        ({"spacing": 3}, "leave out --shape and --spacing"),
    ],
)
def test_contradicting_options(data, supervoxels, tmp_path, capfd, options, words):
    assert prepare(data, tmp_path / "study", supervoxels=supervoxels[0], **options) == 2
    assert is_one_sentence(capfd, words) and not (tmp_path / "study").exists()
