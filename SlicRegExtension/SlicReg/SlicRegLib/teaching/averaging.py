"""The average of a cohort's images and image features, from fields that lead from its frame to each scan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.field import DisplacementField
from ..geometry.gather import rows_at
from ..geometry.grid import Grid, unravel
from ..geometry.sampling import sample
from ..images.preparation import AIR_HU, MAX_HU, PreparedScan
from ..images.volumes import Volume
from ..registration.atlas import CHANNELS, LEVELS, STORED, Atlas
from ..registration.image_features import describe_body
from .shape import FEWEST


@dataclass(frozen=True, eq=False)
class AveragedScan:
    """A scan of the cohort, and the field from the average's frame to it."""

    scan: PreparedScan
    field: DisplacementField


def average(cohort: Callable[[], Iterable[AveragedScan]], grid: Grid) -> Atlas:
    """The atlas on the canonical ``grid``, its image as well. cohort: gives the scans, each time they are gone
    through, which is twice: where the average has a body is known only when it is there.

    Where fewer than `FEWEST` scans show a place, or all if there are fewer, the average shows air.
    """
    points = grid.points()
    total, seen, scans = torch.zeros(grid.shape), torch.zeros(grid.shape), 0
    for each in cohort():
        there = each.field(points)
        shown = each.scan.shows(there)
        total += sample(each.scan.hu[None], each.scan.grid, there)[0] * shown
        seen += shown
        scans += 1
    known = seen >= min(FEWEST, scans)
    hu = torch.where(known, total / seen.clamp_min(1), AIR_HU).round()
    around = describe_body(hu, PreparedScan("", hu, grid).region, STORED)  # of air where nothing is known
    features = _average_features(cohort(), grid, around.first, around.values, known)
    first = (int(around.first[0]), int(around.first[1]), int(around.first[2]))
    image = Volume(hu.numpy(), grid)
    return Atlas(image, grid, features, first, seen.numpy().astype(np.uint16), scans)


def _average_features(
    cohort: Iterable[AveragedScan], grid: Grid, first: torch.Tensor, otherwise: torch.Tensor, known: torch.Tensor
) -> np.ndarray:
    """Uint8 (i, j, k, C), of the part of ``grid`` that begins at voxel ``first``; what is not ``known`` is taken from
    features (i, j, k, C)."""
    shape = otherwise.shape[:3]
    inside = known[tuple(slice(int(a), int(a) + n) for a, n in zip(first, shape, strict=True))]
    index = inside.flatten().nonzero()[:, 0]
    points = grid.to_world(unravel(index, shape) + first)
    total, count = torch.zeros(len(points), CHANNELS), torch.zeros(len(points), 1)
    for each in cohort:
        there = each.field(points)
        shown = each.scan.shows(there)
        own = describe_body(each.scan.hu, each.scan.region, STORED)
        part = each.scan.grid.cropped(own.first.tolist(), own.values.shape[:3])
        total[shown] += rows_at(own.values, part, there[shown])
        count += shown[:, None]
    features = otherwise.clone()
    features[inside] = total / count.clamp_min(1)
    return (features * LEVELS).round().numpy().astype(np.uint8)


def average_finely(scans: Iterator[tuple[Volume, DisplacementField]], grid: Grid, where: torch.Tensor) -> Volume:
    """The mean HU on a fine ``grid`` of scans as they were loaded, each with the field that leads to it; air except
    ``where``, bool (I, J, K), and where fewer than `FEWEST` show the place."""
    index, scan_count = where.flatten().nonzero()[:, 0], 0
    total, count = torch.zeros(len(index)), torch.zeros(len(index))
    for scan, field in scans:
        scan_count += 1
        hu = scan.tensor.clamp(AIR_HU, MAX_HU)
        for part in torch.arange(len(index)).split(1 << 19):  # bounds memory
            points = field(grid.to_world(unravel(index[part], grid.shape)))
            shown = (scan.grid.to_normalised(points).abs() <= 1).all(-1)
            total[part] += sample(hu, scan.grid, points)[0] * shown
            count[part] += shown
    known = count >= min(FEWEST, scan_count)
    mean = torch.full(grid.shape, AIR_HU)
    mean.view(-1)[index] = torch.where(known, total / count.clamp_min(1), AIR_HU).round()
    return Volume(mean.numpy(), grid)
