"""The consensus of a cohort's labels: each scan that has an organ votes for it, in the space of the template.

Nothing here shapes the registration: the fields were found without labels. Threshold and smoothing of the votes are
those with which the consensus of the others, carried to each scan, agrees best with its own labels.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ..cohort.label_files import find_labels_among, list_label_files
from ..cohort.label_names import LabelName
from ..errors import UserError
from ..geometry.grid import Grid
from ..geometry.inverse import invert
from ..geometry.label_maps import Box, cut_labels, find_box, find_boxes, measure_volumes
from ..geometry.sampling import sample
from ..images.volumes import load_labels
from ..progress import Progress
from ..registration.consensus import PERCENTILES, Consensus, Organ
from ..registration.image_features import CELL
from ..stages import CONSENSUS
from .study import Study

THRESHOLDS = tuple(np.round(np.arange(0.2, 0.625, 0.025), 3).tolist())
SMOOTHING_MM = (0.0, 1.0, 2.0)
"""Standard deviations of the Gaussian filters that are tried on the votes."""
MARGIN = 4
"""Voxels around an organ's votes in which the filter is applied."""


@dataclass(eq=False)
class _Votes:
    """Of one organ: how many scans have it at each voxel, which scans have it, and its volumes where all of it is
    shown."""

    count: np.ndarray
    raters: list[str] = field(default_factory=list)
    volumes_ml: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Case:
    """The labels of one scan: their file, and as they were carried to the template, uint16, compressed."""

    path: Path
    carried: bytes


def make_consensus(
    study: Study, labels: Path, names: Mapping[int, LabelName], grid: Grid, progress: Progress
) -> Consensus:
    """The consensus on ``grid``, in the template's space, of the labels in a folder that belong to scans of the study.

    labels: folder of label maps with the names of the scans; any of them may have any organs. Raises UserError where no
    scan has labels.
    """
    files, votes, cases = list_label_files(labels), dict[int, _Votes](), dict[str, _Case]()
    control = study.template().grid.pooled(CELL)
    for number, name in enumerate(study.scans):
        progress(CONSENSUS, 0.5 * number / len(study.scans), name)
        if not (path := find_labels_among(files, name)):
            continue
        own = load_labels(path)
        scan, to_template = study.scan(name)
        _check_place(path, own.grid, scan.original or own.grid)
        carried = cut_labels(own.data, own.grid).on(grid, invert(to_template, control))
        cases[name] = _Case(path, zlib.compress(carried.astype(np.uint16).tobytes(), 1))
        reached = find_boxes(carried)
        for value, (volume, complete) in measure_volumes(own.data, own.grid).items():
            # only where there are votes does the system give memory for them
            organ = votes.setdefault(value, _Votes(np.zeros(grid.shape, np.uint16)))
            if box := reached.get(value):
                organ.count[box] += carried[box] == value
            organ.raters.append(name)
            if complete:
                organ.volumes_ml.append(volume)
    if not cases:
        raise UserError(f"No file in {labels} has the name of a scan of the cohort; labels are matched by name.")
    boxes = {value: _widen(box, grid) for value, each in votes.items() if (box := find_box(each.count > 0))}
    if not boxes:
        raise UserError(f"The labels in {labels} hold nothing but background; check that they are label maps.")
    scores = _score(study, votes, boxes, cases, grid, progress)
    progress(CONSENSUS, 1.0, f"{len(boxes)} organs")
    smoothing = int(np.mean([score.max(1) for score in scores.values()], axis=0).argmax())
    organs = []
    for value in sorted(boxes):
        each, best = votes[value], int(scores[value][smoothing].argmax())
        shares = _smooth(each.count[boxes[value]] / len(each.raters), grid, SMOOTHING_MM[smoothing])
        known = names.get(value, LabelName(f"Label {value}"))
        volumes = np.percentile(each.volumes_ml, PERCENTILES) if each.volumes_ml else ()
        first = tuple(part.start for part in boxes[value])
        organs.append(
            Organ(
                value=value,
                name=known.name,
                shares=np.round(255 * shares).astype(np.uint8),
                first=(first[0], first[1], first[2]),
                threshold=THRESHOLDS[best],
                raters=len(each.raters),
                agreement=float(scores[value][smoothing, best]),
                volumes_ml=tuple(float(volume) for volume in volumes),
                colour=known.colour,
            )
        )
    return Consensus(grid, tuple(organs))


def _check_place(path: Path, labels: Grid, scan: Grid) -> None:
    """Raise UserError where labels reach beyond their scan: they would be counted in a wrong place. They may show less,
    since Slicer crops them."""
    corners, most = scan.to_voxel(labels.corners()), np.array(scan.shape)
    if (corners < -1.5).any() or (corners > most + 0.5).any():
        raise UserError(
            f"{path} (shape {labels.shape}) reaches beyond its scan (shape {scan.shape}); resample the labels to the "
            "scan's grid."
        )


def _score(
    study: Study,
    votes: dict[int, _Votes],
    boxes: dict[int, Box],
    cases: dict[str, _Case],
    grid: Grid,
    progress: Progress,
) -> dict[int, np.ndarray]:
    """Of each organ the mean Dice (smoothings, thresholds) of the scans that have it with the consensus of the others,
    on each scan's own grid."""
    dice = {value: list[np.ndarray]() for value in boxes}
    for number, (name, case) in enumerate(cases.items()):
        progress(CONSENSUS, 0.5 + 0.5 * number / len(cases), name)
        own, to_template = load_labels(case.path), study.scan(name)[1]
        points = to_template(own.grid.points()).reshape(-1, 3)
        voxels, labels = grid.to_voxel(points), own.data.ravel()
        carried = np.frombuffer(zlib.decompress(case.carried), np.uint16).reshape(grid.shape)
        for value, box in boxes.items():
            each = votes[value]
            if name in each.raters and len(each.raters) > 1:
                others = (each.count[box] - (carried[box] == value)) / (len(each.raters) - 1)
                part = grid.cropped([side.start for side in box], others.shape)
                near = _find_inside(voxels, box)
                dice[value].append(_compare(labels == value, near, points[near], others, part))
    alone = np.tile(np.isclose(THRESHOLDS, 0.5).astype(float), (len(SMOOTHING_MM), 1))  # nobody to compare with
    return {value: np.mean(each, axis=0) if each else alone for value, each in dice.items()}


def _find_inside(voxels: torch.Tensor, box: Box) -> torch.Tensor:
    """Numbers (m,) of the voxels (n, 3) that lie in a box."""
    low, high = (torch.tensor([float(getattr(side, end)) for side in box]) for end in ("start", "stop"))
    return ((voxels > low - 1) & (voxels < high)).all(1).nonzero()[:, 0]


def _compare(own: np.ndarray, near: torch.Tensor, points: torch.Tensor, others: np.ndarray, part: Grid) -> np.ndarray:
    """Dice (smoothings, thresholds) of a scan's mask with the ``others``' shares of votes.

    own: bool (n,), the mask. near: numbers (m,) of the voxels that lie among the votes. points: where these lie in the
    template's space, (m, 3) mm. others: (i, j, k) on the grid ``part``.
    """
    result = np.zeros((len(SMOOTHING_MM), len(THRESHOLDS)))
    edges, inside = [-1.0, *THRESHOLDS, np.inf], own[near.numpy()]
    for row, sigma in enumerate(SMOOTHING_MM):
        smooth = torch.from_numpy(_smooth(others, part, sigma).astype(np.float32))
        shares = sample(smooth[None], part, points, fill=0.0)[0].numpy()
        above = [np.histogram(each, edges)[0][::-1].cumsum()[::-1][1:] for each in (shares, shares[inside])]
        result[row] = 2 * above[1] / np.maximum(above[0] + own.sum(), 1)
    return result


def _smooth(shares: np.ndarray, grid: Grid, sigma_mm: float) -> np.ndarray:
    return gaussian_filter(shares.astype(np.float32), sigma_mm / grid.spacing) if sigma_mm else shares


def _widen(box: Box, grid: Grid) -> Box:
    i, j, k = (
        slice(max(0, part.start - MARGIN), min(n, part.stop + MARGIN)) for part, n in zip(box, grid.shape, strict=True)
    )
    return i, j, k
