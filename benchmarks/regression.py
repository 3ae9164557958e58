"""Displacement regression, which ``table1.py`` compares with supervoxels: network, training and registration.

A regression network has the trunk of its supervoxel network and a head of three channels: the displacement from a voxel
of the scan to its place in the template, learned from the teacher at 1024 points of each scan's body. To register, its
displacements at key points of the target are regularised by a random walk on their neighbourhood graph, as in the
paper. Each key point and its place in the template make a pair; read from the template's side, the pairs are
displacements template -> target, which the thin-plate spline makes dense as it does for the supervoxels. So the field
is inverted point by point, before it is dense.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from from_start import Pair, register_from
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid, bounding_grid, unravel
from SlicRegLib.geometry.spline import thin_plate_spline
from SlicRegLib.images.preparation import PreparedScan, network_input
from SlicRegLib.images.volumes import Volume
from SlicRegLib.network.devices import autocast
from SlicRegLib.network.networks import build
from SlicRegLib.network.options import STRIDE, NetworkOptions
from SlicRegLib.registration.alignment import neighbour_graph
from SlicRegLib.registration.key_points import choose_key_points
from SlicRegLib.registration.model import Model
from SlicRegLib.registration.result import Registration
from SlicRegLib.teaching.teachers import field_from_voxels
from SlicRegLib.training.history import History
from SlicRegLib.training.loop import TrainingPlan, train
from SlicRegLib.training.objective import Task
from SlicRegLib.training.samples import TrainingSet

POINTS = 1024
"""Points per scan at which displacements are learned."""
UNIT = 10.0
"""Voxels per unit of the head's output: about the spread of the displacements under augmentation."""
NEAR_MM = 10.0
"""A validation point counts as right within this distance of where the teacher puts it."""
RANDOM_WALK = 0.1
"""Weight of the regularisation. It costs the teacher's own displacements 0.01 Dice; under 5 mm of noise they gain
0.03."""


class DisplacementNet(nn.Module):
    """The supervoxel network for ``options`` with three output channels instead of 2048."""

    def __init__(self, options: NetworkOptions):
        super().__init__()
        net = build(options)
        *hidden, last = net.classifier if isinstance(net.classifier, nn.Sequential) else [net.classifier]
        head = nn.Conv1d(last.in_channels, 3, 1)
        nn.init.zeros_(head.weight)  # starts from no displacement
        nn.init.zeros_(head.bias)
        self.trunk, self.head, self.options = net.trunk, nn.Sequential(*hidden, head), options

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, I, J, K) HU / 500 -> (B, C, i, j, k)."""
        return self.trunk(image)

    def features_at(self, image: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
        """Of the voxels with flat indices (B, n): (B * n, C)."""
        return self.trunk.features_at(image, voxels)

    def displacements(self, features: torch.Tensor) -> torch.Tensor:
        """Features of voxels (N, C) -> voxels of the canonical frame (N, 3), in full precision."""
        return UNIT * self.head(features.float().T[None])[0].T


def locate_in_template(layers: torch.Tensor, grid: Grid, points: torch.Tensor) -> torch.Tensor:
    """In place of `samples.sample_layers`: the voxels (n, 3) of world points (n, 3) instead of their supervoxels."""
    return grid.to_voxel(points).float()


def displacement_errors(
    net: DisplacementNet, image: torch.Tensor, voxels: torch.Tensor, targets: torch.Tensor, precision: str
) -> torch.Tensor:
    """Predicted minus true displacements (B * n, 3) in voxels. targets: (B, n, 3), as from `locate_in_template`."""
    with autocast(image.device, precision):
        picked = net.features_at(image, voxels)
    own_places = STRIDE * unravel(voxels, [-(-n // STRIDE) for n in image.shape[2:]])
    return net.displacements(picked) - (targets - own_places).flatten(0, 1)


class DisplacementLoss(nn.Module):
    """Mean absolute error of the displacements, in units of `UNIT` voxels."""

    def __init__(self, net: DisplacementNet, precision: str):
        super().__init__()
        self.net, self.precision = net, precision

    def forward(self, image: torch.Tensor, voxels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return displacement_errors(self.net, image, voxels, targets, self.precision).abs().mean() / UNIT


@torch.no_grad()
def validate_displacements(
    net: DisplacementNet, scans: TrainingSet, device: torch.device, seed: int, precision: str
) -> tuple[float, float]:
    """Mean distance to the teacher's positions in mm and the share within `NEAR_MM`, on the same points each time."""
    net.eval()
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for index in range(len(scans.names)):
        batch = scans.batch([index], generator, augment=False)
        image, voxels, targets = (part.to(device) for part in (batch.image, batch.voxels, batch.targets))
        error = displacement_errors(net, image, voxels, targets, precision)
        distances.append(error.norm(dim=1) * float(scans.template_grid.spacing.mean()))
    distance = torch.cat(distances)
    return distance.mean().item(), (distance < NEAR_MM).float().mean().item()


DISPLACEMENTS = Task(DisplacementNet, DisplacementLoss, validate_displacements, locate_in_template)


def train_regression(plan: TrainingPlan, *more: Any) -> tuple[Any, History]:
    """`training.loop.train` with another task and fewer points, so that nothing else differs from supervoxels.

    Returns a `DisplacementNet`. more: checkpoint, device, resume and progress, as for `train`.
    """
    options = replace(plan.options, loss_voxels=POINTS)
    return train(replace(plan, options=options, task=DISPLACEMENTS), *more)


def find_start_by_regression(pair: Pair) -> DisplacementField:
    """The field of a `DisplacementNet`; for `register_from`."""
    model, moving, alignment = pair.model, pair.moving, pair.options.alignment
    with pair.clock("prediction"):
        net = model.network(pair.device)
        field = predict_field(net, moving, model.template_grid, pair.options.prediction.precision)
    with pair.clock("spline"):
        points = choose_key_points(moving.body, moving.grid, alignment)
        to_template = smooth_by_random_walk(points, field.at(points), alignment.neighbours)
        grid = bounding_grid([pair.fixed.grid], alignment.field_spacing_mm)
        return thin_plate_spline(points + to_template, -to_template, grid, alignment.spline_lambda)


def register_by_regression(model: Model, template: Volume, *more: Any, **options: Any) -> Registration:
    """As `register`, with a `DisplacementNet` in the model, which knows the model's own template alone."""
    if template.fingerprint() != model.template_sha256:
        raise UserError("A regression network registers to the template that it was trained with, and to no other.")
    return register_from(find_start_by_regression, model, template, *more, **options)


@torch.no_grad()
def predict_field(
    net: DisplacementNet, scan: PreparedScan, template: Grid, precision: str = "auto"
) -> DisplacementField:
    """The network's prediction of the teacher's field, from the scan to the template; meaningless outside the body."""
    net.eval()
    device = next(net.parameters()).device
    with autocast(device, precision):
        features = net.features(network_input(scan.hu)[None, None].to(device, memory_format=torch.channels_last_3d))[0]
    displacements = net.displacements(features.flatten(1).T).reshape(*features.shape[1:], 3)
    return field_from_voxels(displacements.cpu().numpy(), scan.grid, template, control=scan.grid.strided(STRIDE))


def smooth_by_random_walk(
    points: torch.Tensor, displacements: torch.Tensor, neighbours: int, weight: float = RANDOM_WALK
) -> torch.Tensor:
    """Displacements (N, 3) u with the least |u - displacements|^2 + weight * sum over neighbours |u_i - u_j|^2."""
    source, target = neighbour_graph(points, neighbours)
    adjacency = torch.zeros(len(points), len(points), dtype=torch.float64)
    adjacency[source, target] = 0.5
    adjacency += adjacency.T.clone()
    laplacian = adjacency.sum(1).diag() - adjacency
    return torch.linalg.solve(torch.eye(len(points)) + weight * laplacian, displacements.double()).to(displacements)
