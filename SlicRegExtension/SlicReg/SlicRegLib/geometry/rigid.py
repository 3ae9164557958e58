"""Rigid maps between points: the pose of one body in another's frame, and the mean of poses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def fit_rigid(points: np.ndarray, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The rotation and shift, 4x4, that best takes ``points`` (n, 3) to their ``images`` (n, 3) in least squares.

    weights: (n,), not negative. Method: Kabsch.
    """
    share = weights / weights.sum()
    centre, centre_of_images = share @ points, share @ images
    covariance = ((points - centre) * share[:, None]).T @ (images - centre_of_images)
    matrix = np.eye(4)
    matrix[:3, :3] = nearest_rotation(covariance.T)
    matrix[:3, 3] = centre_of_images - matrix[:3, :3] @ centre
    return matrix


def mean_rotation(rotations: Sequence[np.ndarray]) -> np.ndarray:
    """The rotation (3, 3) nearest to the mean of ``rotations``, each (3, 3)."""
    return nearest_rotation(np.mean(rotations, axis=0))


def nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) that is nearest to a ``matrix`` (3, 3); never a mirror image."""
    left, _, right = np.linalg.svd(matrix)
    return left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
