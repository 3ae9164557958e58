"""PDD-Net: a known shift, the right directions, a loss that training lowers, and runs that go on."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.training.loop import TrainingPlan
from SlicRegLib.training.options import AugmentationOptions, TrainingOptions
from study_samples import coarse_cohort, make_study
from tiny import NETWORK, phantom, same_weights

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import pddnet

CPU = torch.device("cpu")
STILL = AugmentationOptions(affine_noise=0.0, shift_noise=0.0)
OPTIONS = TrainingOptions(
    iterations=10, batch=2, learning_rate=0.01, validation_every=10, validation_scans=0, augmentation=STILL
)


def untrained(seed: int = 0) -> pddnet.PddNet:
    torch.manual_seed(seed)
    return pddnet.PddNet(NETWORK).eval()


@pytest.mark.parametrize("shift", [(3, -2, 4), (-5, 6, 0), (1, 3, -3)])
def test_a_known_shift_is_found_within_a_voxel(study, shift):
    """By image features alone: what the moving scan shows lies ``shift`` voxels further on."""
    scan = study.template()
    moved = torch.roll(scan.hu, shift, (0, 1, 2))
    field = pddnet.predict_field(untrained(), scan, PreparedScan("moved", moved, scan.grid))
    there = scan.grid.voxels() + torch.tensor(shift)
    seen = ((there > 3) & (there < torch.tensor(scan.grid.shape) - 4)).all(-1)  # the others were rolled over the edge
    found = scan.grid.vectors_to_voxel(field.at(scan.grid.points()[scan.body & seen]).double())
    assert (found.median(0).values - torch.tensor(shift)).abs().max() < 0.5
    error = (found - torch.tensor(shift)).norm(dim=1)
    assert error.median() < 0.75 and (error < 1).float().mean() > 0.6


def test_costs_are_those_of_the_displaced_features():
    first, second = torch.randn(2, 4, 12, 8, 10, generator=torch.Generator().manual_seed(0))
    costs = pddnet.compare(first, second, 3)
    steps = pddnet.displacements(3)
    assert costs.shape == (343, 6, 4, 5) and len(steps) == 343
    smooth = [pddnet.box(each[None])[0] for each in (first, second)]
    for index, point in ((0, (3, 3, 3)), (171, (1, 2, 4)), (200, (4, 1, 2))):
        here = [2 * n for n in point]
        there = [
            int(np.clip(n + d, 0, size - 1))
            for n, d, size in zip(here, steps[index].tolist(), first.shape[1:], strict=True)
        ]
        a, b = smooth[0][(slice(None), *here)], smooth[1][(slice(None), *there)]
        assert costs[(index, *point)].item() == pytest.approx((a - b).square().mean().item(), abs=1e-5)


def test_the_gradient_of_the_costs():
    """Against finite differences, in double precision."""
    generator = torch.Generator().manual_seed(0)
    pair = [torch.randn(2, 4, 6, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(lambda a, b: pddnet.compare(a, b, 1), pair)


def test_a_registration_points_from_template_to_target(study):
    template = phantom(0)[0]
    affine = np.array(template.grid.affine)
    affine[:3, 3] += (40, -25, 60)
    target = replace(template, grid=type(template.grid)(template.grid.shape, affine))
    model = Model(untrained(), study.preparation, study.layers(), study.template().grid, study.template_sha256)
    result = pddnet.register_by_pddnet(model, template, target, RegistrationOptions(refine=False))
    inside = study.template().grid.points()[study.template().body]
    assert (result.dense.at(inside) - torch.tensor((40.0, -25, 60))).norm(dim=1).median() < 4.0  # half a voxel


def test_training_lowers_the_loss_and_goes_on_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(pddnet, "RADII", (2, 1))  # quicker
    study = make_study(coarse_cohort(tmp_path), tmp_path / "study")
    two = SimpleNamespace(scans=study.scans[:2], scan=study.scan, template=study.template, layers=study.layers)
    plan = TrainingPlan(two, NETWORK, OPTIONS)
    images = torch.stack([study.scan(name)[0].hu[None] / 500 for name in two.scans])
    before = pddnet.WarpingLoss(untrained())(images).item()
    net, history = pddnet.train_pddnet(plan, tmp_path / "whole", CPU)
    after = pddnet.WarpingLoss(net)(images).item()
    assert after < 0.97 * before and history.rows[-1][4] < 1.0

    class Interrupted(Exception):
        pass

    def interrupt(stage, share, details):
        if share > 0.5:
            raise Interrupted

    often = replace(plan, options=replace(OPTIONS, checkpoint_every=2))
    with pytest.raises(Interrupted):
        pddnet.train_pddnet(often, tmp_path / "parts", CPU, False, interrupt)
    assert same_weights(net, pddnet.train_pddnet(often, tmp_path / "parts", CPU, True)[0])


def test_a_single_scan_is_no_pair(study, tmp_path):
    plan = TrainingPlan(study, NETWORK, replace(OPTIONS, batch=1))
    with pytest.raises(UserError, match=r"learns from pairs"):
        pddnet.train_pddnet(plan, tmp_path / "x", CPU)
