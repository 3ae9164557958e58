"""Labels counted into a consensus: by its definition, in processes, resumed, without wrong and single contours."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from label_samples import SCAN, draw_balls, save_label, write_study
from SlicRegLib.cohort.label_names import LabelName
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.inverse import invert
from SlicRegLib.geometry.label_maps import cut_labels, measure_volumes
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.volumes import Volume, load_labels
from SlicRegLib.progress import silent
from SlicRegLib.registration.image_features import CELL
from SlicRegLib.registration.organs import PERCENTILES, describe_few_raters
from SlicRegLib.teaching import create
from SlicRegLib.teaching import votes as votes_module
from SlicRegLib.teaching.agreement import SMOOTHING_MM, THRESHOLDS, Count, _load_counts, save_counts
from SlicRegLib.teaching.consensus import MARGIN, make_consensus
from SlicRegLib.teaching.create import count_labels, prepare_study
from SlicRegLib.teaching.options import PrepareRequest
from SlicRegLib.teaching.study import open_study

NAMES = {1: LabelName("Kidney", (1, 2, 3)), 2: LabelName("Cord")}
LIVER = (10.0, 0.0, -5.0)
ELSEWHERE = (-25.0, 10.0, 10.0)


def count(study, labels, **options):
    return make_consensus(study, labels, NAMES, study.consensus_grid(), silent, **options)


@pytest.fixture(scope="module")
def bent(tmp_path_factory):
    """Five scans with bent fields and two organs, of which the second is in three of them, and one without labels."""
    folder = tmp_path_factory.mktemp("bent")
    study = write_study(folder / "study", 6, bend_mm=7.0)
    for number, name in enumerate(study.scans[:5]):
        balls = {1: (LIVER, 17.0 + number), 2: (ELSEWHERE, 9.0 + 2 * number)}
        save_label(folder / "labels", name, draw_balls(balls if number % 2 == 0 else {1: balls[1]}))
    return study, folder / "labels"


def count_simply(study, labels, grid):
    """Value -> shares of votes on the whole grid, threshold, agreement, volumes: each voxel of everything, at once."""
    carried, own = {}, {}
    for name in study.scans:
        if (labels / f"{name}.nii.gz").exists():
            own[name] = load_labels(labels / f"{name}.nii.gz")
            inverse = invert(study.scan(name)[1], study.template().grid.pooled(CELL))
            carried[name] = cut_labels(own[name].data, own[name].grid).on(grid, inverse)
    dice, raters = {}, {}
    for value in (1, 2):
        raters[value] = [name for name in own if (own[name].data == value).any()]
        rows = []
        for name in raters[value]:
            others = np.mean([carried[other] == value for other in raters[value] if other != name], axis=0)
            points = study.scan(name)[1](own[name].grid.points())
            mask = own[name].data == value
            table = []
            for sigma in SMOOTHING_MM:
                smooth = gaussian_filter(others.astype(np.float32), sigma / grid.spacing) if sigma else others
                shares = sample(torch.from_numpy(smooth.astype(np.float32))[None], grid, points, fill=0.0)[0].numpy()
                found = [shares.astype(float) >= threshold for threshold in THRESHOLDS]
                table.append([2 * (each & mask).sum() / max(1, each.sum() + mask.sum()) for each in found])
            rows.append(table)
        dice[value] = np.mean(rows, axis=0)
    row = int(np.mean([table.max(1) for table in dice.values()], axis=0).argmax())
    results = {}
    for value, table in dice.items():
        votes = np.mean([carried[name] == value for name in raters[value]], axis=0).astype(np.float32)
        if SMOOTHING_MM[row]:
            votes = gaussian_filter(votes, SMOOTHING_MM[row] / grid.spacing)
        volumes = [measure_volumes(own[name].data, own[name].grid)[value][0] for name in raters[value]]
        results[value] = votes, THRESHOLDS[int(table[row].argmax())], table[row].max(), volumes, len(raters[value])
    return results


def test_the_consensus_is_what_it_is_by_definition(bent):
    study, labels = bent
    counted = count(study, labels)
    expected = count_simply(study, labels, study.consensus_grid())
    assert [organ.value for organ in counted.consensus.organs] == list(expected) and counted.notes == []
    for organ in counted.consensus.organs:
        votes, threshold, agreement, volumes, raters = expected[organ.value]
        whole = np.zeros(votes.shape, np.uint8)
        whole[tuple(slice(a, a + n) for a, n in zip(organ.first, organ.shares.shape, strict=True))] = organ.shares
        inside = np.argwhere(votes > 0.5 / 255)
        assert (inside.min(0) >= organ.first).all() and (inside.min(0) < np.array(organ.first) + MARGIN + 1).all()
        assert np.abs(whole.astype(int) - np.round(255 * votes)).max() <= 1  # the filter ends at the box
        assert (organ.threshold, organ.raters) == (threshold, raters)
        assert organ.agreement == pytest.approx(agreement, abs=1e-4)
        np.testing.assert_allclose(organ.volumes_ml, np.percentile(volumes, PERCENTILES))
    assert [organ.name for organ in counted.consensus.organs] == ["Kidney", "Cord"]
    assert counted.consensus.organs[0].colour == (1, 2, 3)


def assert_same(a, b):
    assert a.notes == b.notes
    for one, other in zip(a.consensus.organs, b.consensus.organs, strict=True):
        assert {**vars(one), "shares": 0} == {**vars(other), "shares": 0}
        np.testing.assert_array_equal(one.shares, other.shares)


@pytest.mark.slow
def test_processes_count_the_same(bent):
    study, labels = bent
    alone = count(study, labels)
    votes_module.votes_path(study.folder / "votes", "b").unlink()
    assert_same(alone, count(study, labels, jobs=2))


def test_an_interrupted_run_goes_on(bent, monkeypatch):
    study, labels = bent
    whole, carried = count(study, labels), list[str]()

    def stop(stage, share, details):
        if share >= 0.3:
            raise KeyboardInterrupt

    for file in (study.folder / "votes").iterdir():
        file.unlink()
    with pytest.raises(KeyboardInterrupt):
        make_consensus(study, labels, NAMES, study.consensus_grid(), stop)
    monkeypatch.setattr(votes_module, "cut_labels", lambda *given: carried.append("once") or cut_labels(*given))
    assert len(list((study.folder / "votes").iterdir())) == 3
    (study.folder / "votes" / "a.npz").write_bytes(b"PK cut off")
    assert_same(whole, count(study, labels))
    assert len(carried) == 3  # the damaged one and the two that were not carried yet
    save_label(labels, "b", draw_balls({1: (LIVER, 19.0)}))  # changed, if only its date
    count(study, labels)
    assert len(carried) == 4


def test_a_label_file_that_cannot_be_counted_is_one_sentence(bent, tmp_path):
    study, _ = bent
    save_label(tmp_path, "a", draw_balls({1: (LIVER, 20.0)}))
    (tmp_path / "b.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"b\.nii\.gz"):
        count(study, tmp_path)
    assert not study.consensus_path.exists()


def test_the_votes_of_any_number_of_organs_are_read_back(tmp_path):
    """An archive of more than a few arrays would be refused."""
    random = np.random.default_rng(0)
    counts = {}
    for value in range(3, 303):
        i, j, k = (slice(value % 7, value % 7 + n) for n in random.integers(1, 6, 3).tolist())
        votes = random.integers(0, 1000, (i.stop - i.start, j.stop - j.start, k.stop - k.start)).astype(np.uint16)
        counts[value] = Count(votes, (i, j, k), value % 11 + 1)
    save_counts(tmp_path / "counts.npz", counts)
    back = _load_counts(tmp_path / "counts.npz", 0)
    assert list(back) == list(counts)
    for value, count_ in counts.items():
        assert (back[value].box, back[value].raters) == (count_.box, count_.raters)
        np.testing.assert_array_equal(back[value].votes, count_.votes)


# ---- who votes


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Twelve scans that lie as the template does."""
    return write_study(tmp_path_factory.mktemp("straight") / "study", 12)


def test_wrong_contours_do_not_vote_and_are_said(straight, tmp_path):
    """Of twelve kidneys one has 15 times the volume and one a hundredth; a third large one is cut by the border."""
    radii = dict(zip(straight.scans, [18, 18.5, 19, 19.5, 20, 20.5, 21, 21.5, 22, 4.2, 48, 19], strict=True))
    for name, radius in radii.items():
        save_label(tmp_path, name, draw_balls({1: ((0.0, 0.0, 0.0), radius)}))
    save_label(tmp_path, "l", draw_balls({1: ((-50.0, 0.0, 0.0), 48.0)}))  # reaches beyond
    counted = count(straight, tmp_path)
    (organ,) = counted.consensus.organs
    assert organ.raters == 10 and len(counted.notes) == 2
    for note, (scan, radius) in zip(counted.notes, (("j", 4.2), ("k", 48)), strict=True):
        words = note.split()
        assert words[0] == f"{scan}:" and "other scans; this contour is not counted" in note
        assert float(words[3]) == pytest.approx(4 / 3 * np.pi * (radius / 10) ** 3, rel=0.2)
        assert [float(words[n]) for n in (6, 8)] == pytest.approx([24.4, 44.6], rel=0.05)
    # without them the consensus is that of the others
    others = tmp_path / "others"
    for name in sorted(set(radii) - {"j", "k"}):
        others.mkdir(exist_ok=True)
        (others / f"{name}.nii.gz").write_bytes((tmp_path / f"{name}.nii.gz").read_bytes())
    alone = count(straight, others)
    assert_same(replace(counted, notes=[]), alone)


def test_fewer_than_ten_contours_all_count(straight, tmp_path):
    for name, radius in zip(straight.scans, [20, 20, 20, 20, 20, 20, 20, 20, 45], strict=False):
        save_label(tmp_path, name, draw_balls({1: ((0.0, 0.0, 0.0), radius)}))
    counted = count(straight, tmp_path)
    assert counted.consensus.organs[0].raters == 9 and counted.notes == []


def test_organs_of_one_or_two_scans(straight, tmp_path):
    balls = {1: (LIVER, 20.0), 2: (ELSEWHERE, 10.0), 3: ((0.0, -35.0, 0.0), 10.0)}
    for name, values in (("a", (1, 2, 3)), ("b", (1, 2)), ("c", (1,))):
        save_label(tmp_path, name, draw_balls({value: balls[value] for value in values}))
    study = count_labels(straight, str(tmp_path), NAMES)
    assert [(organ["name"], organ["raters"]) for organ in study.organs] == [("Kidney", 3), ("Cord", 2)]
    left_out, few = study.label_notes
    assert left_out.startswith("Left out, since one scan only has them: Label 3;") and "--single-rater" in left_out
    assert few.startswith("Cord: drawn in 2 scans only")
    assert open_study(straight.folder).label_notes == study.label_notes
    study = count_labels(straight, str(tmp_path), NAMES, single_rater=True)
    assert [organ["raters"] for organ in study.organs] == [3, 2, 1]
    assert describe_few_raters(study.consensus().organs) == study.label_notes
    assert "Label 3: drawn in one scan only, so that this is the contour of one patient" in study.label_notes[0]


def test_labels_of_one_scan_are_refused_before_the_work(straight, tmp_path, monkeypatch):
    """And counted if that is enough."""
    save_label(tmp_path / "labels", "b", draw_balls({1: (LIVER, 20.0)}))
    scans = [tmp_path / f"{name}.nii.gz" for name in straight.scans]
    monkeypatch.setattr(create, "create_study", lambda *given: straight)
    monkeypatch.setattr(create, "choose_series", lambda *given: scans[0])
    asked = PrepareRequest(
        template=scans[0], images=tmp_path, out=tmp_path / "out", labels=str(tmp_path / "labels"), workers=1
    )
    template = Volume(draw_balls({1: (LIVER, 20.0)}), SCAN)
    with pytest.raises(UserError, match=r"holds labels of one scan only \(b\).* --single-rater"):
        prepare_study(asked, template=template, paths=scans)
    study = prepare_study(replace(asked, single_rater=True), template=template, paths=scans)
    assert [organ["raters"] for organ in study.organs] == [1] and "in one scan only" in study.label_notes[0]


# ---- label files that show less than the scan


def test_a_cropped_label_file_counts_as_the_whole_one(bent, tmp_path):
    """The organ of the cropped file reaches its border, but not that of the scan."""
    study, labels = bent
    for name in study.scans[:5]:
        own = load_labels(labels / f"{name}.nii.gz")
        ends = [(int(where.min()), int(where.max()) + 1) for where in np.nonzero(own.data)]
        crop = tuple(slice(*each) for each in ends)
        save_label(tmp_path, name, own.data[crop].copy(), SCAN.cropped([a for a, _ in ends], own.data[crop].shape))
        assert not measure_volumes(own.data[crop], own.grid)[1][1]
    whole, cropped = count(study, labels), count(study, tmp_path)
    assert_same(whole, cropped)
    assert cropped.consensus.organs[0].volumes_ml


@pytest.mark.parametrize("shift", [-0.6, -0.3, 0.0, 0.3, 0.6])
def test_labels_are_shown_where_the_scan_is(tmp_path, shift):
    """Also where their lattice is that of the scan moved by less than a voxel, and wider by one."""
    grid = SCAN.cropped(np.full(3, shift), SCAN.shape)
    save_label(tmp_path, "a", np.ones(grid.shape, np.uint8), grid)
    whole = votes_module.load_whole(tmp_path / "a.nii.gz", SCAN)
    centres = SCAN.to_voxel(whole.grid.points()).reshape(-1, 3).numpy()
    assert (centres > -0.5 - 1e-3).all() and (centres < np.array(SCAN.shape) - 0.5 + 1e-3).all()
    np.testing.assert_allclose(SCAN.to_voxel(whole.grid.corners()), SCAN.to_voxel(SCAN.corners()), atol=0.61)
    at = whole.grid.to_voxel(grid.points()).round().long().numpy().reshape(-1, 3)
    kept = ((at >= 0) & (at < whole.data.shape)).all(1)
    assert (whole.data[tuple(at[kept].T)] == 1).all() and kept.sum() == whole.data.sum()
