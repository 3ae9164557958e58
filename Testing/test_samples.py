"""Training samples: image and targets move together, voxels lie in the body, and every scan has its turn."""

from types import SimpleNamespace

import pytest
import torch

from ramp import ramp_study
from SlicRegLib.images.preparation import body_mask
from SlicRegLib.network.options import STRIDE
from SlicRegLib.training.options import AugmentationOptions
from SlicRegLib.training.samples import TrainingSet
from tiny import tiny_study

NO_MOTION = dict(affine_noise=0.0, shift_noise=0.0)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_study(tmp_path_factory.getbasetemp() / "tiny")


def differences(batch):
    """For each sample of a ramp: index in the image minus index in the target, and which voxels can be compared."""
    for image, voxels, targets in zip(batch.image, batch.voxels, batch.targets, strict=True):
        seen, known = 500 * image[0, ::STRIDE, ::STRIDE, ::STRIDE].flatten()[voxels], targets[:, 0]
        yield seen - known, (seen > 0.01) & (seen < 30.99) & (known > 0)


@pytest.mark.parametrize("axis", range(3))
def test_image_and_target_move_together(axis):
    study, _ = ramp_study(axis)
    scans = TrainingSet(study, ["a"], AugmentationOptions(affine_noise=0.1, shift_noise=0.1), None)
    batch = scans.batch([0, 0], torch.Generator().manual_seed(3))
    for difference, inside in differences(batch):
        assert inside.float().mean() > 0.4
        assert difference[inside].abs().max() <= 0.51
        assert difference[inside].mean().abs() < 0.02  # not a half-voxel shift
    assert not torch.equal(batch.image[0], batch.image[1])


def test_rotations_and_crops_move_image_and_target_together():
    study, _ = ramp_study(1)
    options = AugmentationOptions(
        affine_noise=0.02,
        shift_noise=0.02,
        rotation=28.0,
        scaling=0.16,
        pose_share=1.0,
        crop_share=1.0,
        crop_mm=(40.0, 90.0),
    )
    batch = TrainingSet(study, ["a"], options, None).batch([0] * 6, torch.Generator().manual_seed(3))
    shares = []
    for difference, inside in differences(batch):
        assert difference[inside].abs().float().quantile(0.99) <= 0.51  # but for voxels that blend with the cut
        shares.append(inside.float().mean().item())
    assert min(shares) > 0.1 and max(shares) < 0.8  # air beyond the field of view
    assert len(set(shares)) == 6


def test_without_augmentation_a_sample_is_the_scan_and_its_moved_layers():
    study, grid = ramp_study(0, vectors_mm=(8.0, 0.0, 0.0))  # to the same anatomy, two voxels further in the template
    batch = TrainingSet(study, ["a"], AugmentationOptions(), None).batch([0], torch.Generator(), augment=False)
    index = grid.voxels()[..., 0]
    assert torch.equal(batch.image[0, 0], index / 500)
    assert torch.equal(batch.voxels[0], torch.arange(16**3))
    known = index[::2, ::2, ::2].flatten() + 2
    known = torch.where(known > 31, 0, known).long()  # background outside the template
    assert torch.equal(batch.targets[0, :, 0], known)


def test_the_chosen_voxels_lie_in_the_moved_body(study):
    scans = TrainingSet(study, study.scans, AugmentationOptions(), 500)
    batch = scans.batch([1, 4], torch.Generator().manual_seed(1))
    assert batch.image.shape == (2, 1, *study.preparation.shape)
    assert batch.voxels.shape == (2, 500) and batch.targets.shape == (2, 500, 2)
    assert batch.targets.min() >= 0 and batch.targets.max() <= 127
    for image, voxels in zip(batch.image, batch.voxels, strict=True):
        near_body = torch.nn.functional.max_pool3d(body_mask(500 * image[0])[None, None].float(), 9, 1, 4)[0, 0]
        assert near_body[::2, ::2, ::2].flatten()[voxels].mean() > 0.98
    again = scans.batch([1, 4], torch.Generator().manual_seed(1))
    assert all(torch.equal(getattr(batch, k), getattr(again, k)) for k in ("image", "voxels", "targets"))


def test_every_pass_has_each_scan_once_in_another_order(study):
    scans = TrainingSet(study, study.scans, AugmentationOptions(**NO_MOTION), 20)
    seen = []
    scans.study = SimpleNamespace(scan=lambda name: (seen.append(name), study.scan(name))[1])
    for step in range(5):
        scans.draw(step, 2, seed=3)
    passes = [seen[:5], seen[5:]]
    assert [sorted(names) for names in passes] == [sorted(study.scans)] * 2 and passes[0] != passes[1]


def test_the_parts_of_a_step_make_up_the_step(study):
    """Whatever was drawn before, the samples of a step are the same; another step has others."""
    scans = TrainingSet(study, study.scans, AugmentationOptions(), 50)
    whole, parts = scans.draw(4, 2, seed=3), [scans.draw(4, 2, 3, range(n, n + 1)) for n in range(2)]
    for name in ("image", "voxels", "targets"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
    assert not torch.equal(whole.image, scans.draw(4, 2, seed=4).image)


def test_noise_changes_the_image_alone(study):
    plain, noisy = (
        TrainingSet(study, study.scans[:1], AugmentationOptions(**NO_MOTION, hu_noise=hu), 50).batch(
            [0], torch.Generator().manual_seed(0)
        )
        for hu in (0, 20.0)
    )
    difference = 500 * (noisy.image - plain.image)
    assert difference.std().item() == pytest.approx(20, rel=0.02) and abs(difference.mean()) < 1
    assert noisy.targets.shape == plain.targets.shape


def test_a_gain_scales_the_image():
    study, grid = ramp_study(0)
    options = AugmentationOptions(**NO_MOTION, gain_noise=0.1)
    batch = TrainingSet(study, ["a"], options, None).batch([0, 0], torch.Generator().manual_seed(0))
    index = grid.voxels()[..., 0] / 500
    gains = [(image[0] / index)[1:] for image in batch.image]
    for gain in gains:
        assert gain.std() < 1e-5 and 0 < (gain.mean() - 1).abs() < 0.4
    assert gains[0].mean() != gains[1].mean()
