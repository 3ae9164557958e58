"""Training samples: a scan under a random affine and its supervoxel targets through the teacher's field.

The targets are never stored: each output voxel's world position is moved by the augmentation, then by the
teacher's field, and the template's layers are read there, with one nearest-neighbour look-up in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from ..geometry.grid import Grid, apply_affine, translation, unravel
from ..geometry.resampling import resample
from ..geometry.sampling import sample
from ..images.preparation import AIR_HU, network_input
from ..network.options import STRIDE
from ..teaching.study import Study
from ..teaching.supervoxels import make_random_affine
from .options import AugmentationOptions


@dataclass(frozen=True, eq=False)
class Batch:
    """image (B, 1, I, J, K) HU / 500; voxels (B, n) flat indices of output voxels; targets (B, n, layers) int64."""

    image: torch.Tensor
    voxels: torch.Tensor
    targets: torch.Tensor


class TrainingSet:
    """The samples that are drawn from a study's scans. Scans are read from the study when they are needed, never all held."""

    def __init__(
        self,
        study: Study,
        names: list[str],
        augmentation: AugmentationOptions,
        voxels: int | None,
        targets: Callable[[torch.Tensor, Grid, torch.Tensor], torch.Tensor] | None = None,
    ):
        """voxels: output voxels per scan in which the loss is taken, from the body; None: all of the grid.
        targets: what is to be learned at world points of the template, from its layers and their grid; None: `sample_layers`."""
        self.layers = torch.from_numpy(study.layers()).float()  # as they are sampled
        self.template_grid = study.template().grid
        self.study, self.augmentation, self.voxels, self.names = study, augmentation, voxels, names
        self.targets = targets or sample_layers

    def batch(self, indices: list[int], generator: torch.Generator, augment: bool = True) -> Batch:
        """The samples of ``indices``; equal generator states give equal batches."""
        return _stack([self._sample(index, generator, augment) for index in indices])

    def draw(self, iteration: int, batch: int, seed: int, share: range | None = None) -> Batch:
        """The random samples of a training step, or the ``share`` of them, the same for the same step whatever went before.

        Each scan comes once in every pass over the cohort, in another order each time.
        """
        samples = []
        for place in (iteration * batch + n for n in (range(batch) if share is None else share)):
            turn, number = divmod(place, len(self.names))
            index = torch.randperm(len(self.names), generator=_generator(seed, 0, turn))[number]
            samples.append(self._sample(int(index), _generator(seed, 1, place), augment=True))
        return _stack(samples)

    def _sample(self, index: int, generator: torch.Generator, augment: bool):
        scan, field = self.study.scan(self.names[index])
        image, grid, body, move = scan.hu, scan.grid, scan.region, np.eye(4)
        if augment:
            options = self.augmentation
            if options.crop_share and torch.rand((), generator=generator) < options.crop_share:
                image, body, move = _crop(image, body, grid, options.crop_mm, generator)
            move = move @ _random_move(grid, options, generator)
            image, body = resample(
                torch.stack([image, body.float()]),
                grid,
                Grid(grid.shape, move @ grid.affine),
                fill=AIR_HU if options.crop_share else None,
            )
            body = body > 0.5
            if options.gain_noise:
                image = image * (1 + options.gain_noise * torch.randn((), generator=generator))
            if options.hu_noise:
                image = image + options.hu_noise * torch.randn(image.shape, generator=generator)
        output = grid.strided(STRIDE)
        body = body[::STRIDE, ::STRIDE, ::STRIDE].flatten()
        voxels = self._chosen(body, generator)
        points = apply_affine(move, output.to_world(unravel(voxels, output.shape)))
        targets = self.targets(self.layers, self.template_grid, field(points))
        return network_input(image)[None], voxels, targets

    def _chosen(self, body: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if self.voxels is None:
            return torch.arange(len(body))
        inside = body.nonzero()[:, 0]
        if not len(inside):  # the augmentation moved the whole body away: background everywhere
            inside = torch.arange(len(body))
        return inside[torch.randint(len(inside), (self.voxels,), generator=generator)]


def _stack(samples) -> Batch:
    return Batch(*(torch.stack(parts) for parts in zip(*samples)))


def _generator(*key: int) -> torch.Generator:
    """Random numbers that depend on the ``key`` alone."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def _random_move(grid: Grid, options: AugmentationOptions, generator: torch.Generator) -> np.ndarray:
    """4x4 world matrix from where a voxel of the sample stands to where it is read in the scan."""
    scale = torch.tensor([options.affine_noise] * 3 + [options.shift_noise])
    move = make_random_affine(grid, (torch.randn(3, 4, generator=generator) * scale).double().numpy())
    if options.rotation and torch.rand((), generator=generator) < options.pose_share:
        axis = F.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0).numpy()
        angle, size = torch.rand(2, generator=generator, dtype=torch.float64).numpy() * 2 - 1
        turn = Rotation.from_rotvec(axis * angle * options.rotation, degrees=True).as_matrix()
        pose = np.eye(4)
        pose[:3, :3] = turn * (1 - options.scaling) ** size
        move = translation(grid.centre) @ pose @ translation(-grid.centre) @ move
    return move


def _crop(
    hu: torch.Tensor, body: torch.Tensor, grid: Grid, lengths_mm: tuple[float, float], generator: torch.Generator
):
    """The scan as if its field of view were shorter: (hu, body, the 4x4 shift of the frame to the middle of what is left).

    The canonical frame is centred on the tissue that is seen, so a partial view is not only cut but also moved.
    """
    place, size = torch.rand(2, generator=generator).tolist()
    seen = body.any(1).any(0).nonzero()[:, 0]
    length = (lengths_mm[0] + size * (lengths_mm[1] - lengths_mm[0])) / grid.spacing[2]
    first = int(seen[0]) + place * max(0.0, len(seen) - length)
    keep = (torch.arange(hu.shape[2]) >= first) & (torch.arange(hu.shape[2]) < first + length)
    weight = body & keep
    if not weight.any():
        return hu, body, np.eye(4)
    shift = grid.to_world(weight.nonzero().double().mean(0).numpy()) - grid.to_world(
        body.nonzero().double().mean(0).numpy()
    )
    return torch.where(keep, hu, AIR_HU), weight, translation(shift)


def sample_layers(layers: torch.Tensor, grid: Grid, points: torch.Tensor) -> torch.Tensor:
    """Supervoxel classes (float layers) at world points (n, 3), nearest, background outside: (n, layers) int64."""
    return sample(layers, grid, points, "nearest", fill=0.0).T.long()
