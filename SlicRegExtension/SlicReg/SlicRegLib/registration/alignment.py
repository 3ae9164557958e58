"""Alignment of supervoxels: Adam on the displacements of key points with diffusion regularisation."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.spline import UNIT_MM
from ..network.prediction import Description
from ..progress import Progress, silent
from ..stages import ALIGNMENT
from .key_points import features_at
from .optimiser import Adam
from .options import AlignmentOptions


def neighbour_graph(points: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Edges (source, target), (2, N * neighbours), from each of the ``points`` (N, 3) to its nearest neighbours, fewer
    where there are not that many."""
    from scipy.spatial import cKDTree  # takes long to import, and most registrations align no key points

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
    graph = Graph(neighbour_graph(points, options.neighbours).to(points.device), len(points))
    optimiser = Adam(added, options.learning_rate)
    for iteration in range(options.iterations):
        moving_features = features_at(moving, points + start + added * UNIT_MM)
        data = F.mse_loss(moving_features, fixed_features)
        (data_gradient,) = torch.autograd.grad(data, added)
        added.grad = graph.roughness_gradient(added.detach(), options.alpha / len(points)) + data_gradient
        optimiser.step()
        if iteration % 10 == 9:
            progress(ALIGNMENT, (iteration + 1) / options.iterations, f"feature difference {data.item():.2e}")
    return start + added.detach() * UNIT_MM


class Graph:
    """The edges of `neighbour_graph`, for sums over them in a fixed order.

    Threads that add in any order change the last bits of a gradient, and Adam turns these into millimetres.
    """

    def __init__(self, edges: torch.Tensor, points: int):
        """edges: (source, target), (2, points * k), sorted by source."""
        self.target = edges[1]
        # the edges that lead to each point, in their order, padded with the number of edges: (points, most of a point)
        order = torch.argsort(self.target, stable=True)
        counts = torch.bincount(self.target, minlength=points)
        rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[self.target[order]]
        self.incoming = torch.full((points, int(counts.max())), len(order), device=order.device)
        self.incoming[self.target[order], rank] = order

    def roughness_gradient(self, values: torch.Tensor, weight: float) -> torch.Tensor:
        """The gradient (N, 3) of weight * the sum over edges of |u_source - u_target|^2 at ``values`` u (N, 3)."""
        points, k = len(values), len(self.target) // len(values)
        slope = weight * (2 * (values.repeat_interleave(k, 0) - values[self.target]))
        outgoing = slope.view(points, k, 3)
        padded = torch.cat([slope, torch.zeros_like(slope[:1])])
        gradient, received = torch.zeros_like(values), torch.zeros_like(values)
        for n in range(k):
            gradient += outgoing[:, n]
        for n in range(self.incoming.shape[1]):
            received += padded[self.incoming[:, n]]
        return gradient - received
