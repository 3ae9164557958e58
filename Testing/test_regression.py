"""Displacement regression: the right targets, learned, and registered in the right direction."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.preparation import PreparedScan, prepare_scan
from SlicRegLib.network.networks import build
from SlicRegLib.network.options import STRIDE
from SlicRegLib.registration.key_points import choose_key_points
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.options import AlignmentOptions, RegistrationOptions
from SlicRegLib.training.loop import TrainingPlan
from SlicRegLib.training.options import AugmentationOptions, TrainingOptions
from SlicRegLib.training.samples import SampleBatch, TrainingSet
from tiny import NETWORK, phantom, same_weights, wave

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import regression

CPU = torch.device("cpu")
PLAIN = RegistrationOptions(refine=False)
SHIFT_MM = (24.0, -16.0, 8.0)  # three, two and one voxels of the tiny study


def shift_teacher(study, shift_mm):
    """``study`` with a teacher that puts every scan ``shift_mm`` further on in the template."""

    def scan(name):
        prepared, field = study.scan(name)
        return prepared, DisplacementField(field.vectors + torch.tensor(shift_mm).view(3, 1, 1, 1), field.grid)

    return SimpleNamespace(scans=study.scans[:2], scan=scan, template=study.template, layers=study.layers)


def batch_of(training: TrainingSet, augment: bool, count: int = 1) -> SampleBatch:
    return training.batch([0] * count, torch.Generator().manual_seed(3), augment)


@pytest.mark.parametrize("axis", range(3))
def test_targets_move_with_the_augmented_image(axis):
    """A scan whose HU are the voxel's index along an axis shows where each of its points lies."""
    scan, template = (Grid.centred(centre, (32, 32, 32), 4.0) for centre in ((5, -3, 8), (105, 50, -70)))
    index, control = scan.voxels()[..., axis], scan.pooled(8)
    further = torch.tensor((6.0, -10.0, 2.0))  # from a place in the scan's frame to the one in the template's
    vectors = (further + torch.from_numpy(template.centre - scan.centre)).float()
    field = DisplacementField(vectors.view(3, 1, 1, 1).expand(3, *control.shape), control)
    ramps = SimpleNamespace(
        layers=lambda: index[None].numpy(),
        template=lambda: PreparedScan("t", index, template),
        scan=lambda name: (PreparedScan(name, index, scan), field),
    )
    batch = batch_of(
        TrainingSet(
            ramps, ["a"], AugmentationOptions(affine_noise=0.1, shift_noise=0.1), None, regression.locate_in_template
        ),
        True,
        2,
    )
    assert batch.targets.shape == (2, 16**3, 3)
    for image, voxels, places in zip(batch.image, batch.voxels, batch.targets, strict=True):
        seen = 500 * image[0, ::STRIDE, ::STRIDE, ::STRIDE].flatten()[voxels]
        inside = (seen > 0.01) & (seen < 30.99)
        assert inside.float().mean() > 0.4
        assert (places[inside, axis] - seen[inside] - further[axis] / 4).abs().max() < 1e-3
    assert not torch.equal(batch.targets[0], batch.targets[1])


def test_loss_is_the_distance_from_the_known_displacement(study):
    training = TrainingSet(
        shift_teacher(study, SHIFT_MM), study.scans[:1], AugmentationOptions(), 50, regression.locate_in_template
    )
    net = regression.DisplacementNet(NETWORK)  # predicts 0 everywhere before it is trained
    batch = batch_of(training, False)
    loss_of = regression.DisplacementLoss(net, "fp32")
    loss = loss_of(batch.image, batch.voxels, batch.targets)
    assert loss.item() == pytest.approx((3 + 2 + 1) / 3 / regression.UNIT, rel=1e-3)
    torch.nn.init.constant_(net.head[-1].bias, 1 / regression.UNIT)  # one voxel along each axis
    assert loss_of(batch.image, batch.voxels, batch.targets).item() == pytest.approx(
        (2 + 3 + 0) / 3 / regression.UNIT, rel=1e-3
    )


@pytest.mark.parametrize("network", [NETWORK, replace(NETWORK, kind="deeplab")], ids=lambda n: n.kind)
def test_regression_shares_the_trunk_with_the_supervoxels(network):
    torch.manual_seed(0)
    wanted = build(network)
    torch.manual_seed(0)
    net = regression.DisplacementNet(network)
    assert same_weights(wanted.trunk, net.trunk)
    features = net.eval().features(torch.randn(1, 1, 16, 16, 16))[0]
    assert net.displacements(features.flatten(1).T).shape == (8**3, 3)


def test_regression_learns_a_shift_and_undoes_it(study, tmp_path):
    options = TrainingOptions(
        iterations=30,
        batch=1,
        learning_rate=0.03,
        loss_voxels=500,
        validation_every=30,
        validation_scans=0,
        precision="fp32",
        augmentation=AugmentationOptions(affine_noise=0.0, shift_noise=0.0),
    )
    content, checkpoint = shift_teacher(study, SHIFT_MM), tmp_path / "checkpoint"
    plan = TrainingPlan(content, NETWORK, options)
    net, history = regression.train_regression(plan, checkpoint, CPU)
    assert same_weights(net, regression.train_regression(plan, checkpoint, CPU, True)[0])  # finished before
    assert history.rows[-1][3] < 4.0 and history.rows[-1][4] > 0.95  # mm, share within 10 mm; 30 mm and 0 at the start
    model = Model(net, study.preparation, study.layers(), study.template().grid, study.template_sha256)
    template, target = phantom(0)[0], phantom(1)[0]
    result = regression.register_by_regression(model, template, target, PLAIN)
    fixed, moving = (prepare_scan(scan, study.preparation) for scan in (template, target))
    wanted = torch.from_numpy(moving.grid.centre - fixed.grid.centre) - torch.tensor(SHIFT_MM)
    error = result.dense.at(fixed.grid.points()[fixed.body]) - wanted
    assert error.norm(dim=1).median() < 6.0
    with pytest.raises(UserError, match="and to no other"):
        regression.register_by_regression(model, target, template, PLAIN)


def test_a_perfect_network_gives_the_inverse_of_the_teachers_field(study, monkeypatch):
    scan = study.scan(study.scans[0])[0]
    points = scan.grid.points()
    field = DisplacementField(wave(points).movedim(-1, 0).contiguous(), scan.grid)
    monkeypatch.setattr(regression, "predict_field", lambda *_: field)
    net = regression.DisplacementNet(NETWORK)
    model = Model(net, study.preparation, study.layers(), study.template().grid, study.template_sha256)
    dense = regression.register_by_regression(model, phantom(0)[0], phantom(int(scan.name[-1]))[0], PLAIN).dense
    inside = points[scan.body]
    assert (dense(field(inside)) - inside).norm(dim=1).mean() < 0.1 * field.at(inside).norm(dim=1).mean()


def test_random_walk_keeps_a_shift_and_calms_noise(study):
    scan = study.template()
    points = choose_key_points(scan.body, scan.grid, AlignmentOptions(key_points=300))
    constant = torch.tensor(SHIFT_MM).expand(300, 3)
    assert torch.allclose(regression.smooth_by_random_walk(points, constant, 8), constant, atol=1e-4)
    noise = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    weak, strong = (regression.smooth_by_random_walk(points, noise, 8, weight) for weight in (0.1, 10.0))
    assert strong.std() < 0.3 * weak.std() < 0.3 * noise.std()
    assert torch.allclose(strong.mean(0), noise.mean(0), atol=1e-4)  # the whole is neither shrunk nor moved
