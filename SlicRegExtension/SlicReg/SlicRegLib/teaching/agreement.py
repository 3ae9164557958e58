"""How well a scan's labels agree with the consensus of the other scans, by threshold and smoothing of the votes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..geometry.label_maps import Box, cut_part, find_reach
from ..geometry.sampling import sample
from ..geometry.threads import one_thread
from ..images.arrays import read_arrays
from ..images.volumes import Volume
from .packing import save_arrays
from .study import Study
from .votes import LabelledScan, load_whole, read_votes

THRESHOLDS = tuple(np.round(np.arange(0.2, 0.625, 0.025), 3).tolist())
SMOOTHING_MM = (0.0, 1.0, 2.0)
"""Standard deviations of the Gaussian filters that are tried on the votes."""
_SLAB_VOXELS = 1_000_000  # compared at a time; bounds memory


@dataclass(frozen=True, eq=False)
class Count:
    """Of one organ: the number of scans, uint16 (i, j, k), that have it at each voxel of ``box``, a part of the
    consensus' grid, and how many scans have it at all."""

    votes: np.ndarray
    box: Box
    raters: int


def save_counts(path: Path, counts: Mapping[int, Count]) -> None:
    """To be read by `compare_scan` in other processes."""
    content = {
        "values": np.array(list(counts), np.int32),
        "raters": np.array([count.raters for count in counts.values()], np.int32),
        "boxes": np.array([[(side.start, side.stop) for side in count.box] for count in counts.values()], np.int32),
        "votes": np.concatenate([count.votes.ravel() for count in counts.values()]),
    }
    save_arrays(path, content)


@lru_cache(maxsize=1)
def _load_counts(path: Path, written: int) -> dict[int, Count]:
    """written: when; another file of that name is read again."""
    content, counts, end = read_arrays(path, largest=1 << 36), {}, 0
    for value, raters, ends in zip(*(content[key].tolist() for key in ("values", "raters", "boxes")), strict=True):
        i, j, k = (slice(*each) for each in ends)
        shape = [b - a for a, b in ends]
        begin, end = end, end + int(np.prod(shape))
        counts[value] = Count(content["votes"][begin:end].reshape(shape), (i, j, k), raters)
    return counts


@one_thread()
def compare_scan(study: Study, grid: Grid, folder: Path, counts: Path, labelled: LabelledScan) -> dict[int, np.ndarray]:
    """Of each organ of which the scan is a rater its Dice (smoothings, thresholds) with the consensus of the others, on
    the grid of the scan's labels.

    grid: of the consensus. folder, counts: where the votes of the scans and their sum are.
    """
    scan, to_template = study.scan(labelled.name)
    own, votes = load_whole(labelled.path, scan.original), read_votes(folder, labelled.name)
    sizes, dice = np.bincount(own.data.ravel()), {}
    for value, count in _load_counts(counts, counts.stat().st_mtime_ns).items():
        if value in labelled.organs and count.raters > 1:
            others = count.votes.copy()
            if box := votes[value].box:
                others[_within(box, count.box)] -= votes[value].mask
            part = grid.cropped([side.start for side in count.box], others.shape)
            shares = np.stack([smooth(others / (count.raters - 1), part, sigma) for sigma in SMOOTHING_MM])
            above, inside = _count_above(own, value, shares, part, to_template)
            dice[value] = 2 * inside / np.maximum(above + sizes[value], 1)
    return dice


def smooth(shares: np.ndarray, grid: Grid, sigma_mm: float) -> np.ndarray:
    """Float32."""
    shares = shares.astype(np.float32)
    return gaussian_filter(shares, sigma_mm / grid.spacing) if sigma_mm else shares


def _within(box: Box, outer: Box) -> Box:
    """A box as a part of another one that holds it."""
    i, j, k = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, outer, strict=True))
    return i, j, k


def _count_above(
    own: Volume, value: int, shares: np.ndarray, part: Grid, to_template: DisplacementField
) -> tuple[np.ndarray, np.ndarray]:
    """How many voxels of a label map have at least each share of votes, and how many of these have the label ``value``;
    both (smoothings, thresholds).

    shares: (smoothings, i, j, k) on the grid ``part``. Only the voxels that these can reach are looked at.
    """
    above, inside = np.zeros((2, len(shares), len(THRESHOLDS)), np.int64)
    places = find_reach([cut_part(value, torch.from_numpy(shares[0]), part, (0, 0, 0))], part, own.grid, to_template)[1]
    for i, j, k in places:
        axes = [torch.arange(side.start, side.stop, dtype=torch.float32) for side in (i, j, k)]
        step = max(1, _SLAB_VOXELS // (len(axes[1]) * len(axes[2])))
        for start in range(0, len(axes[0]), step):
            voxels = torch.stack(torch.meshgrid(axes[0][start : start + step], *axes[1:], indexing="ij"), -1)
            points = to_template(own.grid.to_world(voxels.reshape(-1, 3)))
            first = i.start + start
            mask = (own.data[first : first + len(voxels), j, k] == value).ravel()
            found = sample(torch.from_numpy(shares), part, points, fill=0.0).numpy()
            for row, each in enumerate(found):
                voted = each >= THRESHOLDS[0]
                above[row] += _count_at_least(each[voted])
                inside[row] += _count_at_least(each[voted & mask])
    return above, inside


def _count_at_least(shares: np.ndarray) -> np.ndarray:
    """How many reach each threshold."""
    number = np.searchsorted(THRESHOLDS, shares, side="right")
    return np.bincount(number, minlength=len(THRESHOLDS) + 1)[::-1].cumsum()[::-1][1:]
