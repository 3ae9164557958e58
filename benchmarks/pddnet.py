"""A probabilistic dense displacement network (PDD-Net; Heinrich, MICCAI 2019), written from the paper's idea.

Two scans are compared at control points for a dense set of displacements. Each displacement's cost, the distance of the
features, is regularised: among displacements by min-convolutions, among control points by averages, in turn, as in the
mean-field inference of a graphical model. Soft arg min of the costs is the field. A second pass repeats this on the
warped scan for small displacements. All of it is differentiable, so that the features and the seven weights of the
regularisation are learned without labels: by how well image features of the two scans agree after the warp.

The features are image features (MIND-SSC and windows of HU), to which a small network adds what it has learned. Before
it is trained it adds nothing. ``table1.py`` trains it on pairs of a study's scans, in `training.loop` as a `Task`:
the first scan of a batch is registered to the second, and so on. 41,302 parameters; at 96 x 80 x 128 voxels of 4 mm a
step on one pair takes 18 s of one CPU core and 4 GB, a registration 11 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from from_start import Pair, register_from
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.preparation import BODY_HU, PreparedScan, network_input
from SlicRegLib.network.options import NetworkOptions
from SlicRegLib.registration.image_features import image_features
from SlicRegLib.teaching.teachers import field_from_voxels
from SlicRegLib.training.history import History
from SlicRegLib.training.loop import TrainingPlan, train
from SlicRegLib.training.objective import Task
from SlicRegLib.training.samples import TrainingSet

CHANNELS = 15
"""Of the image features."""
WIDTH = 32
"""Channels of the network's hidden layers."""
CELL = 2
"""Voxels of the canonical frame per voxel of the features, and of these per control point."""
RADII = (5, 2)
"""Displacements to either side along each axis, one voxel of the features apart: 1331 in the first pass, which reaches
40 mm, and 125 in the second."""
ROUNDS = 2
"""Of the regularisation, in each pass."""
MIXTURE = (-1.0, 0.0, 1.0)
"""The first weights of cost, min-convolution and average in a round, before a soft max."""
SHARPNESS = 3000.0
"""What costs are multiplied by before the soft arg min, until it is learned."""
SMOOTHNESS = 0.02
"""Weight of the field's squared differences between control points, voxels of the features, in the loss."""


class PddNet(nn.Module):
    """Features and regularisation; ``options`` say of which preset the loop takes it to be, and nothing else."""

    def __init__(self, options: NetworkOptions = NetworkOptions()):
        super().__init__()
        self.options = options
        self.learned = nn.Sequential(
            nn.Conv3d(CHANNELS, WIDTH, 3, stride=CELL, padding=1),
            nn.InstanceNorm3d(WIDTH, affine=True),
            nn.LeakyReLU(0.1),
            nn.Conv3d(WIDTH, WIDTH, 3, padding=1),
            nn.InstanceNorm3d(WIDTH, affine=True),
            nn.LeakyReLU(0.1),
            nn.Conv3d(WIDTH, CHANNELS, 1),
        )
        nn.init.zeros_(self.learned[-1].weight)
        nn.init.zeros_(self.learned[-1].bias)
        self.weights = nn.Parameter(torch.tensor(MIXTURE).repeat(ROUNDS, 1))
        """Of the cost itself, the min-convolution and the average in each round, before a soft max."""
        self.sharpness = nn.Parameter(torch.zeros(()))
        """Logarithm of a factor on `SHARPNESS`."""

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, I, J, K) HU / 500 -> (B, C, I / 2, J / 2, K / 2)."""
        described = describe(image)
        return F.avg_pool3d(described, CELL) + self.learned(described)

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
        """Images (1, 1, I, J, K) -> displacements from fixed to moving at the control points, (3, i, j, k), in voxels
        of the features."""
        first, second = self.features(torch.cat([fixed, moving]))
        field = torch.zeros(3, *control_shape(first.shape[1:])).to(first)
        for number, radius in enumerate(RADII):
            more = self.find(first, warp(second, field) if number else second, radius)
            field = more + at(field, control_voxels(field.shape[1:]).to(first) + more.movedim(0, -1) / CELL)
        return field

    def find(self, fixed: torch.Tensor, moving: torch.Tensor, radius: int) -> torch.Tensor:
        """One pass on features (C, I, J, K): displacements (3, i, j, k) in voxels of the features."""
        costs = compare(fixed, moving, radius)
        shape, side = costs.shape[1:], 2 * radius + 1
        regular = costs
        for weights in self.weights.softmax(1):
            cube = regular.reshape(side, side, side, -1).permute(3, 0, 1, 2)[:, None]
            least = box(-F.max_pool3d(-F.pad(cube, (1,) * 6, mode="replicate"), 3, stride=1))
            least = least[:, 0].permute(1, 2, 3, 0).reshape(-1, *shape)
            average = box(box(least[:, None]))[:, 0]
            regular = weights[0] * costs + weights[1] * least + weights[2] * average
        share = (-SHARPNESS * self.sharpness.exp() * regular.flatten(1)).softmax(0)
        return (displacements(radius).to(share).T @ share).reshape(3, *shape)


@torch.no_grad()
def describe(image: torch.Tensor) -> torch.Tensor:
    """Image features of (B, 1, I, J, K) HU / 500: (B, C, I, J, K)."""
    hu = image[:, 0].float() / network_input(torch.ones(())).item()
    return torch.stack([image_features(one.contiguous()).movedim(-1, 0).contiguous() for one in hu])


def displacements(radius: int) -> torch.Tensor:
    """The displacement set along i, j, k, (n, 3)."""
    side = range(-radius, radius + 1)
    return torch.tensor(list(product(side, side, side)), dtype=torch.float32)


def compare(fixed: torch.Tensor, moving: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean squared differences of features (C, I, J, K), averaged over 3^3 voxels, at the control points for each
    displacement, (n, i, j, k)."""
    fixed, moving = box(fixed[None])[0], box(moving[None])[0]
    padded = F.pad(moving[None], (radius,) * 6, mode="replicate")[0]
    control = fixed[:, ::CELL, ::CELL, ::CELL]
    return _Differences.apply(control.movedim(0, -1).contiguous(), padded.movedim(0, -1).contiguous(), radius)


class _Differences(torch.autograd.Function):
    """Of `compare`. Its own gradient: autograd would make a whole volume of zeros for each displacement, a quarter of
    the time of a training step."""

    @staticmethod
    def forward(ctx: Any, control: torch.Tensor, padded: torch.Tensor, radius: int) -> torch.Tensor:
        """control: (i, j, k, C). padded: (I, J, K, C) with ``radius`` voxels more at each side."""
        ctx.save_for_backward(control, padded)
        ctx.radius = radius
        return torch.stack([(control - padded[place]).square().mean(-1) for place in _places(control, radius)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        control, padded = ctx.saved_tensors
        of_control, of_padded = torch.zeros_like(control), torch.zeros_like(padded)
        for place, gradient in zip(_places(control, ctx.radius), gradients[0], strict=True):
            part = (control - padded[place]) * (2 / control.shape[-1] * gradient[..., None])
            of_control += part
            of_padded[place] -= part
        return of_control, of_padded, None


def _places(control: torch.Tensor, radius: int) -> list[tuple[slice, slice, slice]]:
    """Where the padded features of each displacement are, in the order of `displacements`."""
    i, j, k = control.shape[:3]
    return [
        (slice(a, a + CELL * i, CELL), slice(b, b + CELL * j, CELL), slice(c, c + CELL * k, CELL))
        for a, b, c in product(range(2 * radius + 1), repeat=3)
    ]


def box(values: torch.Tensor) -> torch.Tensor:
    """Averages over 3^3 of (N, C, I, J, K); beyond the edges it is repeated."""
    return F.avg_pool3d(F.pad(values, (1,) * 6, mode="replicate"), 3, stride=1)


def at(volume: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
    """Values of (C, I, J, K) at voxels (..., 3): (C, ...)."""
    i, j, k = volume.shape[1:]
    return sample(volume, Grid((i, j, k), np.eye(4)), voxels)


def control_shape(shape: Sequence[int]) -> list[int]:
    return [-(-n // CELL) for n in shape]


def control_voxels(shape: Sequence[int]) -> torch.Tensor:
    """Of each control point, (i, j, k, 3)."""
    i, j, k = shape
    return Grid((i, j, k), np.eye(4)).voxels()


def warp(moving: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """``moving`` (C, I, J, K) pulled back along a ``field`` of the control points (3, i, j, k), in its voxels."""
    voxels = control_voxels(moving.shape[1:]).to(moving)
    return at(moving, voxels + at(field, voxels / CELL).movedim(0, -1))


class WarpingLoss(nn.Module):
    """How far the image features of fixed and warped moving scan are apart in the fixed body, and how rough the field
    is. A batch's scans are taken two by two; its voxels and targets are not used, since nobody teaches."""

    def __init__(self, net: PddNet, precision: str = "fp32"):
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor, voxels: Any = None, targets: Any = None) -> torch.Tensor:
        if len(image) < 2:
            raise UserError("A PDD-Net learns from pairs of scans; give --batch 2 or more.")
        losses = [self.of_pair(image[n : n + 1], image[n + 1 : n + 2]) for n in range(0, len(image) - 1, 2)]
        return torch.stack(losses).mean()

    def of_pair(self, fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
        field = self.net(fixed, moving)
        rough = sum((field.diff(dim=axis).square().mean() for axis in (1, 2, 3)), torch.zeros(()).to(field))
        return features_apart(fixed, moving, field) + SMOOTHNESS * rough


def features_apart(fixed: torch.Tensor, moving: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of image features in the fixed body after the warp by ``field``."""
    first, second = F.avg_pool3d(describe(torch.cat([fixed, moving])), CELL)
    body = F.avg_pool3d(fixed, CELL)[0, 0] > network_input(torch.tensor(BODY_HU)).item()
    apart = (first - warp(second, field)).square().mean(0)
    return (apart * body).sum() / body.sum().clamp_min(1)


@torch.no_grad()
def validate_pairs(
    net: PddNet, scans: TrainingSet, device: torch.device, seed: int, precision: str
) -> tuple[float, float]:
    """Mean difference of image features after the warp, each scan to the next, and its share of that before."""
    net.eval()
    generator = torch.Generator().manual_seed(seed)
    count, before, after = len(scans.names), 0.0, 0.0
    for index in range(count):
        image = scans.batch([index, (index + 1) % count], generator, augment=False).image.to(device)
        field = net(image[:1], image[1:])
        after += features_apart(image[:1], image[1:], field).item() / count
        before += features_apart(image[:1], image[1:], torch.zeros_like(field)).item() / count
    return after, after / max(before, 1e-9)


PAIRS = Task(PddNet, WarpingLoss, validate_pairs)


def train_pddnet(plan: TrainingPlan, *more: Any) -> tuple[Any, History]:
    """`training.loop.train` for a `PddNet`; more: checkpoint, device, resume and progress, as for `train`."""
    options = replace(plan.options, loss_voxels=1, precision="fp32")
    return train(replace(plan, options=options, task=PAIRS), *more)


@torch.no_grad()
def predict_field(net: PddNet, fixed: PreparedScan, moving: PreparedScan) -> DisplacementField:
    """The field from the fixed to the moving scan, RAS mm, on the control points; the frames' shapes are equal."""
    net.eval()
    device = next(net.parameters()).device
    images = [network_input(scan.hu)[None, None].to(device) for scan in (fixed, moving)]
    voxels = CELL * net(*images).movedim(0, -1).cpu().numpy()
    return field_from_voxels(voxels, fixed.grid, moving.grid, control=fixed.grid.pooled(CELL).strided(CELL))


def find_start_by_pddnet(pair: Pair) -> DisplacementField:
    """The field of a `PddNet`, which can register any two scans; for `register_from`."""
    with pair.clock("prediction"):
        return predict_field(pair.model.network(pair.device), pair.fixed, pair.moving)


register_by_pddnet = partial(register_from, find_start_by_pddnet)
