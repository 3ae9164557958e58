"""Alignment of supervoxels: Adam on the displacements of key points with diffusion regularisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree

from ..geometry.spline import UNIT_MM
from ..network.prediction import Description
from ..progress import Progress, silent
from .key_points import features_at
from .optimiser import Adam
from .options import AlignmentOptions


def neighbour_graph(points: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Edges (source, target), (2, N * neighbours), from each of the ``points`` (N, 3) to its nearest neighbours, fewer
    where there are not that many."""
    tree = cKDTree(points.cpu().numpy())
    nearest = tree.query(points.cpu().numpy(), k=min(neighbours, len(points) - 1) + 1)[1][:, 1:]
    source = np.repeat(np.arange(len(points)), nearest.shape[1])
    return torch.from_numpy(np.stack([source, nearest.ravel()]))


def align(
    points: torch.Tensor,
    fixed_features: torch.Tensor,
    moving: Description,
    start: torch.Tensor,
    options: AlignmentOptions = AlignmentOptions(),
    progress: Progress = silent,
) -> torch.Tensor:
    """Displacements (N, 3) mm of the key ``points`` (N, 3) at which ``moving`` has the ``fixed_features`` (N, C).

    Minimises the mean squared feature difference + alpha * sum over graph edges of |u_i - u_j|^2 / N with Adam. u, in
    units of 200 mm, is added to ``start`` (N, 3) mm; so the regularisation does not act on the start.
    """
    added = torch.zeros_like(points, requires_grad=True)
    source, target = neighbour_graph(points, options.neighbours).to(points.device)
    optimiser = Adam(added, options.learning_rate)
    with _deterministic():
        for iteration in range(options.iterations):
            moving_features = features_at(moving, points + start + added * UNIT_MM)
            data = F.mse_loss(moving_features, fixed_features)
            smoothness = (added[source] - added[target]).pow(2).sum() / len(points)
            (data + options.alpha * smoothness).backward()
            optimiser.step()
            if iteration % 10 == 9:
                progress("alignment", (iteration + 1) / options.iterations, f"feature difference {data.item():.2e}")
    return start + added.detach() * UNIT_MM


@contextmanager
def _deterministic() -> Iterator[None]:
    """Sum in a fixed order within the block. Threads that add in any order change a gradient's last bits, which Adam
    turns into millimetres."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
