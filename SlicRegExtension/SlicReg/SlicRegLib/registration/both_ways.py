"""The second direction of a registration: the inverse of the refined field, exact where both scans show the body."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..geometry.inverse import invert
from ..geometry.masks import dilate_box
from ..geometry.resampling import align_axes, interpolate_along_axes, resample
from ..images.preparation import AIR_HU, BODY_HU, PreparedScan
from ..images.volumes import Volume

MARGIN = 4
"""Voxels around the fixed scan's frame that its field covers at least."""
FINEST_MM = 4.5
"""Largest spacing of the inverse's lattice. On a wider one, linear interpolation between its points would keep field
and inverse more than 0.1 mm apart on average."""


def invert_finely(
    field: DisplacementField, fixed: PreparedScan, moving: PreparedScan, template: Volume | None = None
) -> DisplacementField:
    """The inverse of ``field``, moving to fixed, over the ``fixed`` scan's frame and the ``template``, the same scan as
    it was loaded: on a quarter of the lattice, and from there, in the body, on all of its points."""
    device = field.vectors.device
    frame, region = fixed.grid, fixed.region.to(device)
    while frame.spacing.max() > FINEST_MM:
        frame = frame.halved()
        for axis in range(3):
            region = region.repeat_interleave(2, axis)
    before, after = frame.missing(template.grid if template else frame, MARGIN)
    grid = frame.padded(before, after)
    coarse = invert(field, grid.pooled(4))
    positions = align_axes(coarse.grid, grid)
    assert positions is not None, "a pooled grid is parallel to its own"
    start = DisplacementField(interpolate_along_axes(coarse.vectors, positions), grid)
    where = F.pad(region, [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair])
    where = where | _reached(field, moving, grid)
    if template:
        where = where | _shows_body(template, grid).to(device)
    return _fit_between_points(invert(field, grid, start=start, where=where))


def _fit_between_points(field: DisplacementField) -> DisplacementField:
    """``field``, its points moved such that linear interpolation is right on average instead of at the points alone.

    Interpolation is off by t (1 - t) / 2 of a second difference at t between two points, which is 1/12 on average.
    """
    vectors = field.vectors.clone()
    for axis in (1, 2, 3):
        inner = vectors.narrow(axis, 1, vectors.shape[axis] - 2)
        inner.sub_(field.vectors.diff(n=2, dim=axis), alpha=1 / 12)
    return DisplacementField(vectors, field.grid)


def _reached(field: DisplacementField, moving: PreparedScan, grid: Grid) -> torch.Tensor:
    """Voxels of ``grid``, bool, around those to which ``field`` leads from the ``moving`` scan's region."""
    device = field.vectors.device
    points = moving.grid.points(device)[moving.region.to(device)]
    voxel = grid.to_voxel(field(points)).round().long()
    i, j, k = voxel[((voxel >= 0) & (voxel < torch.tensor(grid.shape, device=device))).all(1)].T
    reached = torch.zeros(grid.shape, dtype=torch.bool, device=device)
    reached[i, j, k] = True
    return dilate_box(reached, 1)


def _shows_body(scan: Volume, grid: Grid) -> torch.Tensor:
    """Voxels of ``grid``, bool, around those that are no air in the scan, table included."""
    positions = align_axes(scan.grid, grid)
    if positions is None:
        shown = resample(scan.tensor, scan.grid, grid, fill=AIR_HU)[0] > BODY_HU
    else:  # the nearest voxels, axis by axis
        shown = scan.tensor[0].permute([source for source, _ in positions])
        for axis, (_, position) in enumerate(positions):
            n = shown.shape[axis]
            shown = shown.index_select(axis, position.round().long().clamp(0, n - 1))
            beyond = (position < -0.5) | (position > n - 0.5)
            shown.index_fill_(axis, beyond.nonzero()[:, 0], AIR_HU)
        shown = shown > BODY_HU
    return dilate_box(shown, 1)
