"""Dice and HD95: those of SimpleITK, known answers, labels that one side lacks."""

import numpy as np
import pytest
import SimpleITK as sitk

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, to_itk
from SlicRegLib.phantoms.phantom import ORGANS
from SlicRegLib.results.metrics import compare_labels, dice, hd95
from tiny import phantom


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray, Grid]:
    """Labels of two phantoms, voxel on voxel, on a grid of unequal spacing."""
    a, b = (phantom(seed)[1].data for seed in (0, 1))
    return a, b, Grid.centred((10, 20, 30), a.shape, (7.0, 6.0, 8.5))


def surface(mask: sitk.Image) -> sitk.Image:
    """The voxels of the mask that have a face neighbour outside it."""
    return mask - sitk.BinaryErode(mask, (1, 1, 1), sitk.sitkCross, 0.0, 1.0, False)


def distances(of: sitk.Image, to: sitk.Image) -> np.ndarray:
    """Distances in mm of the voxels in ``of`` to the nearest one in ``to``."""
    field = sitk.SignedMaurerDistanceMap(to, squaredDistance=False, useImageSpacing=True)
    return np.abs(sitk.GetArrayFromImage(field))[sitk.GetArrayFromImage(of) > 0]


def test_measures_are_those_of_simpleitk(pair):
    a, b, grid = pair
    images = [to_itk(Volume(labels, grid)) for labels in (a, b)]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    found = compare_labels(a, b, grid, ORGANS)
    assert len(found["dice"]) == len(ORGANS) and 0 < found["mean_dice"] < 0.9
    for label in ORGANS:
        assert found["dice"][str(label)] == pytest.approx(overlap.GetDiceCoefficient(label), abs=1e-12)
        one, other = (surface(image == label) for image in images)
        known = np.percentile(np.concatenate([distances(one, other), distances(other, one)]), 95)
        assert found["hd95_mm"][str(label)] == pytest.approx(known, abs=1e-4)
    assert found["mean_dice"] == pytest.approx(np.mean(list(found["dice"].values())))
    assert found["mean_hd95_mm"] == pytest.approx(np.mean(list(found["hd95_mm"].values())))


@pytest.mark.parametrize("seed", range(4))
def test_measures_do_not_depend_on_what_lies_around(seed):
    """Exactly those of the whole maps: here boxes of labels lie inside, beside and apart from each other."""
    generator = np.random.default_rng(seed)
    spacing = np.array([4.1880002, 4.1880002, 2.5])
    a, b = np.zeros((2, 30, 26, 34), np.uint8)
    for labels in (a, b):
        for value in (1, 2, 3, 4, 1, 2):
            start = generator.integers(0, 20, 3)
            i, j, k = (
                slice(first, first + size) for first, size in zip(start, generator.integers(1, 14, 3), strict=True)
            )
            labels[i, j, k] = value * (generator.random(labels[i, j, k].shape) < 0.7)
    b[b == 4] = 0
    found = compare_labels(a, b, Grid.centred((0, 0, 0), a.shape, spacing), [1, 2, 3, 4, 5])
    for value in (1, 2, 3, 4, 5):
        known = dice(a == value, b == value), hd95(a == value, b == value, spacing)
        both = value < 4 and (a == value).any() and (b == value).any()
        np.testing.assert_equal(
            (found["dice"][str(value)], found["hd95_mm"][str(value)]), (known[0], known[1] if both else None)
        )


def test_known_answers():
    a, b, nothing = (np.zeros((10, 10, 10), bool) for _ in range(3))
    a[2:4, 2:4, 2:4], b[3:5, 2:4, 2:4] = True, True  # two cubes of eight voxels, one voxel apart along i
    assert dice(a, b) == 0.5 and dice(a, a) == 1 and dice(a, nothing) == 0
    assert hd95(a, b, (3, 1, 1)) == 3 and hd95(a, a, (3, 1, 1)) == 0
    assert np.isnan(dice(nothing, nothing)) and np.isnan(hd95(a, nothing, (1, 1, 1)))


def test_masks_at_the_border_have_their_surface_there():
    """The image's edge cuts the mask: what lies there is surface, as if air followed."""
    a, b = np.zeros((2, 6, 6, 6), bool)
    a[:], b[:, :, :3] = True, True
    assert hd95(a, b, (1, 1, 1)) == 3  # from the far end, k = 5, to the end of the half, k = 2


def test_a_label_that_one_side_lacks():
    a, b = np.zeros((2, 8, 8, 8), np.uint8)
    a[2:6], b[2:6, 2:], a[0, 0, 0] = 1, 1, 2
    found = compare_labels(a, b, Grid(a.shape, np.eye(4)), [1, 2])
    assert found["dice"]["2"] == 0 and found["hd95_mm"]["2"] is None
    assert found["mean_dice"] == found["dice"]["1"] / 2
    assert found["mean_hd95_mm"] == found["hd95_mm"]["1"] == 2
    nothing = compare_labels(a, b, Grid(a.shape, np.eye(4)), [])
    assert nothing["mean_dice"] is None and nothing["mean_hd95_mm"] is None
