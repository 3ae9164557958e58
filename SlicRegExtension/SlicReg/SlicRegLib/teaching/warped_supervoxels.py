"""The teacher that registers nothing: supervoxels that somebody else has warped to the training scans, in one file.

The paper's authors offer theirs as a file of ``torch.save``: uint8 (30, 16, 96, 80, 128), the supervoxels 0..127 of 16
layers at every second voxel of each scan of 192 x 160 x 256 voxels, axes as in the scan's file. Scans are in the order
of their numbers, 1 to 10 and 21 to 40, the template among them. A voxel is the middle of 2 x 2 x 2 voxels of the scan.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ..errors import UserError
from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..images.files import number_of, stem
from ..images.inputs import check_file
from ..images.preparation import PreparedScan
from ..images.volumes import Volume, load_scan
from .supervoxels import CLASSES
from .teachers import field_from_voxels

PUBLISHED_NUMBERS = (*range(1, 11), *range(21, 41))
"""Of the scans in the authors' file, in its order."""
SMOOTHING_VOXELS = 1.0
"""Standard deviation with which places found voxel by voxel are made a smooth field."""
MIN_FOUND = 0.25
"""Of the scan's voxels with supervoxels, the share whose combination the template must have."""
OBLIQUE = 1e-4
"""What the cosine between an axis of the scan and one of the world may lack of 1: about 0.8 degrees."""


@dataclass(frozen=True)
class WarpedSupervoxels:
    """The teacher for a file of warped supervoxels. Training reads the supervoxels themselves; the field, by which its
    quality is judged, comes from the place in the template where the same combination of supervoxels lies."""

    file: Path
    names: tuple[str, ...]
    """Of the scans, in the order of the file."""
    template_name: str
    name: str = "warped supervoxels"

    def template(self, template: Volume) -> tuple[np.ndarray, Grid]:
        """The template's own layers, uint8 (layers, I, J, K), and their grid, which becomes the canonical frame."""
        layers, grid = self.layers(self.template_name, template.grid)
        for number, layer in enumerate(layers, start=1):
            if len(np.unique(layer)) < 2:
                raise UserError(f"Layer {number} of {self.template_name} in {self.file} is empty; download it again.")
        return layers, grid

    def layers(self, name: str, grid: Grid) -> tuple[np.ndarray, Grid]:
        """The supervoxels of the scan ``name``, which lies on ``grid``, with axes along R, A and S, and their grid."""
        if name not in self.names:
            raise UserError(f"{self.file} has no supervoxels of a scan called {name}; leave the scan out.")
        stored = _open(self.file, self.file.stat().st_mtime_ns)[self.names.index(name)].numpy()
        if tuple(2 * n for n in stored.shape[1:]) != grid.shape:
            raise UserError(
                f"The scan {name} has {_by(grid.shape)} voxels, but its supervoxels in {self.file} "
                f"{_by(stored.shape[1:])}, which must be half as many along each axis; give the scan for which they "
                "were made."
            )
        layers, grid = turn_to_world(stored, grid.pooled(2), name)
        if layers.max() >= CLASSES:
            raise UserError(f"{self.file} holds a supervoxel {layers.max()}, above {CLASSES - 1}; download it again.")
        return layers, grid

    def attach(self, scan: PreparedScan) -> tuple[np.ndarray, Grid]:
        """The supervoxels that are stored with a training scan."""
        return self.layers(stem(scan.path), scan.original or load_scan(scan.path).grid)

    def register(self, scan: PreparedScan, template: PreparedScan) -> DisplacementField:
        own, grid = self.attach(scan)
        layers, template_grid = self.layers(self.template_name, template.original or template.grid)
        return find_field(own, grid, layers, template_grid, f"{self.file}: the supervoxels of {scan.name}")


def open_warped_supervoxels(file: Path, template: Path, scans: Sequence[Path]) -> WarpedSupervoxels:
    """The teacher for the ``file``, whose entries belong to template and scans in the order of their names, or have the
    numbers of the authors' data set. Raises UserError where they can be neither."""
    check_file(file, "give the file of warped supervoxels (.pth)")
    count = len(_open(file, file.stat().st_mtime_ns))
    names = sorted({stem(template), *map(stem, scans)}, key=lambda name: (number_of(name) or 0, name))
    numbers = {number_of(name): name for name in names}
    if count == len(PUBLISHED_NUMBERS) and numbers.keys() <= {*PUBLISHED_NUMBERS} and len(numbers) == len(names):
        names = [numbers.get(number, "") for number in PUBLISHED_NUMBERS]
    elif count != len(names):
        raise UserError(
            f"{file} has supervoxels of {count} scans, but there are {len(names)} with the template; give exactly "
            "those scans, or name them by their numbers in the published data set, such as img0002.nii.gz."
        )
    return WarpedSupervoxels(file.absolute(), tuple(names), stem(template))


@lru_cache(maxsize=1)
def _open(file: Path, stamp: int) -> torch.Tensor:
    """The tensor in the file, uint8 (scans, layers, I, J, K), read where it is used. stamp: changes with the file."""
    cure = "give the file of warped supervoxels (.pth), or download it again"
    try:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # as PyTorch before 1.6 wrote it
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, ValueError, EOFError, KeyError, AttributeError, IndexError) as error:
        raise UserError(f"{file} is not a file of torch.save, or it is damaged; {cure}.") from error
    if not isinstance(content, torch.Tensor):
        raise UserError(f"{file} holds no tensor but a {type(content).__name__}; {cure}.")
    if content.dtype != torch.uint8 or content.ndim != 5 or 0 in content.shape:
        raise UserError(
            f"{file} holds {str(content.dtype).removeprefix('torch.')} {_by(content.shape)}, but uint8 scans x layers "
            f"x three axes are expected; {cure}."
        )
    return content


def turn_to_world(layers: np.ndarray, grid: Grid, name: str) -> tuple[np.ndarray, Grid]:
    """Layers (layers, I, J, K) with axes along R, A and S, and their grid. Raises UserError for a scan that is oblique
    or whose voxels are no cubes, since such a frame cannot be the canonical one."""
    axes = grid.affine[:3, :3] / grid.spacing
    order = np.abs(axes).argmax(1)  # which axis of the array runs along R, A, S
    along = axes[range(3), order]
    cubes = np.ptp(grid.spacing) <= 1e-3 * grid.spacing[0]
    if sorted(order) != [0, 1, 2] or np.abs(along).min() < 1 - OBLIQUE or not cubes:
        raise UserError(
            f"The scan {name} must have voxels that are cubes along the world's axes, since warped supervoxels are "
            "used as they are; give the resampled scans for which they were made."
        )
    turned = np.transpose(layers, (0, *(order + 1)))
    turned = np.flip(turned, tuple(axis + 1 for axis in range(3) if along[axis] < 0))
    i, j, k = turned.shape[1:]
    return np.ascontiguousarray(turned), Grid.centred(grid.centre, (i, j, k), float(grid.spacing.mean()))


def find_field(own: np.ndarray, grid: Grid, layers: np.ndarray, template: Grid, what: str) -> DisplacementField:
    """The field from a scan to the template, on the halved ``grid``, at whose voxels it has the supervoxels ``own``.

    own, layers: uint8 (layers, I, J, K) of the scan and of the template. A voxel of the scan belongs where the template
    has the same combination of supervoxels, or the mean of these places. Voxels without supervoxels, or with a
    combination that the template lacks, follow the nearest one. Raises UserError where few combinations are found.
    """
    here, there = (np.ascontiguousarray(np.moveaxis(a, 0, -1)).reshape(-1, len(a)) for a in (own, layers))
    key = np.dtype((np.void, len(layers)))
    combinations, cell = np.unique(there.view(key)[:, 0], return_inverse=True)
    voxels = np.indices(layers.shape[1:]).reshape(3, -1)
    sizes = np.bincount(cell)
    places = np.stack([np.bincount(cell, axis) for axis in voxels]) / sizes
    wanted = here.view(key)[:, 0]
    index = np.searchsorted(combinations, wanted).clip(max=len(combinations) - 1)
    covered = here.any(1)
    found = (combinations[index] == wanted) & covered
    if not covered.any() or found.sum() < MIN_FOUND * covered.sum():
        raise UserError(f"{what} are not those of the template; give files that belong together.")
    displacement = (places[:, index] - np.indices(own.shape[1:]).reshape(3, -1)).reshape(3, *own.shape[1:])
    nearest = ndimage.distance_transform_edt(~found.reshape(own.shape[1:]), return_distances=False, return_indices=True)
    source = (slice(None), *nearest)
    filled = displacement[source]
    smooth = np.stack([ndimage.gaussian_filter(part, SMOOTHING_VOXELS, mode="nearest") for part in filled])
    pooled = F.avg_pool3d(torch.from_numpy(smooth)[None], 2)[0]
    return field_from_voxels(pooled.permute(1, 2, 3, 0).numpy(), grid, template, control=grid.pooled(2))


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
