"""Training samples: a scan under a random affine, and its supervoxels according to the teacher's field.

The targets are never stored: the world position of each output voxel is moved by the augmentation and then by the
teacher's field, and the template's layers are sampled there, with a single nearest-neighbour interpolation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid, apply_affine, translation, unravel
from ..geometry.resampling import resample
from ..geometry.sampling import sample
from ..images.preparation import AIR_HU, network_input
from ..network.options import STRIDE
from ..teaching.study import Study
from ..teaching.supervoxels import make_random_affine
from .options import AugmentationOptions


@dataclass(frozen=True, eq=False)
class SampleBatch:
    """What one step trains on: a sample of each of ``B`` scans."""

    image: torch.Tensor
    """(B, 1, I, J, K), HU / 500."""
    voxels: torch.Tensor
    """(B, n) flat indices of voxels of the network's output."""
    targets: torch.Tensor
    """(B, n, layers) int64: the supervoxels at these voxels."""


KEPT_SHARE = 0.0625
"""Of a GPU's memory, for the scans of a `TrainingSet`; there is one for training and one for validation."""
Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Image, voxels and targets as in `SampleBatch`, without its first axis."""


@dataclass(frozen=True, eq=False)
class _Scan:
    """A scan on the device: HU, body region, their grid, the teacher's field."""

    hu: torch.Tensor
    region: torch.Tensor
    grid: Grid
    field: DisplacementField
    supervoxels: tuple[torch.Tensor, Grid] | None = None
    """Layers (float) and grid, where the scan has its own."""

    @property
    def size(self) -> int:
        """Bytes."""
        layers = 4 * self.supervoxels[0].numel() if self.supervoxels else 0
        return 5 * self.hu.numel() + 4 * self.field.vectors.numel() + layers


class TrainingSet:
    """Draws samples from a study's scans. Scans are read when they are needed, so that memory limits no study; a GPU
    keeps as many of them as fit into `KEPT_SHARE` of its memory."""

    def __init__(
        self,
        study: Study,
        names: list[str],
        augmentation: AugmentationOptions,
        voxels: int | None,
        targets: Callable[[torch.Tensor, Grid, torch.Tensor], torch.Tensor] | None = None,
        device: torch.device = torch.device("cpu"),
    ):
        """voxels: output voxels per scan for the loss, in the body; None: all voxels of the grid.
        targets: see `objective.Task`; None: `sample_layers`. device: where samples are made; random numbers are drawn
        on the CPU, so that they are the same everywhere."""
        self.layers = torch.from_numpy(study.layers()).float().to(device)  # as they are sampled
        self.template_grid = study.template().grid
        self.study, self.augmentation, self.voxels, self.names = study, augmentation, voxels, names
        self.targets, self.device = targets or sample_layers, device
        self._kept: dict[int, _Scan] = {}
        on_gpu = device.type == "cuda"
        self._to_keep = KEPT_SHARE * torch.cuda.get_device_properties(device).total_memory if on_gpu else 0

    def batch(self, indices: list[int], generator: torch.Generator, augment: bool = True) -> SampleBatch:
        """Samples of the scans ``names[index]``; equal states of the generator give equal batches."""
        return _stack([self._sample(index, generator, augment) for index in indices])

    def draw(self, iteration: int, batch: int, seed: int, share: range | None = None) -> SampleBatch:
        """The random samples of a training step, or a ``share`` of them; they depend on nothing but step and seed.

        Every pass over the cohort contains each scan once, in an order of its own.
        """
        samples = []
        for position in (iteration * batch + n for n in (range(batch) if share is None else share)):
            turn, number = divmod(position, len(self.names))
            index = torch.randperm(len(self.names), generator=_make_generator(seed, 0, turn))[number]
            samples.append(self._sample(int(index), _make_generator(seed, 1, position), augment=True))
        return _stack(samples)

    def _sample(self, index: int, generator: torch.Generator, augment: bool) -> Sample:
        scan = self._load(index)
        image, body, grid, move = scan.hu, scan.region, scan.grid, np.eye(4)
        if augment:
            options = self.augmentation
            if options.crop_share and torch.rand((), generator=generator) < options.crop_share:
                image, body, move = _crop(image, body, grid, options.crop_mm, generator)
            move = move @ _draw_move(grid, options, generator)
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
                image = image + options.hu_noise * torch.randn(image.shape, generator=generator).to(image)
        output = grid.strided(STRIDE)
        body = body[::STRIDE, ::STRIDE, ::STRIDE].flatten()
        voxels = self._choose_voxels(body, generator)
        points = apply_affine(move, output.to_world(unravel(voxels, output.shape)))
        if scan.supervoxels and self.targets is sample_layers:
            targets = sample_layers(*scan.supervoxels, points)
        else:
            targets = self.targets(self.layers, self.template_grid, scan.field(points))
        return network_input(image)[None], voxels, targets

    def _load(self, index: int) -> _Scan:
        if index not in self._kept:
            name, device = self.names[index], self.device
            scan, field = self.study.scan(name)
            own = scan.supervoxels
            layers = (torch.from_numpy(own[0]).float().to(device), own[1]) if own else None
            loaded = _Scan(scan.hu.to(device), scan.region.to(device), scan.grid, field.to(device), layers)
            if (len(self._kept) + 1) * loaded.size > self._to_keep:
                return loaded
            self._kept[index] = loaded
        return self._kept[index]

    def _choose_voxels(self, body: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if self.voxels is None:
            return torch.arange(len(body), device=body.device)
        inside = body.nonzero()[:, 0]
        if not len(inside):  # the augmentation moved the whole body out of view: background everywhere
            inside = torch.arange(len(body), device=body.device)
        return inside[torch.randint(len(inside), (self.voxels,), generator=generator).to(body.device)]


def _stack(samples: list[Sample]) -> SampleBatch:
    return SampleBatch(*(torch.stack(parts) for parts in zip(*samples, strict=True)))


def _make_generator(*key: int) -> torch.Generator:
    """A generator that depends on nothing but the ``key``, such as seed and step: threads draw the same samples."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1)


def _draw_move(grid: Grid, options: AugmentationOptions, generator: torch.Generator) -> np.ndarray:
    """A 4x4 world matrix from the position of a voxel in the sample to its position in the scan."""
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
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """The scan as if its field of view were shorter: HU, body, the 4x4 shift of the frame to the middle of the rest.

    A canonical frame is centred on the visible tissue, so that a partial view is not only cut but also moved.
    """
    place, size = torch.rand(2, generator=generator).tolist()
    seen = body.any(1).any(0).nonzero()[:, 0]
    length = (lengths_mm[0] + size * (lengths_mm[1] - lengths_mm[0])) / grid.spacing[2]
    first = int(seen[0]) + place * max(0.0, len(seen) - length)
    slices = torch.arange(hu.shape[2], device=hu.device)
    keep = (slices >= first) & (slices < first + length)
    weight = body & keep
    if not weight.any():
        return hu, body, np.eye(4)
    shift = grid.to_world(weight.nonzero().double().mean(0).cpu().numpy()) - grid.to_world(
        body.nonzero().double().mean(0).cpu().numpy()
    )
    return torch.where(keep, hu, AIR_HU), weight, translation(shift)


def sample_layers(layers: torch.Tensor, grid: Grid, points: torch.Tensor) -> torch.Tensor:
    """Supervoxels at world points (n, 3): (n, layers) int64, nearest neighbour; outside, background. layers: float."""
    return sample(layers, grid, points, "nearest", fill=0.0).T.long()
