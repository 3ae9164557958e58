"""Training samples: a scan under a random affine and its supervoxel targets through the teacher's field.

The targets are never stored: each output voxel's world position is moved by the augmentation, then by the
teacher's field, and the template's layers are read there, with one nearest-neighbour look-up in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .geometry import apply_affine, unravel
from .networks import STRIDE
from .preparation import body_mask, network_input
from .study import Study
from .supervoxels import random_affine
from .warping import sample


@dataclass(frozen=True)
class AugmentationOptions:
    """Random changes of a training scan, drawn anew for each sample."""

    affine_noise: float = 0.07  # linear part: I + noise * randn(3, 3) in the normalised frame
    shift_noise: float = 0.07  # of half the frame's extent, per axis
    gain_noise: float = 0.0  # HU are multiplied by 1 + noise * randn
    hu_noise: float = 0.0  # sd of noise added per voxel, HU


@dataclass(frozen=True, eq=False)
class Batch:
    """image (B, 1, I, J, K) HU / 500; voxels (B, n) flat indices of output voxels; targets (B, n, layers) int64."""

    image: torch.Tensor
    voxels: torch.Tensor
    targets: torch.Tensor


def body_region(hu: torch.Tensor, dilation: int = 2) -> torch.Tensor:
    """The body and ``dilation`` voxels around it, bool (I, J, K): where supervoxels are learnt and predicted."""
    mask = body_mask(hu)[None, None].float()
    return F.max_pool3d(mask, 2 * dilation + 1, stride=1, padding=dilation)[0, 0] > 0


class TrainingSet:
    """The study's scans in memory (int16 HU, coarse fields) and the samples drawn from them."""

    def __init__(self, study: Study, names: list[str], augmentation: AugmentationOptions, voxels: int | None):
        """voxels: output voxels per scan in which the loss is taken, from the body; None: all of the grid."""
        self.layers = torch.from_numpy(study.layers())
        self.template_grid = study.template().grid
        self.augmentation, self.voxels, self.names = augmentation, voxels, names
        self.scans = []
        for name in names:
            scan, field = study.scan(name)
            self.scans.append((scan.hu.to(torch.int16), scan.grid, body_region(scan.hu), field))

    def batch(self, indices: list[int], generator: torch.Generator, augment: bool = True) -> Batch:
        """The samples of ``indices``; equal generator states give equal batches."""
        samples = [self._sample(index, generator, augment) for index in indices]
        return Batch(*(torch.stack(parts) for parts in zip(*samples)))

    def _sample(self, index: int, generator: torch.Generator, augment: bool):
        hu, grid, body, field = self.scans[index]
        image, move = hu.float(), np.eye(4)
        if augment:
            options = self.augmentation
            scale = torch.tensor([options.affine_noise] * 3 + [options.shift_noise])
            move = random_affine(grid, (torch.randn(3, 4, generator=generator) * scale).double().numpy())
            points = apply_affine(move, grid.points())
            image = sample(image[None], grid, points)[0]
            body = sample(body[None].float(), grid, points, "nearest", fill=0.0)[0] > 0.5
            if options.gain_noise:
                image = image * (1 + options.gain_noise * torch.randn((), generator=generator))
            if options.hu_noise:
                image = image + options.hu_noise * torch.randn(image.shape, generator=generator)
        output = grid.strided(STRIDE)
        body = body[::STRIDE, ::STRIDE, ::STRIDE].flatten()
        voxels = self._chosen(body, generator)
        points = apply_affine(move, output.to_world(unravel(voxels, output.shape)))
        targets = sample_layers(self.layers, self.template_grid, field(points))
        return network_input(image)[None], voxels, targets

    def _chosen(self, body: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if self.voxels is None:
            return torch.arange(len(body))
        inside = body.nonzero()[:, 0]
        if not len(inside):  # the augmentation moved the whole body away: background everywhere
            inside = torch.arange(len(body))
        return inside[torch.randint(len(inside), (self.voxels,), generator=generator)]


def sample_layers(layers: torch.Tensor, grid, points: torch.Tensor) -> torch.Tensor:
    """Supervoxel classes at world points (n, 3), nearest, background outside: (n, layers) int64."""
    return sample(layers.float(), grid, points, "nearest", fill=0.0).T.long()
