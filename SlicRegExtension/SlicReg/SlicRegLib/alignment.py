"""From supervoxels to a smooth displacement field: key points, Adam with diffusion regularisation, thin-plate spline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree

from .errors import UserError, refuse
from .geometry import Grid, unravel
from .prediction import Description
from .progress import Progress, silent
from .warping import DisplacementField

UNIT_MM = 200.0  # displacements are optimised in this unit, about half the canonical frame, so that the published
#                  learning rate and alpha, which are for normalised coordinates, keep their meaning


@dataclass(frozen=True)
class AlignmentOptions:
    """How key points are moved and their displacements spread."""

    key_points: int = 2048
    iterations: int = 50  # of Adam
    learning_rate: float = 0.05  # in units of 200 mm
    alpha: float = 0.015  # weight of the diffusion regularisation
    neighbours: int = 8  # per key point in the regularisation's graph
    affine_start: bool = True  # start from the affine map between the supervoxels' centroids
    spline_lambda: float = 0.001  # stiffness of the thin-plate spline; 0 interpolates
    field_spacing_mm: float = 16.0  # of the dense field that the spline is evaluated on
    seed: int = 0

    def __post_init__(self):
        refuse("Registration", [
            (self.key_points < 8, "key points must be at least 8"),
            (self.iterations < 0, "iterations must not be negative"),
            (self.learning_rate <= 0, "the learning rate must be positive"),
            (self.alpha < 0, "alpha must not be negative"),
            (self.neighbours < 1, "neighbours must be at least 1"),
            (self.spline_lambda < 0, "the spline's lambda must not be negative"),
            (self.field_spacing_mm <= 0, "the field's spacing must be positive"),
        ])


@dataclass(frozen=True, eq=False)
class KeyPoints:
    """What the alignment needs of the fixed scan.

    points: (N, 3) world mm. features: (N, C) at the points. centroids: (layers, classes, 4), as in `Description`.
    """

    points: torch.Tensor
    features: torch.Tensor
    centroids: torch.Tensor

    def to(self, device: torch.device) -> KeyPoints:
        return KeyPoints(self.points.to(device), self.features.float().to(device), self.centroids.to(device))


def describe_key_points(description: Description, body: torch.Tensor, grid: Grid, options: AlignmentOptions = AlignmentOptions()) -> KeyPoints:
    """Key points in the fixed scan's ``body`` (I, J, K bool on its canonical ``grid``) and its features at them."""
    points = choose_key_points(body, grid, options).to(description.features.device)
    return KeyPoints(points, features_at(description, points), description.centroids)


def choose_key_points(body: torch.Tensor, grid: Grid, options: AlignmentOptions = AlignmentOptions()) -> torch.Tensor:
    """World positions (N, 3) mm of N random voxels of ``body`` (I, J, K bool), the same for the same seed."""
    if int(body.sum()) < 8 * options.neighbours:
        raise UserError("The template's body is too small to place key points in it.")
    # one order of all voxels, of which the first in the body are taken: a body that differs by a voxel keeps its points
    order = torch.randperm(body.numel(), generator=torch.Generator().manual_seed(options.seed))
    chosen = order[body.flatten()[order]][: options.key_points]
    return grid.to_world(unravel(chosen, body.shape))


def features_at(description: Description, points: torch.Tensor) -> torch.Tensor:
    """Features (N, C) at world points (N, 3), trilinear, the edge repeated."""
    return rows_at(description.features, description.grid, points)


def rows_at(features: torch.Tensor, grid: Grid, points: torch.Tensor) -> torch.Tensor:
    """Trilinear values (N, C) of channels-last ``features`` (i, j, k, C) on ``grid`` at world points (N, 3); the edge repeated."""
    index, weight = _corners(grid, points.to(features))
    return F.embedding_bag(index, features.flatten(0, 2), per_sample_weights=weight, mode="sum")


def _corners(grid: Grid, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat indices (N, 8) and trilinear weights (N, 8) of the voxels around world points; differentiable weights.

    Gathering whole feature vectors by row is three times faster on CPU than sampling channel by channel.
    """
    shape = torch.tensor(grid.shape, device=points.device)
    voxel = torch.minimum(grid.to_voxel(points).clamp_min(0), (shape - 1).to(points))
    low = torch.minimum(voxel.detach().floor().long(), (shape - 2).clamp_min(0))
    upper = voxel - low
    index, weight = 0, 1
    for axis, n in enumerate(grid.shape):
        pair = torch.stack([low[:, axis], (low[:, axis] + 1).clamp_max(n - 1)], 1)
        part = torch.stack([1 - upper[:, axis], upper[:, axis]], 1)
        view = [-1, 1, 1, 1]
        view[axis + 1] = 2
        index = index * n + pair.reshape(view)
        weight = weight * part.reshape(view)
    return index.expand(-1, 2, 2, 2).flatten(1), weight.expand(-1, 2, 2, 2).flatten(1)


def neighbour_graph(points: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Edges (2, N * neighbours) of each point's nearest neighbours, itself left out."""
    tree = cKDTree(points.cpu().numpy())
    nearest = tree.query(points.cpu().numpy(), k=min(neighbours, len(points) - 1) + 1)[1][:, 1:]
    source = np.repeat(np.arange(len(points)), nearest.shape[1])
    return torch.from_numpy(np.stack([source, nearest.ravel()]))


def affine_between(fixed: torch.Tensor, moving: torch.Tensor, rounds: int = 10) -> np.ndarray | None:
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


def align(points: torch.Tensor, fixed_features: torch.Tensor, moving: Description, start: torch.Tensor,
          options: AlignmentOptions = AlignmentOptions(), progress: Progress = silent) -> torch.Tensor:
    """Displacements (N, 3) mm of key ``points`` (N, 3) that bring ``moving``'s features onto ``fixed_features`` (N, C).

    Minimises mean squared feature difference + alpha * sum over graph edges of |u_i - u_j|^2 / N with Adam, u in
    units of 200 mm, from ``start`` (N, 3) mm; the regularisation acts on what is added to ``start``.
    """
    added = torch.zeros_like(points, requires_grad=True)
    source, target = neighbour_graph(points, options.neighbours).to(points.device)
    optimiser = Adam(added, options.learning_rate)
    for iteration in range(options.iterations):
        found = features_at(moving, points + start + added * UNIT_MM)
        data = F.mse_loss(found, fixed_features)
        smoothness = (added[source] - added[target]).pow(2).sum() / len(points)
        (data + options.alpha * smoothness).backward()
        optimiser.step()
        if iteration % 10 == 9:
            progress("alignment", (iteration + 1) / options.iterations, f"feature difference {data.item():.2e}")
    return start + added.detach() * UNIT_MM


class Adam:
    """Adam (Kingma and Ba, 2015) for one tensor. torch's own imports its compiler, which takes longer than the alignment."""

    def __init__(self, parameter: torch.Tensor, learning_rate: float, decay=(0.9, 0.999), epsilon: float = 1e-8):
        self.parameter, self.learning_rate, self.decay, self.epsilon = parameter, learning_rate, decay, epsilon
        self.mean, self.square, self.steps = torch.zeros_like(parameter), torch.zeros_like(parameter), 0

    @torch.no_grad()
    def step(self) -> None:
        """One step along the parameter's gradient, which is cleared."""
        gradient, (first, second) = self.parameter.grad, self.decay
        self.steps += 1
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = (self.square / (1 - second**self.steps)).sqrt_().add_(self.epsilon)
        self.parameter.addcdiv_(self.mean, scale, value=-self.learning_rate / (1 - first**self.steps))
        self.parameter.grad = None


def thin_plate_spline(points: torch.Tensor, displacements: torch.Tensor, grid: Grid, stiffness: float) -> DisplacementField:
    """The smoothest field through key-point displacements (N, 3) mm, evaluated on ``grid``.

    u(x) = A [x, 1] + sum_n w_n |x - p_n|: |r| is the kernel of the thin-plate (biharmonic) spline in three
    dimensions; r^2 log r, often seen, is the one of the plane. Coordinates are in units of 200 mm;
    ``stiffness`` (lambda) is added to the kernel's diagonal.
    """
    centre = points.double().mean(0).cpu()  # the world's origin may be metres away
    p = (points.double().cpu() - centre) / UNIT_MM
    n = len(p)
    affine = torch.cat([p, torch.ones(n, 1, dtype=p.dtype)], 1)
    system = torch.zeros(n + 4, n + 4, dtype=p.dtype)
    system[:n, :n] = -torch.cdist(p, p) + stiffness * torch.eye(n)  # -|r| is conditionally positive definite
    system[:n, n:], system[n:, :n] = affine, affine.T
    right = torch.cat([displacements.double().cpu(), torch.zeros(4, 3, dtype=p.dtype)])
    solution = torch.linalg.solve(system, right).float()
    p = p.float()
    values = []
    for x in ((grid.points().reshape(-1, 3).double() - centre) / UNIT_MM).float().split(4096):
        values.append(-torch.cdist(x, p, compute_mode="donot_use_mm_for_euclid_dist") @ solution[:n] + torch.cat([x, torch.ones(len(x), 1)], 1) @ solution[n:])
    return DisplacementField(torch.cat(values).T.reshape(3, *grid.shape).contiguous(), grid)
