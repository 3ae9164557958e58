"""Cuts the template into layers of 127 supervoxels and background, as in Heinrich (MIDL 2021)."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from skimage.segmentation import slic

from ..errors import UserError
from ..geometry.grid import Grid, apply_affine
from ..geometry.sampling import sample
from ..images.preparation import AIR_HU, body_mask, network_input
from .options import SupervoxelOptions

CLASSES = 128
"""127 supervoxels and background 0, so that a layer fits in uint8."""
_CORNERS = ndimage.generate_binary_structure(3, 3)  # 26-connectivity


def cut(
    hu: torch.Tensor,
    grid: Grid,
    options: SupervoxelOptions = SupervoxelOptions(),
    progress: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
    """Supervoxel layers of a prepared template ``hu`` (I, J, K) on ``grid`` -> uint8 (layers, I, J, K), 0 = background.

    Each layer has exactly 128 classes. The result depends only on the image and the options. progress: called with the
    share that is done, 0 to 1.
    """
    distance = torch.from_numpy(ndimage.distance_transform_edt(~body_mask(hu).numpy(), sampling=grid.spacing)).float()
    layers = []
    for index in range(options.layers):
        layers.append(cut_layer(hu, distance, grid, options, options.seed * options.layers + index))
        progress((index + 1) / options.layers)
    return np.stack(layers)


def cut_layer(
    hu: torch.Tensor, distance: torch.Tensor, grid: Grid, options: SupervoxelOptions, seed: int
) -> np.ndarray:
    """One layer, uint8 (I, J, K): SLIC on the image under a random affine, transformed back and merged to 128 classes.

    distance: to the body, (I, J, K) mm. Raises UserError if even four times the segments give too few regions.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = options.affine_noise * torch.randn(3, 4, generator=generator, dtype=torch.float64).numpy()
    there = make_random_affine(grid, noise)
    points = apply_affine(there, grid.points())
    image = sample(network_input(hu)[None], grid, points, fill=network_input(torch.tensor(AIR_HU)).item())[0].numpy()
    mask = sample(distance[None], grid, points)[0].numpy() < options.margin_mm
    back = apply_affine(np.linalg.inv(there), grid.points())
    n_segments = options.n_segments
    while n_segments <= 4 * options.n_segments:
        regions = slic(
            image,
            n_segments=n_segments,
            compactness=options.compactness,
            max_num_iter=options.max_iterations,
            min_size_factor=options.min_size_factor,
            enforce_connectivity=True,
            mask=mask,
            channel_axis=None,
            start_label=1,
        )
        regions = sample(torch.from_numpy(regions.astype(np.float32))[None], grid, back, "nearest", fill=0.0)[0]
        regions = split_regions(regions.numpy().astype(np.int32))
        if regions.max() >= CLASSES - 1:
            return merge_regions(regions, CLASSES - 1).astype(np.uint8)
        n_segments = int(n_segments * 1.3)  # small or unusually shaped templates give fewer regions
    raise UserError(
        f"The template gives only {int(regions.max())} supervoxels of the {CLASSES - 1} needed; "
        "its body is too small for this voxel size: use smaller voxels."
    )


def make_random_affine(grid: Grid, noise: np.ndarray) -> np.ndarray:
    """The 4x4 world matrix that is I + ``noise`` (3, 4) in the grid's normalised frame."""
    matrix = np.eye(4)
    matrix[:3] += noise
    to_normalised = grid.normalised_from_world
    return np.linalg.inv(to_normalised) @ matrix @ to_normalised


def split_regions(regions: np.ndarray) -> np.ndarray:
    """Renumber int (I, J, K) so that each 26-connected part of each region has a number of its own, 1..n; 0 stays 0."""
    result = np.zeros_like(regions)
    count = 0
    for value, box in enumerate(ndimage.find_objects(regions), start=1):
        if box is not None:
            parts, n = ndimage.label(regions[box] == value, _CORNERS)
            inside = parts > 0
            result[box][inside] = parts[inside] + count
            count += n
    return result


def merge_regions(regions: np.ndarray, count: int) -> np.ndarray:
    """Merge the smallest region into the smallest neighbour that it touches until ``count`` remain, numbered 1..count.

    regions: int (I, J, K), numbered 1..n without gaps, n >= count. 0 is background: only a region that touches no other
    is merged into it. Ties go to the lower number, so that the result is unique.
    """
    n = int(regions.max())
    if n < count:
        raise ValueError(f"{n} regions cannot be merged to {count}")
    size = np.bincount(regions.ravel(), minlength=n + 1).tolist()
    neighbours = _find_neighbours(regions)
    into = list(range(n + 1))
    heap = [(size[r], r) for r in range(1, n + 1)]
    heapq.heapify(heap)
    alive = n
    while alive > count:
        smallest_size, region = heapq.heappop(heap)
        if into[region] != region or smallest_size != size[region]:
            continue  # an entry from before a merge
        target = min(neighbours[region], key=lambda r: (size[r], r), default=0)
        into[region] = target
        alive -= 1
        if target:
            size[target] += size[region]
            neighbours[target] |= neighbours[region] - {target}
            neighbours[target].discard(region)
            heapq.heappush(heap, (size[target], target))
        for other in neighbours[region]:
            neighbours[other].discard(region)
            if other != target:
                neighbours[other].add(target)
    return _renumber(regions, into)


def _find_neighbours(regions: np.ndarray) -> list[set[int]]:
    """For each region the set of regions that share a voxel face with it, without background."""
    pairs = []
    for axis in range(3):
        a, b = np.moveaxis(regions, axis, 0)[:-1].ravel(), np.moveaxis(regions, axis, 0)[1:].ravel()
        differ = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.unique(np.stack([a[differ], b[differ]]), axis=1))
    neighbours: list[set[int]] = [set() for _ in range(int(regions.max()) + 1)]
    for a, b in np.concatenate(pairs, 1).T.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    return neighbours


def _renumber(regions: np.ndarray, into: list[int]) -> np.ndarray:
    """Follow the chains of merges and number the remaining regions 1.. in order."""

    def root(region: int) -> int:
        while into[region] != region:
            region = into[region]
        return region

    roots = np.array([root(r) for r in range(len(into))])
    survivors = np.unique(roots[roots > 0])
    number = np.zeros(len(into), np.int32)
    number[survivors] = np.arange(1, len(survivors) + 1)
    return number[roots][regions]
