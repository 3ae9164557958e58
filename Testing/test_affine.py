"""Affine maps between supervoxels: robust fits with known answers, and the similarity in a matrix."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from SlicRegLib.geometry.grid import apply_affine
from SlicRegLib.registration.affine import fit_affine, is_rotated_or_scaled, similarity_part
from tiny import random

MATRIX = np.array([[1.1, 0.1, 0, 30], [-0.12, 0.9, 0.05, -20], [0, 0.02, 1.05, 55], [0, 0, 0, 1]])


def centroids(noise_mm: float = 0.0):
    """(fixed, moving) of 4 layers of 32 supervoxels under MATRIX, background wherever."""
    where = 80 * random(4, 32, 3).double() + torch.tensor([5.0, 300, -900])
    mass = torch.full((4, 32, 1), 20.0, dtype=torch.float64)
    moved = apply_affine(MATRIX, where) + noise_mm * random(4, 32, 3, seed=1)
    moved[:, 0] = 1e4
    return torch.cat([mass, where], -1), torch.cat([mass, moved], -1)


def test_exact_centroids_give_the_exact_map():
    np.testing.assert_allclose(fit_affine(*centroids()), MATRIX, atol=1e-6)


def test_outliers_and_missing_supervoxels_do_little():
    fixed, moving = centroids(noise_mm=1.0)
    moving[:, 1:8, 1:] += 150 * random(4, 7, 3, seed=3).abs()  # a fifth lies elsewhere
    moving[:, 8:12, 0], moving[:, 8:12, 1:] = 0.5, 0  # others are hardly seen
    found = fit_affine(fixed, moving)
    inner = fixed[:, 1:, 1:].reshape(-1, 3).numpy()
    assert np.abs(apply_affine(found, inner) - apply_affine(MATRIX, inner)).max() < 3


def test_without_enough_supervoxels_there_is_no_map():
    fixed, moving = centroids()
    moving[..., 0] = 0
    assert fit_affine(fixed, moving) is None


def test_a_map_that_no_patient_could_take_is_none():
    fixed, moving = centroids()
    for squeeze in (-1.0, 0.0):  # mirrored, flat
        changed = moving.clone()
        changed[..., 1] *= squeeze
        assert fit_affine(fixed, changed) is None


def similarity(degrees: float = 25.0, size: float = 1.12) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = size * Rotation.from_rotvec(np.array([2, -1, 2]) / 3 * degrees, degrees=True).as_matrix()
    matrix[:3, 3] = 60, -40, 30
    return matrix


def scale_of(matrix: np.ndarray) -> float:
    return float(np.cbrt(np.linalg.det(matrix[:3, :3])))


def test_the_similarity_part_is_rotation_scale_and_shift():
    matrix, centre = similarity(), np.array([10.0, -20, 30])
    np.testing.assert_allclose(similarity_part(matrix, centre), matrix, atol=1e-9)
    sheared = matrix @ np.array([[1.2, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 0.9, 0], [0, 0, 0, 1]])
    found = similarity_part(sheared, centre)
    sizes = np.linalg.svd(sheared[:3, :3])[1]  # 1.36, 1.12, 0.98
    assert scale_of(found) == pytest.approx(sizes[2])  # the nearest to 1
    np.testing.assert_allclose(apply_affine(found, centre), apply_affine(sheared, centre))
    assert scale_of(similarity_part(similarity(size=3), centre)) == pytest.approx(1.5)


@pytest.mark.parametrize("degrees, size", [(10, 1), (0, 1.2), (0, 0.8)])
def test_large_rotations_and_scales_are_told(degrees, size):
    assert is_rotated_or_scaled(similarity(degrees, size))


def test_small_poses_and_short_fields_of_view_are_not():
    assert not is_rotated_or_scaled(similarity(5, 1.05))
    assert not is_rotated_or_scaled(np.diag([1.02, 0.93, 0.6, 1]))  # compressed along the body: not another size
