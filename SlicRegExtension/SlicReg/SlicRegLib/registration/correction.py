"""Borders that labels taught: where the cohort's votes for an organ are divided, the patient's own image decides.

After the registration, a small perceptron for each organ looks at the voxels of the template that some scans count to
the organ and others do not: at the target's Hounsfield units around the place, carried to the template, at the shares
of votes around it, and at where in the organ it lies. Its answer takes the place of the share. This is the corrective
learning of Wang et al. (NeuroImage 2011). The registration itself never sees a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid, bounding_grid
from ..geometry.resampling import resample
from ..geometry.threads import one_thread
from ..images.preparation import prepare
from ..images.volumes import Volume
from .consensus import Consensus
from .organs import SIZES, Organ

DIVIDED = (0.04, 0.96)
"""Shares of votes between which the perceptron decides."""
AROUND = torch.tensor(
    [[2 * n for n in step] for step in product((-1, 0, 1), repeat=3)]
    + [[sign * far * (axis == n) for n in range(3)] for far in (4, 7) for axis in range(3) for sign in (-1, 1)]
)
"""Voxels of the consensus' grid, (39, 3), at which the perceptron sees the image, from the one that it judges."""
BESIDE = torch.tensor([step for step in product((-2, 0, 2), repeat=3) if np.count_nonzero(step) <= 1])
"""And the shares, (7, 3)."""
REACH = 7
EDGE = 2
LEAST_SIDE = 2 * EDGE + 2
MOST_VOXELS = 200_000
WINDOWS = ((40.0, 150.0, -1.5, 1.5), (0.0, 600.0, -1.6, 2.5))
"""Level and width in HU of soft tissue and bone, and the least and the largest value that is told apart."""
SLOPE = 0.1
"""Of the leaky rectifiers between the layers."""


@one_thread()
def correct(consensus: Consensus, target: Volume, field: DisplacementField) -> Consensus:
    """The consensus with the shares and thresholds that hold for one patient, which need no further correction; itself,
    where no labels taught borders.

    field: from the template to the target.
    """
    if not any(organ.correction for organ in consensus.organs):
        return consensus
    grid, taught = consensus.grid, [organ for organ in consensus.organs if organ.correction]
    image = average_target(target, grid, taught, field)
    return replace(consensus, organs=tuple(_correct(organ, grid, image, field) for organ in consensus.organs))


def _correct(organ: Organ, grid: Grid, image: Volume, field: DisplacementField) -> Organ:
    if organ.correction is None or not len(voxels := find_divided(organ)):
        return organ
    weights, shares = torch.from_numpy(organ.correction.weights), organ.shares.copy()
    for part in voxels.split(MOST_VOXELS):  # bounds memory
        answers = perceive(weights, look_around(organ, part, grid, image, field)).sigmoid()
        bent = _bend(answers, organ.correction.threshold, organ.threshold)
        shares[tuple(part.T.numpy())] = (255 * bent).round().to(torch.uint8).numpy()
    return replace(organ, shares=shares, correction=None)


def _bend(answers: torch.Tensor, own: float, usual: float) -> torch.Tensor:
    """Answers as shares of votes: their ``own`` threshold becomes the ``usual`` one, so that they compare with the
    shares of voxels and organs that stay as they are."""
    above = usual + (answers - own) * ((1 - usual) / (1 - own))
    return torch.where(answers <= own, answers * (usual / own), above)


def average_target(target: Volume, grid: Grid, organs: Sequence[Organ], field: DisplacementField) -> Volume:
    """The target around the ``organs``, in voxels of the size of the consensus' ``grid``, so that noise does not depend
    on its slices. field: from the template to the target."""
    spacing = float(grid.spacing.mean())
    boxes = [grid.cropped(organ.first, organ.shares.shape).pooled(2) for organ in organs]
    reached = torch.cat([field(box.points().reshape(-1, 3)) for box in boxes]).double().numpy()
    whole = bounding_grid([target.grid], spacing)
    low, high = (np.clip(whole.to_voxel(end), 0, np.array(whole.shape) - 1) for end in (reached.min(0), reached.max(0)))
    first = np.maximum(np.floor(low).astype(int) - 2 * REACH, 0)
    last = np.minimum(np.ceil(high).astype(int) + 2 * REACH + 1, whole.shape)
    part = whole.cropped(first.tolist(), np.maximum(last - first, LEAST_SIDE).tolist())
    return Volume(prepare(target, part).numpy(), part)


def find_divided(organ: Organ) -> torch.Tensor:
    """The voxels (n, 3) of the organ's part of the grid where the votes are divided."""
    low, high = (255 * share for share in DIVIDED)
    return torch.from_numpy(np.argwhere((organ.shares > low) & (organ.shares < high)))


def look_around(
    organ: Organ, voxels: torch.Tensor, grid: Grid, image: Volume, field: DisplacementField
) -> torch.Tensor:
    """What the perceptron sees at ``voxels`` (n, 3) of the organ's part of the consensus' ``grid``: (n, SIZES[0]).

    image: the target as `average_target` gives it; its edge is repeated, but for the outermost voxels, which hold air
    where the scan ends. field: from the template to the target.
    """
    inner = image.grid.cropped([EDGE] * 3, [n - 2 * EDGE for n in image.grid.shape])
    hu = image.tensor[:, EDGE:-EDGE, EDGE:-EDGE, EDGE:-EDGE]
    low, high = voxels.amin(0), voxels.amax(0) + 1
    first = [int(a) + int(b) - REACH for a, b in zip(organ.first, low, strict=True)]
    part = grid.cropped(first, [int(n) + 2 * REACH for n in high - low])
    seen = resample(hu, inner, part, field)[0]
    hu = seen[tuple((voxels[:, None] - low + REACH + AROUND).movedim(-1, 0))]
    shares = torch.from_numpy(np.pad(organ.shares, 2).astype(np.float32) / 255)
    votes = shares[tuple((voxels[:, None] + 2 + BESIDE).movedim(-1, 0))]
    inside = np.argwhere(organ.shares > 255 * organ.threshold)
    middle = torch.from_numpy((inside if len(inside) else voxels.numpy()).mean(0))
    place = (voxels - middle).float() * torch.as_tensor(grid.spacing).float() / 15
    windows = [((hu - level) / width).clamp(least, most) for level, width, least, most in WINDOWS]
    return torch.cat([*windows, 2 * votes - 1, place], 1)


def perceive(weights: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """The logits (n,) of a perceptron with ``weights`` (`WEIGHTS`,), layer by layer the matrix, then the offsets."""
    x, begin = features, 0
    for number, (inputs, outputs) in enumerate(pairwise(SIZES)):
        matrix = weights[begin : begin + inputs * outputs].view(outputs, inputs)
        begin += inputs * outputs
        x = torch.addmm(weights[begin : begin + outputs], x, matrix.T)
        begin += outputs
        if number < len(SIZES) - 2:
            x = torch.nn.functional.leaky_relu(x, SLOPE)
    return x[:, 0]
