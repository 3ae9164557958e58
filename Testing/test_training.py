"""Training: the loss falls, samples are right, and a resumed run is the run that was never stopped."""

import csv
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import NETWORK, same_weights, tiny_net, tiny_study

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.preparation import PreparedScan, body_mask
from SlicRegLib.network.options import STRIDE
from SlicRegLib.training.history import History
from SlicRegLib.training.loader import Loader
from SlicRegLib.training.loop import split, train
from SlicRegLib.training.objective import SupervoxelLoss, validate
from SlicRegLib.training.options import AugmentationOptions, TrainingOptions, training_preset
from SlicRegLib.training.samples import Batch, TrainingSet

CPU = torch.device("cpu")
SHORT = TrainingOptions(
    iterations=6, batch=1, loss_voxels=200, validation_every=4, checkpoint_every=2, validation_scans=1
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_study(tmp_path_factory.getbasetemp() / "tiny")


class Stop(Exception):
    """The plug is pulled."""


def stop_after(iteration: int):
    def progress(stage, share, details=""):
        if details.startswith(f"iteration {iteration},"):
            raise Stop

    return progress


def test_loss_falls(study, tmp_path):
    options = replace(
        SHORT, iterations=60, validation_every=20, loss_voxels=1000, learning_rate=0.01, decay=False, precision="fp32"
    )
    net, history = train(study, NETWORK, options, tmp_path / "run.checkpoint", CPU)
    iterations, _, training, validation, accuracy = zip(*history.rows)
    assert iterations == (20, 40, 60)
    assert training[0] > training[1] > training[2] and validation[0] > validation[2]
    assert validation[2] < np.log(128) - 1 and accuracy[2] > 5 / 128  # chance: 1 / 128
    assert not net.training


def test_resumed_training_equals_uninterrupted_training(study, tmp_path):
    whole, history = train(study, NETWORK, SHORT, tmp_path / "whole", CPU)
    with pytest.raises(Stop):  # after the checkpoint of iteration 2, before that of iteration 4
        train(study, NETWORK, SHORT, tmp_path / "stopped", CPU, progress=stop_after(3))
    torch.rand(7)  # whatever happens between
    resumed, resumed_history = train(study, NETWORK, SHORT, tmp_path / "stopped", CPU, resume=True)
    assert same_weights(whole, resumed)
    assert not same_weights(whole, tiny_net())
    assert [row[:1] + row[2:] for row in resumed_history.rows] == [
        row[:1] + row[2:] for row in history.rows
    ]  # all but seconds
    finished, _ = train(study, NETWORK, SHORT, tmp_path / "stopped", CPU, resume=True)
    assert same_weights(whole, finished)


def test_resumed_training_equals_uninterrupted_training_of_the_paper(tmp_path):
    """With dropout, batch norm and recomputed blocks."""
    study, _ = ramp_study(0)
    network = replace(NETWORK, kind="deeplab", layers=1)
    options = training_preset("paper", iterations=2, batch=1, checkpoint_every=1)
    whole, _ = train(study, network, options, tmp_path / "whole", CPU)
    with pytest.raises(Stop):
        train(study, network, options, tmp_path / "stopped", CPU, progress=stop_after(1))
    resumed, _ = train(study, network, options, tmp_path / "stopped", CPU, resume=True)
    assert same_weights(whole, resumed)


def test_another_seed_gives_another_network(study, tmp_path):
    one = replace(SHORT, iterations=1)
    first, again, other = (train(study, NETWORK, replace(one, seed=s), tmp_path / "run", CPU)[0] for s in (0, 0, 1))
    assert same_weights(first, again) and not same_weights(first, other)


def test_resume_refuses_what_is_not_the_same_run(study, tmp_path):
    path = tmp_path / "run.checkpoint"
    with pytest.raises(UserError, match="no checkpoint .*run.checkpoint"):
        train(study, NETWORK, SHORT, path, CPU, resume=True)
    train(study, NETWORK, replace(SHORT, iterations=1), path, CPU)
    for network, options in ((NETWORK, SHORT), (replace(NETWORK, hidden=8), replace(SHORT, iterations=1))):
        with pytest.raises(UserError, match="other options"):
            train(study, network, options, path, CPU, resume=True)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no checkpoint at all"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            train(study, NETWORK, replace(SHORT, iterations=1), path, CPU, resume=True)
    torch.save({"weights": torch.zeros(3)}, path)  # another program's checkpoint
    with pytest.raises(UserError, match="damaged"):
        train(study, NETWORK, replace(SHORT, iterations=1), path, CPU, resume=True)


def test_divergence_is_said(study, tmp_path, monkeypatch):
    monkeypatch.setattr(SupervoxelLoss, "forward", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(UserError, match="diverged at iteration 1"):
        train(study, NETWORK, SHORT, tmp_path / "run", CPU)


def test_split_is_spread_and_deterministic():
    names = [f"pt_{i:02}" for i in range(20)]
    training, held = split(names, 4)
    assert held == ["pt_02", "pt_07", "pt_12", "pt_17"]
    assert sorted(training + held) == names
    assert (training, held) == split(names, 4)
    assert len(split(names, 100)[1]) == 4  # at most a fifth
    assert split(names[:4], 4) == (names[:4], [])
    assert split(names, 0) == (names, [])


def test_history_writes_csv_and_picture(tmp_path):
    history = History([(10, 1.5, 4.8, 4.9, 0.01), (20, 3.0, 4.1, 4.3, 0.05)])
    history.save(tmp_path / "model.v2_curve")
    with open(tmp_path / "model.v2_curve.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["iteration", "seconds", "training_loss", "validation_loss", "validation_accuracy"]
    assert [[float(x) for x in row] for row in rows[1:]] == [list(row) for row in history.rows]
    assert (tmp_path / "model.v2_curve.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_options_list_all_problems_at_once():
    with pytest.raises(UserError) as error:
        TrainingOptions(
            iterations=0,
            batch=0,
            learning_rate=2,
            loss_voxels=0,
            precision="fp8",
            validation_every=0,
            checkpoint_every=0,
        )
    for word in ("iterations", "batch", "learning rate", "loss voxels", "fp8", "validation every", "checkpoint every"):
        assert word in str(error.value)


def test_presets_are_complete_and_can_be_changed():
    paper, compact = training_preset("paper"), training_preset("compact", iterations=7)
    assert (paper.iterations, paper.batch, paper.learning_rate, paper.decay, paper.loss_voxels) == (
        3000,
        4,
        0.004,
        False,
        None,
    )
    assert paper.augmentation == AugmentationOptions(affine_noise=0.07, shift_noise=0.07)
    assert compact.iterations == 7 and compact.loss_voxels


# ---- samples --------------------------------------------------------------------------------------------------


def ramp_study(axis: int, vectors_mm=(0.0, 0.0, 0.0)):
    """A scan whose HU and whose only layer are both the voxel's index along ``axis``, and a constant teacher."""
    grid = Grid.centred((5, -3, 8), (32, 32, 32), 4.0)
    index = grid.voxels()[..., axis]
    control = grid.pooled(8)
    field = DisplacementField(torch.tensor(vectors_mm).view(3, 1, 1, 1).expand(3, *control.shape), control)
    return SimpleNamespace(
        scans=["a", "b"],
        layers=lambda: index[None].numpy().astype(np.uint8),
        template=lambda: PreparedScan("t", index, grid),
        scan=lambda name: (PreparedScan(name, index, grid), field),
    ), grid


@pytest.mark.parametrize("axis", range(3))
def test_image_and_target_move_together(axis):
    study, grid = ramp_study(axis)
    scans = TrainingSet(study, ["a"], AugmentationOptions(affine_noise=0.1, shift_noise=0.1), None)
    batch = scans.batch([0, 0], torch.Generator().manual_seed(3))
    for image, voxels, targets in zip(batch.image, batch.voxels, batch.targets):
        seen = 500 * image[0, ::STRIDE, ::STRIDE, ::STRIDE].flatten()[voxels]
        wanted = targets[:, 0]
        inside = (seen > 0.01) & (seen < 30.99) & (wanted > 0)
        assert inside.float().mean() > 0.4
        assert (seen - wanted)[inside].abs().max() <= 0.51
        assert (seen - wanted)[inside].mean().abs() < 0.02  # not a half-voxel shift
    assert not torch.equal(batch.image[0], batch.image[1])


def test_poses_and_crops_move_image_and_target_together():
    study, grid = ramp_study(1)
    options = AugmentationOptions(
        0.02, 0.02, rotation=28.0, scaling=0.16, pose_share=1.0, crop_share=1.0, crop_mm=(40.0, 90.0)
    )
    batch = TrainingSet(study, ["a"], options, None).batch([0] * 6, torch.Generator().manual_seed(3))
    shares = []
    for image, voxels, targets in zip(batch.image, batch.voxels, batch.targets):
        seen, wanted = 500 * image[0, ::STRIDE, ::STRIDE, ::STRIDE].flatten()[voxels], targets[:, 0]
        inside = (seen > 0.01) & (seen < 30.99) & (wanted > 0)
        assert (seen - wanted)[inside].abs().float().quantile(0.99) <= 0.51  # but for voxels that blend with the cut
        shares.append(inside.float().mean().item())
    assert min(shares) > 0.1 and max(shares) < 0.8  # air where the field of view ends
    assert len(set(shares)) == 6


def test_without_augmentation_a_sample_is_the_scan_and_its_moved_layers():
    study, grid = ramp_study(0, vectors_mm=(8.0, 0.0, 0.0))  # the template's anatomy lies two voxels further on
    batch = TrainingSet(study, ["a"], AugmentationOptions(), None).batch([0], torch.Generator(), augment=False)
    index = grid.voxels()[..., 0]
    assert torch.equal(batch.image[0, 0], index / 500)
    assert torch.equal(batch.voxels[0], torch.arange(16**3))
    wanted = index[::2, ::2, ::2].flatten() + 2
    assert torch.equal(
        batch.targets[0, :, 0], torch.where(wanted > 31, 0, wanted).long()
    )  # background outside the template


def test_chosen_voxels_lie_in_the_moved_body(study):
    scans = TrainingSet(study, study.scans, AugmentationOptions(), 500)
    batch = scans.batch([1, 4], torch.Generator().manual_seed(1))
    assert batch.image.shape == (2, 1, *study.preparation.shape)
    assert batch.voxels.shape == (2, 500) and batch.targets.shape == (2, 500, 2)
    assert batch.targets.min() >= 0 and batch.targets.max() <= 127
    for image, voxels in zip(batch.image, batch.voxels):
        near_body = torch.nn.functional.max_pool3d(body_mask(500 * image[0])[None, None].float(), 9, 1, 4)[0, 0]
        assert near_body[::2, ::2, ::2].flatten()[voxels].mean() > 0.98
    again = scans.batch([1, 4], torch.Generator().manual_seed(1))
    assert all(torch.equal(getattr(batch, k), getattr(again, k)) for k in ("image", "voxels", "targets"))


def test_every_scan_comes_once_in_each_pass(study):
    """Whatever was drawn before, a step's samples are the same; all scans are seen equally often, in changing order."""
    scans = TrainingSet(study, study.scans, AugmentationOptions(0.0, 0.0), 20)
    seen = []
    scans.study = SimpleNamespace(scan=lambda name: (seen.append(name), study.scan(name))[1])
    for step in range(5):
        scans.draw(step, 2, seed=3)
    passes = [seen[:5], seen[5:]]
    assert [sorted(names) for names in passes] == [sorted(study.scans)] * 2 and passes[0] != passes[1]
    scans = TrainingSet(study, study.scans, AugmentationOptions(), 50)
    whole, parts = scans.draw(4, 2, seed=3), [scans.draw(4, 2, 3, range(n, n + 1)) for n in range(2)]
    for name in ("image", "voxels", "targets"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
    assert not torch.equal(whole.image, scans.draw(4, 2, seed=4).image)


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_come_in_order_and_errors_come_through(workers):
    def draw(step):
        if step == 20:
            raise UserError("damaged")
        time.sleep(0.002 * (step % 3))
        return step

    loader = Loader(draw, range(4, 20), workers)
    assert list(loader) == list(range(4, 20)) and loader.waited > 0
    with pytest.raises(UserError, match="damaged"):
        list(Loader(draw, range(18, 22), workers))
    made = []
    assert (
        next(iter(Loader(made.append, range(100), workers))) is None and len(made) <= 2 * workers + 1
    )  # not the whole cohort


def test_noise_changes_the_image_alone(study):
    plain, noisy = (
        TrainingSet(study, study.scans[:1], AugmentationOptions(0, 0, gain, hu), 50).batch(
            [0], torch.Generator().manual_seed(0)
        )
        for gain, hu in ((0, 0), (0, 20.0))
    )
    difference = 500 * (noisy.image - plain.image)
    assert difference.std().item() == pytest.approx(20, rel=0.02) and abs(difference.mean()) < 1


# ---- losses ---------------------------------------------------------------------------------------------------


class Oracle(torch.nn.Module):
    """Says class 1 everywhere, as surely as ``sure``."""

    def __init__(self, sure: float):
        super().__init__()
        self.sure = sure

    def features(self, image):
        return torch.zeros(len(image), 1, 4, 4, 4)

    def logits(self, features):
        logits = torch.zeros(2, len(features), 128)
        logits[..., 1] = self.sure
        return logits


def batch_of(targets) -> Batch:
    return Batch(torch.zeros(1, 1, 8, 8, 8), torch.arange(64)[None], targets.expand(64, 2)[None])


def test_validation_leaves_the_background_out():
    right, wrong, background = (torch.full((64, 2), v) for v in (1, 5, 0))
    mixed = torch.cat([right[:16], wrong[:16], background[:32]])
    batches = [batch_of(right), batch_of(mixed), batch_of(background)]
    scans = SimpleNamespace(names=["a", "b", "c"], batch=lambda index, generator, augment: batches[index[0]])
    loss, accuracy = validate(Oracle(100.0), scans, CPU, SHORT)
    assert accuracy == pytest.approx((64 + 16) / (64 + 32))
    assert loss == pytest.approx(100 * 16 / 96)
    scans.names = []
    assert validate(Oracle(1.0), scans, CPU, SHORT) == (0.0, 0.0)


def test_loss_is_the_mean_over_voxels_and_layers():
    torch.manual_seed(0)
    net = tiny_net().eval()
    image, voxels = torch.randn(2, 1, 16, 16, 16), torch.randint(512, (2, 9))
    targets = torch.randint(128, (2, 9, 2))
    with torch.no_grad():
        loss = SupervoxelLoss(net, "fp32")(image, voxels, targets)
        dense = net(image).log_softmax(2).flatten(3)  # (B, layers, classes, voxels)
    single = [
        -dense[b, layer, targets[b, n, layer], voxels[b, n]] for b in range(2) for n in range(9) for layer in range(2)
    ]
    assert loss.item() == pytest.approx(torch.stack(single).mean().item(), rel=1e-5)
