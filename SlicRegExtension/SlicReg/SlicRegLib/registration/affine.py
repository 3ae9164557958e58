"""Affine maps between the supervoxels of two scans."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.grid import apply_affine, translation


def fit_affine(fixed: torch.Tensor, moving: torch.Tensor, rounds: int = 10) -> np.ndarray | None:
    """4x4 world matrix that best maps the supervoxels' centroids of ``fixed`` to those of ``moving``.

    fixed, moving: (layers, classes, 4), mass and centre in mm as in `Description`, background first. A supervoxel's
    weight is the mass that both scans agree on. In each of the ``rounds`` those that fit badly lose weight (Cauchy), so
    that supervoxels outside one scan's field of view have little influence. None where fewer than twelve supervoxels
    appear in both scans, or where the map is nearly flat or mirrored, which no patient's is.
    """
    a, b = (c[:, 1:].reshape(-1, 4).cpu().double() for c in (fixed, moving))
    mass = torch.minimum(a[:, 0], b[:, 0]) / torch.maximum(a[:, 0], b[:, 0]).clamp_min(1e-9)
    mass = mass * (torch.minimum(a[:, 0], b[:, 0]) > 1)
    if (mass > 0).sum() < 12:
        return None
    centre = (a[:, 1:] * mass[:, None]).sum(0) / mass.sum()
    source = torch.cat([a[:, 1:] - centre, torch.ones(len(a), 1, dtype=a.dtype)], 1)
    weight = mass
    for _ in range(rounds):
        root = weight.sqrt()[:, None]
        solution = torch.linalg.lstsq(source * root, b[:, 1:] * root).solution  # (4, 3)
        error = (source @ solution - b[:, 1:]).norm(dim=1)
        scale = error[mass > 0].median().clamp_min(1.0)
        weight = mass / (1 + (error / scale) ** 2)
    matrix = np.eye(4)
    matrix[:3, :3] = solution[:3].T.numpy()
    if np.linalg.det(matrix[:3, :3]) < 0.01:
        return None
    matrix[:3, 3] = (solution[3] - solution[:3].T @ centre).numpy()
    return matrix


def is_rotated_or_scaled(matrix: np.ndarray, degrees: float = 8.0, scale: float = 1.12) -> bool:
    """Whether a 4x4 world matrix rotates by more than ``degrees`` or scales by more than ``scale`` either way."""
    turn, size = _rotation_and_scale(matrix)
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return bool(angle > degrees or max(size, 1 / size) > scale)


def similarity_part(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The similarity transform (4x4) in a 4x4 world matrix: its rotation and isotropic scale, at most 1.5 either way.

    Both map ``centre`` (3,) mm to the same point.
    """
    turn, size = _rotation_and_scale(matrix)
    result = np.eye(4)
    result[:3, :3] = np.clip(size, 1 / 1.5, 1.5) * turn
    return translation(apply_affine(matrix, centre)) @ result @ translation(-centre)


def _rotation_and_scale(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """The rotation (3, 3) nearest to a 4x4 matrix, and its singular value nearest to 1 as the scale.

    The size of a patient changes all three singular values; a scan that ends early compresses the fit along the body
    alone.
    """
    left, sizes, right = np.linalg.svd(matrix[:3, :3])
    return left @ right, float(min(sizes, key=lambda size: abs(np.log(size))))
