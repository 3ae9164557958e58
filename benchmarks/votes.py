"""The votes of a cohort's labels for a consensus, carried into a template's space by the fields of any program."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cohort import is_inside
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.label_maps import find_box, resample_labels
from SlicRegLib.images.volumes import Volume
from SlicRegLib.registration.consensus import Consensus, Organ
from SlicRegLib.teaching.agreement import THRESHOLDS

THRESHOLD = 0.4
LEAST_SCANS = 5
"""That must show a voxel, of those with the organ, unless there are fewer."""


@dataclass(frozen=True, eq=False)
class CarriedLabels:
    """A training scan's labels in the template's space.

    places: of each organ that the scan has, the numbers of its voxels in the flattened grid; it may be empty. seen: the
    voxels that the scan shows, packed bits.
    """

    places: dict[int, np.ndarray]
    seen: np.ndarray

    def sees(self, voxels: np.ndarray) -> np.ndarray:
        """Whether the scan shows voxels of these numbers (n,), bool."""
        return np.unpackbits(self.seen)[voxels].astype(bool)


def carry(labels: Volume, field: DisplacementField, grid: Grid) -> CarriedLabels:
    """A scan's ``labels`` on ``grid`` in the template's space, by the field template -> scan."""
    carried = resample_labels(labels.data, labels.grid, grid, field).ravel()
    seen = is_inside(labels.grid, field(grid.points())).numpy().ravel() | (carried != 0)
    places = {int(value): np.flatnonzero(carried == value) for value in np.unique(labels.data) if value}
    return CarriedLabels(places, np.packbits(seen))


def count_votes(scans: list[CarriedLabels], value: int, grid: Grid) -> Organ | None:
    """An organ's share of votes, with the threshold that suits the scans best; None where no vote arrives."""
    raters = [scan for scan in scans if value in scan.places]
    near = np.unique(np.concatenate([scan.places[value] for scan in raters]))
    own = np.stack([np.isin(near, scan.places[value], assume_unique=True) for scan in raters])
    seen = np.stack([scan.sees(near) for scan in raters])
    shares = np.zeros(grid.shape, np.float32)
    shares.ravel()[near] = share_votes(own.sum(0), seen.sum(0), min(LEAST_SCANS, len(raters)))
    box = find_box(shares > 0)
    if box is None:
        return None
    threshold, agreement = choose_threshold(own, seen)
    i, j, k = (side.start for side in box)
    kept = np.round(255 * shares[box]).astype(np.uint8)
    return Organ(value, f"label {value}", kept, (i, j, k), threshold, len(raters), agreement)


def share_votes(votes: np.ndarray, seen: np.ndarray, least: int) -> np.ndarray:
    """Votes per scan that sees the voxel; 0 where fewer than ``least`` do."""
    return np.where(seen >= least, votes / np.maximum(seen, 1), 0).astype(np.float32)


def choose_threshold(own: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """The threshold at which scans agree best with the votes of the others, and their mean Dice there.

    own, seen: (scans, voxels) bool, whether the voxel is the organ's in the scan and whether the scan shows it.
    """
    if len(own) < 2:
        return THRESHOLD, 0.0
    others = share_votes(own.sum(0) - own, seen.sum(0) - seen, min(LEAST_SCANS, len(own) - 1))
    scores = []
    for threshold in THRESHOLDS:
        chosen = (others > threshold) & seen
        scores.append(np.mean(2 * (chosen & own).sum(1) / np.maximum(chosen.sum(1) + own.sum(1), 1)))
    best = int(np.argmax(scores))
    return THRESHOLDS[best], float(scores[best])


def with_threshold(consensus: Consensus, threshold: float) -> Consensus:
    """One for all organs."""
    return replace(consensus, organs=tuple(replace(organ, threshold=threshold) for organ in consensus.organs))
