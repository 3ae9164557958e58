"""The verdict: its figures on scans whose figures are known, its limits, and what a mirrored scan does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from SlicRegLib.geometry.field import affine_field, identity_field
from SlicRegLib.geometry.grid import Grid, apply_affine, translation
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.images.volumes import Volume
from SlicRegLib.network.prediction import describe, encode, locate
from SlicRegLib.phantoms.phantom import make_phantom
from SlicRegLib.registration.common_supervoxels import CommonSupervoxels, compare_mirror_image
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.register import register
from SlicRegLib.registration.result import Registration, Views
from SlicRegLib.registration.verdict import MIRROR_ADVANTAGE, Check, check_result, decide, foresee, judge
from SlicRegLib.stages import WARNING
from tiny import FRAME, phantom, random

MODELS = Path(__file__).parents[1] / "SlicRegExtension/Resources/Models"


def supervoxels(layers: int = 4, classes: int = 40, extent_mm: float = 100.0) -> torch.Tensor:
    """Centroids of equal volume at random places."""
    centroids = torch.full((layers, classes, 4), 50.0, dtype=torch.float64)
    centroids[..., 1:] = extent_mm * random(layers, classes, 3).double()
    return centroids


def mapped(centroids: torch.Tensor, matrix: np.ndarray) -> torch.Tensor:
    return torch.cat([centroids[..., :1], apply_affine(matrix, centroids[..., 1:])], -1)


def test_the_share_found_is_the_share_in_its_place():
    fixed = supervoxels()
    moved = mapped(fixed, translation((300, 0, -20)) @ np.diag([1.1, 0.9, 1.0, 1.0]))
    assert CommonSupervoxels(fixed, moved).found == pytest.approx(1)
    for elsewhere in (0.1, 0.3):
        lost = moved.clone()
        lost[:, 1 : 1 + round(elsewhere * 39), 1:] += 150.0
        assert CommonSupervoxels(fixed, lost).found == pytest.approx(1 - round(elsewhere * 39) / 39, abs=0.02)
    part = moved.clone()
    part[:, 20:, 0] = 0  # a scan that shows half of the body shows all that it can
    assert CommonSupervoxels(fixed, part).found == pytest.approx(1)


def test_nothing_is_found_where_there_is_nothing_to_find():
    fixed = supervoxels()
    assert CommonSupervoxels(fixed, supervoxels(extent_mm=1000).flip(1)).found < 0.1  # other places
    few = torch.zeros_like(fixed)
    few[0, 1:4] = fixed[0, 1:4]
    assert CommonSupervoxels(fixed, few).found == 0
    one_place = supervoxels(extent_mm=1.0)  # an untrained network tells no places apart
    assert CommonSupervoxels(one_place, one_place).found == 0


def test_a_wrong_spacing_and_its_direction_are_named():
    fixed = supervoxels()
    assert foresee(CommonSupervoxels(fixed, mapped(fixed, np.diag([1.15, 0.85, 0.7, 1.0])))) == ""
    for scales, words in (
        ((2.0, 1.0, 1.0), "2.00 times as long as the template from right to left"),
        ((1.0, 0.5, 1.0), "0.50 times as long as the template from back to front"),
        ((1.0, 1.0, 0.45), "0.45 times as long as the template along the body"),
        ((0.5, 0.5, 0.5), "0.50 times as long"),
    ):
        assert words in foresee(CommonSupervoxels(fixed, mapped(fixed, np.diag([*scales, 1.0]))))
    part = mapped(fixed, np.diag([1.0, 1.0, 0.55, 1.0]))
    assert "0.55 times as long as the template along the body" in foresee(CommonSupervoxels(fixed, part))
    part[:, 20:, 0] *= 0.2  # a scan that ends early looks compressed
    assert foresee(CommonSupervoxels(fixed, part)) == ""
    assert CommonSupervoxels(fixed, mapped(fixed, np.diag([2.0, 3.0, 4.0, 1.0]))).stretches == pytest.approx((2, 3, 4))


def test_what_is_foreseen_of_another_anatomy_and_of_a_mirror_image():
    fixed = supervoxels()
    assert "knows nearly nothing of this anatomy" in foresee(CommonSupervoxels(fixed, fixed.flip(1)))
    assert "left-right mirrored" in foresee(CommonSupervoxels(fixed, fixed, MIRROR_ADVANTAGE + 0.01))
    assert foresee(CommonSupervoxels(fixed, fixed, MIRROR_ADVANTAGE - 0.01)) == ""


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((0.7, 0.5, 0.0), ["good", "good", "good"]),
        ((0.5, 0.5, 0.0), ["doubtful", "good", "good"]),
        ((0.3, 0.15, 0.0), ["failed", "doubtful", "good"]),
        ((0.7, 0.05, 5.0), ["good", "failed", "doubtful"]),
        ((0.7, 0.5, 50.0), ["good", "good", "failed"]),
    ],
)
def test_the_limits_of_a_finished_registration(figures, words):
    assert [check.word for check in check_result(*figures)] == words


def test_images_that_agree_are_doubted_at_most():
    failed, good = Check("failed", "a"), Check("good", "b")
    assert decide([good, failed], 0.6) == failed and decide([good, failed], 0.7) == Check("doubtful", "a")
    assert decide([good, good], 0.6).word == "good" and "same anatomy" in decide([good], 0.6).sentence
    assert decide([good, Check("doubtful", "c"), failed, Check("failed", "d")], 0.6).sentence == "a"


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (24.0, -16.0, 0.0)])
def test_agreement_and_confidence_of_a_known_shift(model, shift):
    """The same scan at another place: the true field brings full agreement, a field beside it does not."""
    scan = phantom(0)[0]
    there = Volume(scan.data, Grid(scan.grid.shape, translation(shift) @ scan.grid.affine))
    fixed, moving = prepare_scan(scan, FRAME), encode(model.net, prepare_scan(there, FRAME))
    common = CommonSupervoxels(locate(model.net, encode(model.net, fixed)), locate(model.net, moving))

    def verdict_of(field):
        return judge(model, Registration(scan, there, field, {}, True, Views(fixed, moving, pytest.fail), common))

    true = verdict_of(affine_field(translation(shift), fixed.grid))
    beside = verdict_of(affine_field(translation(np.add(shift, (60.0, 0, 30.0))), fixed.grid))
    assert true.agreement_before == pytest.approx(1, abs=0.05)  # centring undoes a shift
    assert true.agreement_after == pytest.approx(1, abs=0.05) and beside.agreement_after < 0.4
    assert true.folding_percent == 0 and beside.word == "failed"
    places = np.array(true.least_sure)
    assert 1 <= len(places) <= 3 and (np.diff(places[:, 3]) >= 0).all()
    inside = scan.grid.to_voxel(places[:, :3])
    assert (inside > -2).all() and (inside < np.array(scan.grid.shape) + 1).all()


def test_without_a_network_there_is_no_verdict(model):
    scan = phantom(0)[0]
    with pytest.raises(ValueError, match="no network"):
        judge(model, Registration(scan, scan, identity_field(prepare_scan(scan, FRAME).grid), {}, True))


def test_a_model_that_knows_nothing_is_told_before_the_alignment(model):
    """An untrained network; the warning comes after the prediction, and the verdict says the same."""
    messages = []
    result = register(model, phantom(0)[0], phantom(1)[0], progress=lambda *message: messages.append(message))
    stages = [stage for stage, *_ in messages]
    assert stages.count(WARNING) == 1
    at = stages.index(WARNING)
    assert stages[at - 1] == "prediction" and stages[at + 1] == "alignment"
    verdict = judge(model, result)
    assert verdict.word == "failed" and verdict.sentence == messages[at][2]
    assert "knows nearly nothing of this anatomy: 0% of the supervoxels" in verdict.sentence


def test_thinned_and_located(model):
    scan = encode(model.net, prepare_scan(phantom(0)[0], FRAME))
    thinned = scan.thinned(2)
    body, every_second = (torch.zeros(int(np.prod(s.grid.shape))) for s in (scan, thinned))
    body[scan.voxels], every_second[thinned.voxels] = scan.features[:, 0].float(), thinned.features[:, 0].float()
    assert torch.equal(body.reshape(scan.grid.shape)[::2, ::2, ::2], every_second.reshape(thinned.grid.shape))
    torch.testing.assert_close(locate(model.net, scan), describe(model.net, scan).centroids)


@pytest.mark.parametrize("seed", [3004])
def test_a_mirrored_trunk_is_told(seed):
    """By the bundled model, which never saw this phantom nor a mirrored one."""
    model, subject = load_model(MODELS / "trunk-phantom.slicreg"), make_phantom(seed)
    scan = prepare_scan(Volume(subject.image, Grid(subject.image.shape, subject.affine)), model.preparation)
    mirrored = replace(scan, hu=scan.hu.flip(0), known_region=scan.region.flip(0))
    advantages = [
        compare_mirror_image(model.net, encode(model.net, s), model.key_points.centroids) for s in (scan, mirrored)
    ]
    assert advantages[0] < -MIRROR_ADVANTAGE and advantages[1] > MIRROR_ADVANTAGE
    assert sum(advantages) == pytest.approx(0, abs=0.02)
