"""An affine map between two scans from their image features alone, for teachers, which have no network yet."""

from __future__ import annotations

import numpy as np
import torch

from .comparison import FeatureComparison
from .image_features import CELL
from .optimiser import Adam
from .refinement import ComparedScan

REACH_MM, STEP_MM = 150.0, 15.0
"""How far the frames are slid along the body either way, and in which steps: scans that end elsewhere have another
centre."""
ITERATIONS = 50
LEAST_VOLUME = 0.2
"""Determinant below which a map is no patient's."""
LEARNING_RATE = 0.5
"""Of Adam at first, in control-point spacings; it falls to zero."""


def search_affine(fixed: ComparedScan, moving: ComparedScan) -> np.ndarray:
    """4x4 world matrix from the ``fixed`` scan to the ``moving`` one, whose frames have the body along their last axis.

    Averaged features are compared in the fixed scan's region: first with the frames laid on each other and one slid
    along the body; from the best of these places Adam moves, turns, scales and shears.
    """
    control, moving_control = (side.scan.grid.pooled(CELL) for side in (fixed, moving))
    device = fixed.features.values.device
    comparison = FeatureComparison(fixed.features.average, moving.features.average, fixed.scan.region, control.shape)
    centre = (torch.tensor(control.shape, device=device) - 1) / 2
    # so that steps of all parameters move the frame's border about as far
    size = centre.square().mean().sqrt().clamp_min(1)
    basis = torch.cat([(control.voxels(device) - centre) / size, torch.ones(*control.shape, 1, device=device)], -1)

    def compare(parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Difference and gradient for displacements ``basis @ parameters``, (4, 3), in control-point spacings."""
        difference, gradient = comparison.gradient((basis @ parameters).movedim(-1, 0).contiguous())
        return difference, basis.flatten(0, 2).T @ gradient.flatten(1).T / max(1, len(comparison.index))

    places = []
    for shift in sorted(np.arange(-REACH_MM, REACH_MM + 1, STEP_MM), key=abs):  # of equal ones the first is taken
        parameters = torch.zeros(4, 3, device=device)
        parameters[3, 2] = float(shift / control.spacing[2])
        places.append((compare(parameters)[0].item(), parameters))
    difference, slid = min(places, key=lambda place: place[0])
    best = slid.clone()
    adam = Adam(best, LEARNING_RATE)
    for iteration in range(ITERATIONS):
        adam.learning_rate = LEARNING_RATE * (1 - iteration / ITERATIONS)
        best.grad = compare(best)[1]
        adam.step()
    if not compare(best)[0] < difference or torch.linalg.det(torch.eye(3) + (best[:3] / size).cpu()) < LEAST_VOLUME:
        best = slid  # it has led away
    linear, offset = best[:3].T / size, best[3]
    voxels = np.eye(4)
    voxels[:3, :3] += linear.cpu().numpy()
    voxels[:3, 3] = (offset - linear @ centre).cpu().numpy()
    return moving_control.affine @ voxels @ control.voxel_from_world
