"""Affine maps between the supervoxels of two scans."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from ..geometry.grid import apply_affine, translation


def fit_affine(fixed: torch.Tensor, moving: torch.Tensor, rounds: int = 10) -> np.ndarray | None:
    """4x4 world matrix that best maps the supervoxels' centroids of ``fixed`` to those of ``moving``.

    Both (layers, classes, 4): mass and centre, background first. Each supervoxel counts by the mass that both
    scans agree on; those that fit badly count less in each round (Cauchy weights), so that supervoxels outside one
    scan's field of view do not pull. None where fewer than twelve are found in both, or the map is flat or mirrored:
    no patient lies so.
    """
    a, b = (c[:, 1:].reshape(-1, 4).double().cpu() for c in (fixed, moving))
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
    """Whether a 4x4 world matrix turns by more than ``degrees`` or changes sizes by more than ``scale``."""
    turn, size = _rotation_and_scale(matrix)
    return bool(np.degrees(Rotation.from_matrix(turn).magnitude()) > degrees or max(size, 1 / size) > scale)


def similarity_part(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The rotation, isotropic scale (at most 1.5 either way) and shift of a 4x4 world matrix, equal to it at ``centre``."""
    turn, size = _rotation_and_scale(matrix)
    result = np.eye(4)
    result[:3, :3] = np.clip(size, 1 / 1.5, 1.5) * turn
    return translation(apply_affine(matrix, centre)) @ result @ translation(-centre)


def _rotation_and_scale(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """The rotation nearest to a 4x4 matrix, and by how much it changes all lengths: its singular value nearest to 1.

    A patient of another size is that in all directions; a scan that ends early squeezes the fit along the body alone.
    """
    turn, stretch = polar(matrix[:3, :3])
    return turn, min(np.linalg.eigvalsh(stretch), key=lambda size: abs(np.log(size)))
