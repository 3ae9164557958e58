"""The average shape of a cohort, from displacement fields that lead from one template to each of its scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.extension import extend
from ..geometry.field import DisplacementField
from ..geometry.folding import unfold
from ..geometry.grid import Grid, apply_affine, translation
from ..geometry.inverse import invert
from ..geometry.rigid import fit_rigid, mean_rotation

FEWEST = 5
"""Scans that must show a place for its average to count; what fewer show is continued from around."""


@dataclass(frozen=True, eq=False)
class ShownField:
    """The field from a template to one scan, and at which points of its grid, bool (i, j, k), the scan shows the
    place."""

    field: DisplacementField
    shown: torch.Tensor


@dataclass(frozen=True, eq=False)
class AverageShape:
    """Where the template's points lie in the average shape, and the other way round. Both fields are in mm.

    onto: template -> average, on the template's control grid. back: average -> template, on the average's. moved_mm:
    how far the template's body moves on average when both frames' centres lie on each other.
    """

    onto: DisplacementField
    back: DisplacementField
    moved_mm: float

    def field_to(self, scan: DisplacementField) -> DisplacementField:
        """The field from the average to a scan, of that from the template to it."""
        start = self.back.grid.points()
        return DisplacementField((scan(self.back(start)) - start).movedim(-1, 0).contiguous(), self.back.grid)

    def field_from(self, scan: DisplacementField) -> DisplacementField:
        """The field from a scan to the average, of that from it to the template."""
        start = scan.grid.points()
        return DisplacementField((self.onto(scan(start)) - start).movedim(-1, 0).contiguous(), scan.grid)


def find_average_shape(frame: Grid, region: torch.Tensor, fields: Sequence[ShownField], average: Grid) -> AverageShape:
    """The mean of the shapes that ``fields`` take the template to, in their mean pose.

    frame: of the template, whose centre goes to that of the ``average``'s. region: its body, bool, on the grid of
    ``fields``. average: the control grid of the average's frame. Each scan's pose, the rigid map that fits it best, is
    taken out before the mean, since the mean of bodies turned differently would be smaller than each of them; then the
    body is turned into the mean pose.
    """
    control = fields[0].field.grid
    points = control.points()
    body = points[region].double().numpy()
    total, count = torch.zeros(*control.shape, 3), torch.zeros(control.shape)
    rotations = []
    for each in fields:
        there = each.field(points)
        pose = fit_rigid(body, there[region].double().numpy(), each.shown[region].double().numpy() + 1e-6)
        total += (apply_affine(np.linalg.inv(pose), there) - points) * each.shown[..., None]
        count += each.shown
        rotations.append(pose[:3, :3])
    mean = (total / count.clamp_min(1)[..., None]).movedim(-1, 0)
    mean = extend(mean, count >= min(FEWEST, len(fields)))
    turn = np.eye(4)
    turn[:3, :3] = mean_rotation(rotations)
    laid = translation(average.centre) @ turn @ translation(-frame.centre)
    moved = apply_affine(laid, points + mean.movedim(0, -1))
    onto = unfold(DisplacementField((moved - points).movedim(-1, 0).contiguous(), control))
    straight = points + torch.as_tensor(average.centre - frame.centre, dtype=torch.float32)
    distance = (onto(points) - straight)[region].norm(dim=-1)
    return AverageShape(onto, invert(onto, average), float(distance.double().mean()))
