"""The synthetic cohort: anatomy on its proper sides, CT-like intensities, and a real registration problem."""

from itertools import combinations

import numpy as np
import pytest

from SlicRegLib.phantoms.phantom import ORGANS, PhantomOptions, _canonical_points, make_phantom

SEEDS = range(5)
SMALL = PhantomOptions(shape=(40, 36, 44), spacing_mm=(9.5, 9.0, 9.0))
LABEL = {name: label for label, name in ORGANS.items()}


@pytest.fixture(scope="module")
def cohort():
    return [make_phantom(seed) for seed in SEEDS]


def centroid(phantom, mask):
    """World RAS mm (3,) of a mask's centre."""
    return phantom.affine[:3, :3] @ np.argwhere(mask).mean(0) + phantom.affine[:3, 3]


def centre_of(phantom, organ):
    return centroid(phantom, phantom.labels == LABEL[organ])


def initial_dice(fixed, moving):
    """Dice of each organ at identity in world space, by nearest neighbours."""
    spacing = np.diag(moving.affine)[:3]
    shift = np.round((fixed.affine[:3, 3] - moving.affine[:3, 3]) / spacing).astype(int)
    reach = np.abs(shift).max()
    padded = np.pad(moving.labels, reach)
    aligned = padded[tuple(slice(reach + s, reach + s + n) for s, n in zip(shift, fixed.labels.shape, strict=True))]
    return [
        2 * np.sum((fixed.labels == k) & (aligned == k)) / (np.sum(fixed.labels == k) + np.sum(moving.labels == k))
        for k in ORGANS
    ]


def test_same_seed_gives_the_same_subject_and_another_seed_another():
    first, again, other = make_phantom(3, SMALL), make_phantom(3, SMALL), make_phantom(4, SMALL)
    for name in ("image", "labels", "affine"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_arrays_and_affine_follow_the_options():
    phantom = make_phantom(0, SMALL)
    assert phantom.image.shape == phantom.labels.shape == SMALL.shape
    assert (phantom.image.dtype, phantom.labels.dtype, phantom.affine.dtype) == (np.float32, np.uint8, np.float64)
    assert np.array_equal(phantom.affine[:3, :3], np.diag(SMALL.spacing_mm))
    assert np.array_equal(phantom.affine[3], [0, 0, 0, 1])
    centre = phantom.affine[:3, 3] + np.asarray(SMALL.spacing_mm) * (np.asarray(SMALL.shape) - 1) / 2
    assert 0 < np.abs(centre).max() <= SMALL.origin_mm
    assert np.array_equal(
        np.diag(make_phantom(0, PhantomOptions(shape=(32, 28, 36), spacing_mm=12)).affine), [12, 12, 12, 1]
    )


def test_every_subject_has_every_organ(cohort):
    for phantom in cohort:
        counts = np.bincount(phantom.labels.ravel(), minlength=14)
        assert len(counts) == 14
        assert counts[1:].min() >= 60
        assert counts[LABEL["liver"]] == counts[1:].max()
        litres = counts[LABEL["liver"]] * 3.5**3 * 1e-6
        assert 0.6 < litres < 2.5


def test_organs_lie_on_their_sides(cohort):
    for phantom in cohort:
        x, y, z = np.array([[0, 0, 0]] + [centroid(phantom, phantom.labels == k) for k in ORGANS]).T
        at = LABEL
        assert x[at["liver"]] > x[at["spleen"]] + 100
        assert x[at["liver"]] > x[at["stomach"]]
        assert x[at["gallbladder"]] > x[at["pancreas"]]
        assert x[at["aorta"]] + 10 < x[at["inferior vena cava"]]
        assert x[at["left kidney"]] + 30 < x[at["aorta"]] < x[at["right kidney"]] - 40
        assert x[at["left adrenal gland"]] + 20 < x[at["right adrenal gland"]]
        assert z[at["liver"]] > z[at["right kidney"]] and z[at["spleen"]] > z[at["left kidney"]]
        assert y[at["stomach"]] > y[at["left kidney"]]


def test_spine_is_behind_the_aorta_and_lung_on_top(cohort):
    for phantom in cohort:
        image = phantom.image
        aorta, pancreas = centre_of(phantom, "aorta"), centre_of(phantom, "pancreas")
        column, _, level = np.round((pancreas - phantom.affine[:3, 3]) / 3.5).astype(int)
        inner = np.zeros(image.shape, bool)
        inner[column - 15 : column + 15, :, level - 10 : level + 10] = True
        assert centroid(phantom, inner & (image > 350))[1] < aorta[1] - 10
        middle = (slice(28, 84), slice(24, 72))  # columns of voxels within the body
        air = image[middle] < -700
        assert air[..., -8:].mean() > 0.25 > 0.15 > air[..., :40].mean()
        assert image[0, 0].mean() == pytest.approx(-1000, abs=10)


@pytest.mark.parametrize(
    "organ, low, high",
    [
        ("spleen", 85, 140),
        ("right kidney", 125, 190),
        ("left kidney", 125, 190),
        ("gallbladder", -10, 40),
        ("esophagus", 10, 60),
        ("liver", 80, 130),
        ("stomach", -180, -30),
        ("aorta", 130, 210),
        ("inferior vena cava", 95, 165),
        ("portal and splenic vein", 125, 200),
        ("pancreas", 60, 115),
        ("right adrenal gland", 30, 105),
        ("left adrenal gland", 30, 105),
    ],
)
def test_organ_intensity(cohort, organ, low, high):
    means = [phantom.image[phantom.labels == LABEL[organ]].mean() for phantom in cohort]
    assert low < min(means) and max(means) < high
    assert np.std(means) > 0.5


def test_intensities_are_those_of_ct(cohort):
    for phantom in cohort:
        tissue = phantom.image[phantom.image > -300]
        shares, _ = np.histogram(tissue, [-150, -50, 0, 90, 200, 350, 1000])
        fat, mixed, soft, enhanced, _, bone = shares / tissue.size
        assert 0.2 < fat < 0.7 and mixed < 0.2 and soft > 0.1 and enhanced > 0.04 and 0.01 < bone < 0.15


def test_noise_has_the_asked_standard_deviation():
    quiet = make_phantom(2, PhantomOptions(SMALL.shape, SMALL.spacing_mm, noise_hu=0))
    noisy = make_phantom(2, PhantomOptions(SMALL.shape, SMALL.spacing_mm, noise_hu=20))
    inside = quiet.image > -950  # elsewhere the scanner's lower limit clips the noise
    assert np.std((noisy.image - quiet.image)[inside]) == pytest.approx(20, rel=0.05)
    assert np.array_equal(noisy.labels, quiet.labels)


def test_pairs_start_far_apart_but_not_unrelated(cohort):
    dice = np.array([initial_dice(a, b) for a, b in combinations(cohort, 2)])
    assert 0.08 < dice.mean() < 0.22
    assert dice[:, LABEL["liver"] - 1].min() > 0.2


def test_without_variation_subjects_share_one_anatomy():
    still = PhantomOptions(
        SMALL.shape,
        SMALL.spacing_mm,
        origin_mm=0,
        translation_mm=0,
        rotation_deg=0,
        size_fraction=0,
        warp_mm=0,
        organ_shift_mm=0,
        organ_scale_fraction=0,
    )
    assert np.array_equal(make_phantom(0, still).labels, make_phantom(1, still).labels)


@pytest.mark.parametrize("warp_mm", [8.0, 30.0])
def test_anatomy_never_folds(warp_mm):
    options = PhantomOptions(SMALL.shape, SMALL.spacing_mm, warp_mm=warp_mm)
    for seed in range(4):
        points = _canonical_points(np.random.default_rng(seed), options, np.asarray(options.spacing_mm))
        slopes = np.stack(np.gradient(points, *options.spacing_mm, axis=(1, 2, 3)), -1)  # (3, I, J, K, 3)
        assert np.linalg.det(np.moveaxis(slopes, 0, -2)).min() > 0.05
