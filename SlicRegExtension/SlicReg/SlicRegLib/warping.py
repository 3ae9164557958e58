"""Sampling, displacement fields, their inverse and their Jacobian: the only caller of ``grid_sample``.

A `DisplacementField` maps points p (world RAS mm) to p + u(p). Fields are "pull" fields: the field that
warps a moving image onto a fixed grid lives on the fixed grid and points to the moving image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from .geometry import Grid, apply_affine, bounding_grid

_SLAB_VOXELS = 2_000_000  # voxels resampled at a time; bounds memory on large scans


def sample(volume: torch.Tensor, grid: Grid, points: torch.Tensor, mode="bilinear", fill: float | None = None):
    """Values of ``volume`` (C, I, J, K) lying on ``grid`` at world ``points`` (..., 3) mm -> (C, ...).

    fill: the value outside the grid; None repeats the edge. mode: "bilinear" (trilinear) or "nearest".
    """
    return _sample_at(volume, grid.to_normalised(points).flip(-1).to(volume.dtype), mode, fill)


def _sample_at(volume: torch.Tensor, coordinates: torch.Tensor, mode: str, fill: float | None) -> torch.Tensor:
    """`sample` at normalised coordinates (..., 3) in the order of grid_sample: k, j, i."""
    values = F.grid_sample(volume[None], coordinates.reshape(1, 1, 1, -1, 3), mode=mode, padding_mode="border",
                           align_corners=False).reshape(volume.shape[0], *coordinates.shape[:-1])
    if fill is not None:  # as in ITK: a voxel is its whole box, and outside of all boxes there is nothing to blend with
        values.masked_fill_((coordinates.abs() > 1).any(-1), fill)
    return values


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """u with p -> p + u(p): ``vectors`` (3, I, J, K) float32 in RAS mm on ``grid``, linear in between.

    Outside its grid the edge value is repeated; fields made for files end in zeros (see `tapered`), so that
    programs that repeat the edge (VTK) and programs that assume zero (ITK) agree.
    """

    vectors: torch.Tensor
    grid: Grid

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Displacements (..., 3) mm at world points (..., 3)."""
        return sample(self.vectors, self.grid, points.to(self.vectors)).movedim(0, -1)

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Displaced world points, (..., 3) mm."""
        return points + self.at(points)

    def to(self, device) -> DisplacementField:
        return DisplacementField(self.vectors.to(device), self.grid)

    def on(self, grid: Grid) -> DisplacementField:
        """The same field sampled on another grid."""
        return DisplacementField(self.at(grid.points(self.vectors.device)).movedim(-1, 0), grid)


def identity_field(grid: Grid) -> DisplacementField:
    return DisplacementField(torch.zeros(3, *grid.shape), grid)


def affine_field(matrix: np.ndarray, grid: Grid) -> DisplacementField:
    """That of a 4x4 world ``matrix``."""
    points = grid.points()
    return DisplacementField((apply_affine(matrix, points) - points).movedim(-1, 0).contiguous(), grid)


def resample(volume: torch.Tensor, grid: Grid, target: Grid, field: DisplacementField | None = None,
             mode="bilinear", fill: float | None = None) -> torch.Tensor:
    """``volume`` (C, I, J, K) on ``grid`` pulled onto ``target`` through ``field``; through a field in bounded memory."""
    places = _along_axes(grid, target) if field is None and mode == "bilinear" else None
    if places:
        return _resample_along_axes(volume, places, fill)
    step = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    slabs = []
    for start in range(0, target.shape[0], step):
        slab = target.slab(start, start + step)
        if field:
            slabs.append(sample(volume, grid, field(slab.points(volume.device)), mode, fill))
        else:  # from voxel to voxel in one step
            matrix = (grid.normalised_from_world @ slab.affine)[[2, 1, 0, 3]]
            slabs.append(_sample_at(volume, apply_affine(matrix, slab.voxels(volume.device)).to(volume.dtype), mode, fill))
    return torch.cat(slabs, 1)


def _along_axes(grid: Grid, target: Grid) -> list[tuple[int, torch.Tensor]] | None:
    """For each axis of ``target``, the axis of ``grid`` that it runs along and where on it its voxels lie; None for other grids."""
    matrix = grid.voxel_from_world @ target.affine
    sources = np.abs(matrix[:3, :3]).argmax(0)
    rest = np.abs(matrix[:3, :3]).copy()
    rest[sources, range(3)] = 0
    if sorted(sources) != [0, 1, 2] or (rest @ target.shape).max() > 1e-3:  # voxels
        return None
    return [(int(source), torch.from_numpy(matrix[source, axis] * np.arange(n) + matrix[source, 3]))
            for axis, (source, n) in enumerate(zip(sources, target.shape))]


def _resample_along_axes(volume: torch.Tensor, places: list[tuple[int, torch.Tensor]], fill: float | None) -> torch.Tensor:
    """Trilinear interpolation axis by axis, many times faster than point by point: parallel grids allow it."""
    values = volume.permute(0, *(1 + source for source, _ in places))
    order = sorted(range(3), key=lambda axis: len(places[axis][1]) / values.shape[1 + axis])  # the axis that shrinks most first
    for axis in order:
        n, place = values.shape[1 + axis], places[axis][1].to(volume.device)
        low = place.clamp(0, n - 1).floor().long().clamp_max(max(n - 2, 0))
        share = (place.clamp(0, n - 1) - low).to(volume.dtype).view([-1 if a == axis + 1 else 1 for a in range(4)])
        first = values.index_select(1 + axis, low)
        values = first.lerp_(values.index_select(1 + axis, (low + 1).clamp_max(n - 1)), share.expand_as(first))
    if fill is not None:
        for axis, (source, place) in enumerate(places):
            outside = ((place < -0.5) | (place > volume.shape[1 + source] - 0.5)).nonzero()[:, 0].to(volume.device)
            values.index_fill_(1 + axis, outside, fill)
    return values.contiguous()


def resample_labels(labels: np.ndarray, grid: Grid, target: Grid, field: DisplacementField | None = None) -> np.ndarray:
    """Label map (I, J, K) of integers pulled onto ``target``: one-hot, linear, arg max; 0 outside.

    One interpolation of each label's indicator and an arg max; nearest-neighbour sampling would move
    surfaces by up to half a voxel and change volumes. Each label is sampled only near where it is.
    """
    values = np.unique(labels[labels != 0])
    number = np.zeros(int(values.max()) + 1 if len(values) else 1, np.int32)
    number[values] = np.arange(1, len(values) + 1)
    parts = [_indicator(labels, grid, value, box) for value, box in zip(values, ndimage.find_objects(number[labels]))]
    result = np.zeros(target.shape, labels.dtype)
    step = max(1, _SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    for start in range(0, target.shape[0], step):
        points = target.slab(start, start + step).points().reshape(-1, 3)
        points = field(points) if field else points
        voxel = grid.to_voxel(points)
        inside = ((voxel > -0.5) & (voxel < torch.tensor(grid.shape) - 0.5)).all(1)
        found = torch.zeros(len(points), dtype=torch.int32)  # index into values, 1 up
        best, background = torch.zeros(len(points)), torch.ones(len(points))
        for index, (indicator, part, low, high) in enumerate(parts, 1):
            near = (inside & (voxel > low).all(1) & (voxel < high).all(1)).nonzero()[:, 0]
            share = sample(indicator, part, points[near])[0]
            wins = share > best[near]
            found[near[wins]], best[near[wins]] = index, share[wins]
            background[near] -= share
        found[best <= background + 1e-6] = 0
        slab = result[start:start + step]
        slab[...] = np.concatenate([[0], values]).astype(labels.dtype)[found.numpy()].reshape(slab.shape)
    return result


def _indicator(labels: np.ndarray, grid: Grid, value: int, box: tuple[slice, ...]):
    """Where ``labels`` are ``value``, (1, i, j, k), on the part of the grid around ``box``; lowest and highest voxel of its reach."""
    box = tuple(slice(max(0, part.start - 1), min(n, part.stop + 1)) for part, n in zip(box, labels.shape))
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(np.array([float(part.start) for part in box]))
    indicator = torch.from_numpy((labels[box] == value).astype(np.float32))[None]
    low, high = (torch.tensor([float(getattr(part, end)) for part in box]) for end in ("start", "stop"))
    return indicator, Grid(indicator.shape[1:], affine), low - 1, high


def jacobian_determinant(field: DisplacementField) -> torch.Tensor:
    """det(I + du/dx) at the inner points of the field's grid by central differences, (I-2, J-2, K-2)."""
    return torch.linalg.det(_jacobian(field)[1:-1, 1:-1, 1:-1])


def _jacobian(field: DisplacementField) -> torch.Tensor:
    """I + du/dx on the field's grid, (I, J, K, 3, 3); one-sided at the border."""
    per_voxel = torch.stack(torch.gradient(field.vectors, dim=(1, 2, 3)), -1).movedim(0, -2)  # (I, J, K, u, voxel)
    voxel_from_world = torch.as_tensor(field.grid.voxel_from_world[:3, :3]).to(per_voxel)
    return per_voxel @ voxel_from_world + torch.eye(3).to(per_voxel)


def least_stretch(field: DisplacementField) -> torch.Tensor:
    """How strongly p -> p + u(p) compresses at each point of the field's grid, (I, J, K): 1 not at all, below 0 it folds.

    sqrt(3) det(J) / |cof(J)| (Frobenius), the smallest over the eight cells that meet at the point, with the edge repeated
    outside the grid. Where it is s, the inverse stretches by at most sqrt(3) / s.
    """
    return _least_stretch(_edged(field.vectors), torch.as_tensor(field.grid.voxel_from_world[:3, :3]))


def _least_stretch(vectors: torch.Tensor, voxel_from_world: torch.Tensor) -> torch.Tensor:
    """`least_stretch` at the inner points of ``vectors`` (3, I, J, K)."""
    voxel_from_world = voxel_from_world.to(vectors)
    identity = torch.eye(3).to(vectors).view(3, 3, 1, 1, 1)
    inner = [slice(None), *[slice(1, -1)] * 3]
    sides = []  # of each axis: differences to the voxel before and to the voxel behind
    for axis in (1, 2, 3):
        steps = vectors[tuple(slice(None) if a == axis else s for a, s in enumerate(inner))].diff(dim=axis)
        sides.append((steps.narrow(axis, 0, steps.shape[axis] - 1), steps.narrow(axis, 1, steps.shape[axis] - 1)))
    least = None
    for per_voxel in product(*sides):
        x, y, z = (sum(per_voxel[k] * voxel_from_world[k, axis] for k in range(3)) + identity[axis] for axis in range(3))
        cofactors = [torch.linalg.cross(y, z, dim=0), torch.linalg.cross(z, x, dim=0), torch.linalg.cross(x, y, dim=0)]
        stretch = (x * cofactors[0]).sum(0) / sum(c.square().sum(0) for c in cofactors).sqrt().clamp_min(1e-12)
        least = stretch if least is None else torch.minimum(least, stretch)
    return least * 3**0.5


def _edged(vectors: torch.Tensor) -> torch.Tensor:
    return F.pad(vectors[None], (1,) * 6, mode="replicate")[0]


def unfolded(field: DisplacementField, stretch: float = 0.5, steps: int = 500) -> DisplacementField:
    """``field`` smoothed where, and only where, it folds or compresses to less than ``stretch`` (see `least_stretch`).

    So it gets an inverse that a grid can hold. Each step replaces the vectors around such points by their neighbours'
    mean, only where the last step left work; what ``steps`` do not mend stays.
    """
    vectors, axes = field.vectors.clone(), torch.as_tensor(field.grid.voxel_from_world[:3, :3])
    low, high = torch.zeros(3, dtype=torch.long), torch.tensor(field.grid.shape)
    for _ in range(steps):
        box = (slice(None), *(slice(int(a), int(b)) for a, b in zip(low, high)))
        around = _edged(vectors)[(slice(None), *(slice(int(a), int(b) + 2) for a, b in zip(low, high)))]
        bad = _least_stretch(around, axes) < stretch
        if not bad.any():
            break
        weight = F.avg_pool3d(F.max_pool3d(bad[None, None].to(vectors), 3, 1, 1), 3, 1, 1)[0]
        vectors[box] += weight * (F.avg_pool3d(around[None], 3, 1)[0] - vectors[box])
        where = bad.nonzero().cpu() + low
        low = (where.amin(0) - 4).clamp_min(0)  # a step moves points within 2 voxels, which changes the stretch within 3
        high = torch.minimum(where.amax(0) + 5, torch.tensor(field.grid.shape))
    return DisplacementField(vectors, field.grid)


def tapered(field: DisplacementField, scan: Grid, margin_mm: float) -> DisplacementField:
    """The field made fit for files: unchanged over ``scan`` and a cell of the field around it, brought smoothly to
    zero within ``margin_mm`` from there.

    The result's grid is the field's, grown by whole voxels (the edge repeated) or cut so that it just holds scan and margin.
    """
    cell = np.abs(field.grid.affine[:3, :3]).sum(1).max()  # cells that reach into the scan keep all their corners
    box = bounding_grid([scan], 1.0, cell).corners()
    low, high = box.min(0), box.max(0)
    reach = field.grid.to_voxel(bounding_grid([scan], 1.0, cell + margin_mm).corners())
    first, last = np.floor(reach.min(0)).astype(int), np.ceil(reach.max(0)).astype(int)
    affine = field.grid.affine.copy()
    affine[:3, 3] = field.grid.to_world(first.astype(float))
    grown = field.on(Grid(tuple(last - first + 1), affine))
    points = grown.grid.points()
    outside = torch.maximum(torch.tensor(low) - points, points - torch.tensor(high)).clamp_min(0).amax(-1)
    ramp = 0.5 + 0.5 * torch.cos(torch.pi * (outside / margin_mm).clamp(0, 1))
    return DisplacementField(grown.vectors * ramp.float(), grown.grid)


def invert(field: DisplacementField, grid: Grid, steps: int = 40, tolerance_mm: float = 0.02) -> DisplacementField:
    """The field v on ``grid`` with v(y) = -u(y + v(y)), so that ``field`` after v is the identity.

    Newton's method at every point of ``grid``, from a start found by pushing the field's own points forward, so that it
    also converges where the field stretches by more than two (where the usual fixed-point iteration diverges). A
    Newton step that makes the error larger is replaced by a fixed-point step, and each point keeps the best position
    it came across, so that folds leave the nearest answer instead of noise.
    """
    goal = grid.points().reshape(-1, 3)
    jacobian = _jacobian(field).reshape(*field.grid.shape, 9).movedim(-1, 0)
    best = goal + _pushed_start(field, grid).reshape(-1, 3)
    best_error = (goal - field(best)).norm(dim=-1)
    active = (best_error > tolerance_mm).nonzero()[:, 0]  # points still to be improved
    x = best[active]
    for _ in range(steps):
        error = goal[active] - field(x)
        matrix = sample(jacobian, field.grid, x).T.reshape(-1, 3, 3)
        matrix[torch.linalg.det(matrix) < 0.05] = torch.eye(3)
        candidate = x + torch.linalg.solve(matrix, error).clamp(-20, 20)
        distance = (goal[active] - field(candidate)).norm(dim=-1)
        worse = distance > error.norm(dim=-1)
        candidate[worse] = (x + 0.5 * error)[worse]
        distance[worse] = (goal[active[worse]] - field(candidate[worse])).norm(dim=-1)
        improved = distance < best_error[active]
        best[active[improved]], best_error[active[improved]] = candidate[improved], distance[improved]
        going = distance > tolerance_mm
        active, x = active[going], candidate[going]
        if not len(active):
            break
    return DisplacementField((best - goal).T.reshape(3, *grid.shape).contiguous(), grid)


def _pushed_start(field: DisplacementField, grid: Grid) -> torch.Tensor:
    """A first guess of the inverse displacement, (I, J, K, 3): the field's points pushed to where they go."""
    coarse = bounding_grid([grid, field.grid], spacing=float(max(grid.spacing.max(), field.grid.spacing.max()) * 2))
    points = field.grid.points().reshape(-1, 3)
    vectors = field.vectors.reshape(3, -1).T
    index = coarse.to_voxel(points + vectors).round().long()
    inside = ((index >= 0) & (index < torch.tensor(coarse.shape))).all(1)
    index = index[inside]
    flat = (index[:, 0] * coarse.shape[1] + index[:, 1]) * coarse.shape[2] + index[:, 2]
    total = torch.zeros(int(np.prod(coarse.shape)), 4)
    shift = vectors.mean(0)  # what lies beyond all that was pushed starts here: the scans may be metres apart
    total.index_add_(0, flat, torch.cat([shift - vectors[inside], torch.ones(len(flat), 1)], 1))
    total = total.T.reshape(1, 4, *coarse.shape)
    smooth = total
    for _ in range(4):  # fill the cells that nothing was pushed into from their neighbours
        smooth = F.avg_pool3d(smooth, 3, stride=1, padding=1)
    filled = torch.where(total[:, 3:] > 0, total[:, :3] / total[:, 3:].clamp_min(1e-6),
                         smooth[:, :3] / smooth[:, 3:].clamp_min(1e-6))
    return sample(filled[0], coarse, grid.points()).movedim(0, -1) - shift
