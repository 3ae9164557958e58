"""Rigid maps between points and the mean of poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from SlicRegLib.geometry.grid import apply_affine
from SlicRegLib.geometry.rigid import fit_rigid, mean_rotation

POINTS = np.random.default_rng(0).normal(size=(60, 3)) * (80, 50, 120) + (10, -300, 40)


def turn(*degrees: float) -> np.ndarray:
    return Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()


def test_the_map_that_moved_the_points_is_found():
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn(20, -35, 110), (5, -17, 230)
    found = fit_rigid(POINTS, apply_affine(matrix, POINTS), np.ones(len(POINTS)))
    np.testing.assert_allclose(found, matrix, atol=1e-9)


def test_points_without_weight_do_not_count():
    images, weights = POINTS + (3, 4, 5), np.ones(len(POINTS))
    images[::3] += 100
    weights[::3] = 0
    np.testing.assert_allclose(fit_rigid(POINTS, images, weights)[:3, 3], (3, 4, 5), atol=1e-9)


def test_a_mirror_image_gives_a_rotation():
    found = fit_rigid(POINTS, POINTS * (-1, 1, 1), np.ones(len(POINTS)))
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1)


def test_scipy_finds_the_same():
    images = apply_affine(np.diag([1.1, 0.9, 1.05, 1.0]), POINTS) @ turn(10, 20, 30).T
    weights = np.random.default_rng(1).uniform(0.1, 1, len(POINTS))
    centred = [p - weights @ p / weights.sum() for p in (POINTS, images)]
    theirs = Rotation.align_vectors(centred[1], centred[0], weights)[0].as_matrix()
    np.testing.assert_allclose(fit_rigid(POINTS, images, weights)[:3, :3], theirs, atol=1e-9)


def test_turns_either_way_cancel():
    np.testing.assert_allclose(mean_rotation([turn(0, 0, 25), turn(0, 0, -25), np.eye(3)]), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(mean_rotation([turn(0, 10, 0), turn(0, 30, 0)]), turn(0, 20, 0), atol=1e-12)
