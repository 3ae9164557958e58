"""Borders that labels taught: a ball whose size varies is found where the image shows it, and left alone where not."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from label_samples import FRAME, SCAN, draw_balls, save_label, write_study
from SlicRegLib.cohort.label_names import LabelName
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.archive import ArchiveError
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.registration.consensus import pack_consensus, unpack_consensus
from SlicRegLib.registration.correction import SLOPE, correct, perceive
from SlicRegLib.registration.organs import SIZES, WEIGHTS, describe_organs
from SlicRegLib.teaching import correction as teaching
from SlicRegLib.teaching.create import count_labels, prepare_study
from SlicRegLib.teaching.options import PrepareRequest

SEEN, UNSEEN, RARE = 1, 2, 3
NAMES = {SEEN: LabelName("Seen"), UNSEEN: LabelName("Unseen"), RARE: LabelName("Rare")}
PLACES = {SEEN: (14.0, 0.0, -5.0), UNSEEN: (-22.0, 4.0, 5.0), RARE: (14.0, 0.0, 33.0)}
STILL = DisplacementField(torch.zeros(3, *FRAME.pooled(2).shape), FRAME.pooled(2))


def draw_scan(radius: float, seed: int, grid: Grid = SCAN) -> Volume:
    """Soft tissue of 0 HU and noise; the first organ has 80 HU and is seen, the others have nothing of their own."""
    inside = draw_balls({SEEN: (PLACES[SEEN], radius)}, grid) > 0
    noise = np.random.default_rng(seed).standard_normal(grid.shape, np.float32)
    return Volume(np.where(inside, 80, 0).astype(np.float32) + 10 * noise, grid)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Sixteen scans in which the balls have other radii; the third organ is in four of them."""
    folder = tmp_path_factory.mktemp("taught")
    study, random = write_study(folder / "study", 16), np.random.default_rng(0)
    (folder / "img").mkdir()
    for number, name in enumerate(study.scans):
        radii = {SEEN: random.uniform(9, 18), UNSEEN: random.uniform(9, 18)} | ({RARE: 10.0} if number % 4 == 0 else {})
        save_label(folder / "label", name, draw_balls({value: (PLACES[value], r) for value, r in radii.items()}))
        save_volume(folder / "img" / f"{name}.nii.gz", draw_scan(radii[SEEN], number))
    return study, folder


@pytest.fixture(scope="module")
def consensus(cohort):
    study, folder = cohort
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teaching, "STEPS", 300)
        scans = {name: folder / "img" / f"{name}.nii.gz" for name in study.scans}
        return count_labels(study, str(folder / "label"), NAMES, scans=scans).consensus()


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_only_what_helps_is_learned(consensus):
    """Not the borders that the image does not show, and not those that few have drawn."""
    learned = {organ.name: organ.correction for organ in consensus.organs}
    assert learned["Unseen"] is None and learned["Rare"] is None
    assert learned["Seen"].agreement > 0.95 > learned["Seen"].before + 0.05


@pytest.mark.parametrize("spacing", [(3.0, 3.2, 2.8), (1.5, 1.5, 4.0)])
@pytest.mark.parametrize("radius", [12.0, 17.0])
def test_a_patient_has_the_organ_that_the_image_shows(consensus, radius, spacing):
    grid = Grid.centred((1.0, -2.0, 3.0), [round(104 / n) for n in spacing], spacing)
    truth, target = draw_balls({SEEN: (PLACES[SEEN], radius)}, grid) == SEEN, draw_scan(radius, 99, grid)
    usual, own = (each.on(grid).data for each in (consensus, correct(consensus, target, STILL)))
    assert dice(own == SEEN, truth) > 0.9 > dice(usual == SEEN, truth) + 0.03
    np.testing.assert_array_equal(own == UNSEEN, usual == UNSEEN)


def test_through_the_field(consensus):
    """A patient who lies elsewhere, to which the field leads, has the same organ."""
    offset = torch.tensor([40.0, -30.0, 200.0])
    target = draw_scan(17.0, 5)
    elsewhere = replace(
        target, grid=Grid(SCAN.shape, np.block([[np.eye(3), offset[:, None].numpy()], [0, 0, 0, 1]]) @ SCAN.affine)
    )
    there = DisplacementField(offset.view(3, 1, 1, 1).expand_as(STILL.vectors).clone(), STILL.grid)
    here, moved = correct(consensus, target, STILL), correct(consensus, elsewhere, there)
    differences = here.organs[0].shares.astype(int) - moved.organs[0].shares
    assert np.abs(differences).max() <= 2


@pytest.mark.parametrize("cut", [-5.0, 4.0])
def test_beyond_the_end_of_a_scan_there_is_no_air(consensus, cut):
    """A scan that ends in or near the organ shows the part that it shows as well as a whole scan does."""
    target, end = draw_scan(16.0, 3), PLACES[SEEN][2] + cut
    first = int(np.ceil(SCAN.to_voxel(np.array([[0, 0, end]]))[0, 2]))
    part = SCAN.cropped((0, 0, first), (*SCAN.shape[:2], SCAN.shape[2] - first))
    found = correct(consensus, Volume(target.data[..., first:], part), STILL).on(part).data
    assert dice(found == SEEN, draw_balls({SEEN: (PLACES[SEEN], 16.0)}, part) == SEEN) > 0.93


def test_a_corrected_consensus_stays_as_it_is(consensus):
    own = correct(consensus, draw_scan(12.0, 1), STILL)
    assert own is not consensus and correct(own, draw_scan(17.0, 1), STILL) is own


def test_what_was_learned_comes_back(consensus):
    content, about = pack_consensus(consensus), describe_organs(consensus.organs)
    back = unpack_consensus(content, about)
    np.testing.assert_array_equal(back.organs[0].correction.weights, consensus.organs[0].correction.weights)
    assert back.organs[0].correction.threshold == consensus.organs[0].correction.threshold
    assert [organ.correction is None for organ in back.organs] == [False, True, True]
    for wrong in (
        np.full((1, WEIGHTS), np.nan, np.float16),
        np.zeros((1, 7), np.float16),
        np.zeros((2, WEIGHTS), np.float16),
    ):
        with pytest.raises(ArchiveError):
            unpack_consensus({**content, "corrections": wrong}, about)
    with pytest.raises(ArchiveError):
        unpack_consensus({key: value for key, value in content.items() if key != "corrections"}, about)
    with pytest.raises(ArchiveError):
        unpack_consensus(content, [{**about[0], "correction": "yes"}, *about[1:]])


def test_the_perceptron_is_that_of_torch():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(inputs, outputs) for inputs, outputs in pairwise(SIZES)]
    net = torch.nn.Sequential(layers[0], torch.nn.LeakyReLU(SLOPE), layers[1], torch.nn.LeakyReLU(SLOPE), layers[2])
    weights = torch.cat([part.detach().flatten() for part in net.parameters()])
    x = torch.randn(5, SIZES[0])
    assert len(weights) == WEIGHTS
    torch.testing.assert_close(perceive(weights, x), net(x)[:, 0].detach())


def test_scans_that_cannot_be_read_are_told(cohort, monkeypatch):
    study, folder = cohort
    monkeypatch.setattr(teaching, "STEPS", 20)
    scans = {name: folder / "img" / f"{name}.nii.gz" for name in study.scans}
    counted = count_labels(study, str(folder / "label"), NAMES, scans={**scans, "a": folder / "gone.nii.gz"})
    assert any(note.startswith("a taught no borders:") and "gone.nii.gz" in note for note in counted.label_notes)
    assert any("no better borders" in note and "Unseen" in note for note in counted.label_notes)
    with pytest.raises(UserError, match="No scan can teach borders"):
        count_labels(study, str(folder / "label"), NAMES, scans=dict.fromkeys(scans, folder / "gone.nii.gz"))


def test_labels_that_are_missing_cannot_teach(tmp_path):
    with pytest.raises(UserError, match="--labels"):
        prepare_study(PrepareRequest(images=tmp_path, out=tmp_path / "study", teach_labels=True))
