"""Labels that teach: partial ones teach what they have, organs move with the scan, and the refinement follows them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from average_samples import make_average_model
from ramp import ramp_study
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.network.networks import build
from SlicRegLib.network.options import describe_network
from SlicRegLib.registration.consensus import Consensus
from SlicRegLib.registration.model import load_model, save_model
from SlicRegLib.registration.options import RefinementOptions
from SlicRegLib.registration.organ_features import average_organs, find_organs
from SlicRegLib.registration.organs import Organ
from SlicRegLib.registration.refinement import ComparedScan, refine
from SlicRegLib.training.objective import SMALL, SupervoxelLoss, organ_loss
from SlicRegLib.training.options import AugmentationOptions
from SlicRegLib.training.organ_labels import OrganLabels
from SlicRegLib.training.samples import TrainingSet
from SlicRegLib.training.train import begin_with
from tiny import tiny_net

CPU = torch.device("cpu")


def taught_net(organs: int = 2):
    torch.manual_seed(0)
    return build(replace(tiny_net().options, organs=organs)).eval()


# ------------------------------------------------------------------------------------------------------------ the loss
def test_a_right_answer_costs_nothing_and_nothing_is_learned_of_organs_that_were_not_drawn():
    organs = torch.zeros(2, 4, 4, 4, dtype=torch.uint8)
    organs[0, :2], organs[1, 2:] = 1, 2
    drawn = torch.tensor([[True, False], [True, True]])  # the second scan has organ 1, but the sample does not show it
    right = torch.where(torch.stack([organs == 1, organs == 2], 1), 40.0, -40.0)
    assert organ_loss(right, organs, drawn).item() == pytest.approx(0, abs=1e-6)
    logits = torch.zeros(2, 2, 4, 4, 4, requires_grad=True)
    organ_loss(logits, organs, drawn).backward()
    assert not logits.grad[0, 1].any()
    assert all(logits.grad[n, m].any() for n, m in ((0, 0), (1, 0), (1, 1)))
    assert organ_loss(logits, organs, torch.zeros(2, 2, dtype=torch.bool)).item() == 0


def test_the_loss_by_hand():
    """An organ of half the 64 voxels, of which the network is unsure everywhere: Dice .5, log 2 per voxel."""
    organs = torch.zeros(1, 4, 4, 4, dtype=torch.uint8)
    organs[0, :2] = 1
    loss = organ_loss(torch.zeros(1, 1, 4, 4, 4), organs, torch.tensor([[True]])).item()
    assert loss == pytest.approx(1 - (32 + SMALL) / (32 + 32 + SMALL) + 64 * np.log(2) / (32 + SMALL))


def test_supervoxels_and_organs_are_learned_together():
    net, image, voxels = taught_net(), torch.randn(1, 1, 16, 16, 16), torch.randint(512, (1, 9))
    targets, loss = torch.randint(128, (1, 9, 2)), SupervoxelLoss(taught_net(), "fp32")
    organs, drawn = torch.randint(3, (1, 16, 16, 16)).to(torch.uint8), torch.ones(1, 2, dtype=torch.bool)
    with torch.no_grad():
        alone, both = loss(image, voxels, targets), loss(image, voxels, targets, organs, drawn)
        own = organ_loss(net.organs(image, net.features(image)), organs, drawn)
    assert both.item() == pytest.approx(alone.item() + own.item(), rel=1e-5)


# --------------------------------------------------------------------------------------------------------- the samples
class Halves(OrganLabels):
    """Labels of the ramp: organ 1 where it exceeds 15.5; organ 2 is nobody's."""

    def __init__(self, hu: torch.Tensor):
        self.values, self.hu = (3, 7), hu

    def on(self, name, grid):
        return (self.hu > 15.5).to(torch.uint8)


@pytest.mark.parametrize("crop", [0.0, 1.0])
def test_organs_move_with_the_scan(crop):
    study, _ = ramp_study(1)
    options = AugmentationOptions(affine_noise=0.05, shift_noise=0.05, rotation=28.0, crop_share=crop, crop_mm=(60, 90))
    scans = TrainingSet(study, ["a"], options, 10, organs=Halves(study.scan("a")[0].hu))
    batch = scans.batch([0] * 4, torch.Generator().manual_seed(3))
    assert batch.drawn.tolist() == [[True, False]] * 4
    for image, organs in zip(500 * batch.image[:, 0], batch.organs, strict=True):
        inside = (image > 1) & (image < 30)  # further out the edge is repeated, or there is air
        near = (image - 15.5).abs() < 0.75
        wrong = (organs == 1) != (image > 15.5)
        assert wrong[inside & ~near].float().mean() <= 0.005 * crop  # voxels that blend with the cut
        assert (organs == 1).sum() > 100 and (organs == 0).sum() > 100


def test_labels_are_found_by_name_and_brought_onto_the_canonical_grid(tmp_path):
    grid = Grid.centred((5.0, -7.0, 9.0), (24, 20, 16), 2.0)
    labels = np.zeros(grid.shape, np.uint8)
    labels[4:12, 4:12, 4:12], labels[14:20, 4:12, 4:12], labels[4:12, 14:18, 4:12] = 7, 3, 9
    save_volume(tmp_path / "a.nii.gz", Volume(labels, grid))
    teach = OrganLabels(tmp_path, (3, 7))
    found = teach.on("a", grid).numpy()
    np.testing.assert_array_equal(found, np.select([labels == 3, labels == 7], [1, 2]))  # 9 is no organ of the model
    coarse = teach.on("a2", grid.pooled(2))
    assert not coarse.any()  # a scan without labels
    teach.check(["a", "b"])
    with pytest.raises(UserError, match="labels are matched by name"):
        teach.check(["b", "c"])


# ---------------------------------------------------------------------------------------------------- the registration
def test_shares_of_the_cohort_on_the_canonical_grid():
    grid = Grid.centred((0, 0, 0), (8, 6, 4), 4.0)
    fine = grid.halved()
    shares = np.full((4, 2, 2), 255, np.uint8)
    organs = tuple(
        Organ(value=v, name=f"o{v}", shares=shares, first=first, threshold=0.4, raters=9, agreement=0.9)
        for v, first in ((3, (2, 2, 2)), (5, (4, 4, 4)))
    )
    found = average_organs(Consensus(fine, organs), grid)
    assert found.shape == (8, 6, 4, 2)
    assert found[1:3, 1, 1, 0].tolist() == [1, 1] and found[..., 0].sum() == 2
    assert found[2:4, 2, 2, 1].tolist() == [1, 1] and found[..., 1].sum() == 2
    same = average_organs(Consensus(grid, organs[:1]), grid)
    assert same[2:6, 2:4, 2:4, 0].eq(1).all() and same.sum() == 16


def test_a_head_finds_what_it_was_taught_inside_the_body():
    """A head that is set by hand: its logit is the image, through the pointwise path."""
    net, grid = taught_net(1), Grid.centred((0, 0, 0), (16, 16, 16), 4.0)
    region = torch.zeros(grid.shape, dtype=torch.bool)
    region[2:14, 2:14, 2:14] = True
    found = find_organs(net, PreparedScan("", torch.randn(grid.shape), grid, known_region=region))
    assert found.shape == (16, 16, 16, 1)
    assert found[region].gt(0).all() and not found[~region].any()


def test_the_refinement_follows_organs_that_the_images_do_not_show():
    """Two scans of even tissue, in which an organ lies 4 mm apart: only its feature tells."""
    grid = Grid.centred((0, 0, 0), (32, 32, 32), 4.0)
    everywhere, still = torch.ones(grid.shape, dtype=torch.bool), torch.zeros(3, *grid.pooled(2).shape)

    def scan_with_organ(shift_mm: float) -> ComparedScan:
        scan = PreparedScan("", torch.full(grid.shape, 40.0), grid, known_region=everywhere)
        place = grid.points() - torch.tensor([shift_mm, 0, 0])
        blob = torch.exp(-place.square().sum(-1) / (2 * 16.0**2))[..., None]
        return ComparedScan.describe(scan, RefinementOptions(), CPU).beside(2 * blob)

    fixed, moving = scan_with_organ(0.0), scan_with_organ(4.0)
    found = refine([DisplacementField(still, grid.pooled(2))], fixed, moving)
    assert found(torch.zeros(1, 3))[0].numpy() == pytest.approx([4.0, 0.0, 0.0], abs=0.5)


# ----------------------------------------------------------------------------------------------------------- the model
@pytest.fixture(scope="module")
def average(tmp_path_factory):
    return load_model(make_average_model(tmp_path_factory.mktemp("models") / "average.slicreg"))


def teach(model):
    net = begin_with(model, model.layers, len(model.consensus.organs))
    return replace(model, net=net.eval())


def test_a_taught_model_comes_back_and_one_that_names_other_organs_is_refused(average, tmp_path):
    model = teach(average)
    assert not average.net.organs and "organs" not in describe_network(average.net.options)
    save_model(tmp_path / "m.slicreg", model)
    back = load_model(tmp_path / "m.slicreg")
    assert back.net.options.organs == len(model.consensus.organs) and back.summary()["version"] == 3
    assert all(
        torch.allclose(a, b, atol=1e-2) for a, b in zip(back.net.parameters(), model.net.parameters(), strict=True)
    )
    for consensus in (None, replace(model.consensus, organs=model.consensus.organs[:2])):
        save_model(tmp_path / "wrong.slicreg", replace(model, consensus=consensus))
        with pytest.raises(UserError, match="its network knows"):
            load_model(tmp_path / "wrong.slicreg")


def test_a_fresh_head_keeps_what_the_network_knew(average):
    net = teach(average).net
    assert all(torch.equal(a, b) for a, b in zip(average.net.parameters(), net.parameters(), strict=False))
    assert begin_with(average, average.layers) is average.net
    other = begin_with(average, np.zeros_like(average.layers), 3)
    assert torch.equal(next(other.trunk.parameters()), next(average.net.trunk.parameters()))
    assert other.options.organs == 3
