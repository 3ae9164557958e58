"""Refinement of a field on image features: the detail that supervoxels are too coarse for.

A short instance optimisation in the manner of convexAdam's second stage (Siebert et al.): MIND-SSC descriptors (Heinrich
et al., MICCAI 2013) and windowed Hounsfield units of both scans are compared, Adam moves control points, three box filters
keep the field a smooth B-spline and differences between neighbours are penalised. First on features averaged over 2^3
voxels, then on every voxel, an eighth of them in each iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F

from .alignment import Adam
from .errors import refuse
from .geometry import unravel
from .prediction import smoothed
from .preparation import BODY_HU, Prepared
from .progress import Progress, silent
from .warping import DisplacementField

# the 12 pairs of the six face neighbours that are sqrt(2) apart: (axis, sign) each
_FACES = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
_PAIRS = [(a, b) for i, a in enumerate(_FACES) for b in _FACES[i + 1:] if a[0] != b[0]]
_WINDOWS = ((-900, -200), (-150, 250), (150, 850))  # HU: air to fat, soft tissue, bone
_CELL = 2  # voxels of the canonical frame per control point, and per voxel of the averaged features
_MARGIN = 6  # voxels around the body in which features are computed
_STILL = 1e-3  # gradients (difference per spacing) below this are rounding, and move nothing


@dataclass(frozen=True)
class RefinementOptions:
    """How the field is refined on image features."""

    iterations: int = 30  # of Adam on averaged features; 0: `register` refines nothing
    fine_iterations: int = 40  # and then on those of every voxel
    learning_rate: float = 1.0  # in control-point spacings
    regularisation: float = 1.25  # weight of squared differences between neighbouring control points (spacings)
    dilation: int = 1  # of MIND-SSC: voxels from the centre to the compared patches
    radius: int = 1  # of the patches, voxels
    intensity: float = 2.0  # weight of the windowed Hounsfield units beside MIND-SSC

    def __post_init__(self):
        refuse("Refinement", [
            (min(self.iterations, self.fine_iterations) < 0, "iterations must not be negative"),
            (self.learning_rate <= 0, "the learning rate must be positive"),
            (min(self.regularisation, self.intensity) < 0, "weights must not be negative"),
            (min(self.dilation, self.radius) < 1, "dilation and radius must be at least 1 voxel"),
        ])


def mind_ssc(hu: torch.Tensor, dilation: int = 1, radius: int = 1) -> torch.Tensor:
    """MIND self-similarity context of an image (I, J, K) -> (I, J, K, 12), each from 0 to 1.

    exp(-(d - min d) / v) where d are the mean squared differences between the patches around pairs of the six
    neighbours at ``dilation`` voxels, and v their mean, at least a ten-thousandth of its average (weighted by itself, so
    that air around the patient does not count).
    """
    edge = F.pad(hu[None, None], (dilation,) * 6, mode="replicate")[0, 0]

    def shifted(axis: int, sign: int) -> torch.Tensor:
        start = [dilation] * 3
        start[axis] += sign * dilation
        return edge[tuple(slice(s, s + n) for s, n in zip(start, hu.shape))]

    distances = torch.stack([(shifted(*a) - shifted(*b)).pow_(2) for a, b in _PAIRS], -1)
    distances = smoothed(distances, 2 * radius + 1)
    distances -= distances.amin(-1, keepdim=True)
    scale = distances.mean(-1, keepdim=True)
    average = float(scale.square().sum() / scale.sum().clamp_min(1e-12))
    return distances.div_(scale.clamp_min_(max(average * 1e-4, 1e-12)).neg_()).exp_()


def image_features(hu: torch.Tensor, options: RefinementOptions = RefinementOptions()) -> torch.Tensor:
    """What is compared at each voxel of a scan, (I, J, K) HU -> (I, J, K, 15): MIND-SSC, and where it is blind, HU windows."""
    windows = torch.stack([((hu - low) / (high - low)).clamp_(0, 1) for low, high in _WINDOWS], -1)
    return torch.cat([mind_ssc(hu, options.dilation, options.radius), options.intensity * windows], -1)


def refine(starts: Sequence[DisplacementField], fixed: Prepared, moving: Prepared, region: torch.Tensor,
           options: RefinementOptions = RefinementOptions(), progress: Progress = silent) -> DisplacementField:
    """The first of ``starts`` (fields fixed to moving, RAS mm) improved on the scans' image features, on a grid over the
    fixed frame. Where another start agrees better with the images, that is a sign that the first went astray: then all are
    refined, and the result that agrees best is returned.

    "Fixed" is the scan at whose voxels features are compared; `registration.finish` says which that is.

    region: bool (I, J, K) on ``fixed.grid``: where features are compared (the body); elsewhere the field is smooth.
    The regularisation acts on what is left after the fixed frame is laid on the moving frame, voxel on voxel.
    """
    device = starts[0].vectors.device
    control, own = (scan.grid.pooled(_CELL) for scan in (fixed, moving))
    home = control.voxels(device)
    wanted = _described(fixed.hu.to(device), region, options)
    found = _described(moving.hu.to(device), moving.hu > BODY_HU, options)
    coarse = _Comparison(wanted.averaged(), found.averaged(), region, control.shape)
    fine = [_Comparison(wanted, found, region, control.shape, corner) for corner in _ORDER]
    levels = (options.iterations, [coarse]), (options.fine_iterations, fine)
    moved = [(own.to_voxel(field(control.points(device)).double()) - home).movedim(-1, 0).float().contiguous()
             for field in starts]  # in control-point spacings, along i, j, k
    before = [coarse.gradient(start)[0].item() for start in moved]
    if before[0] <= min(before):
        moved = moved[:1]
    part = 1 / len(moved)
    reached = [_descended(start, levels, options, lambda share, message, n=n: progress("refinement", (n + share) * part, message))
               for n, start in enumerate(moved)]
    spline, _ = min(reached, key=lambda pair: pair[1])
    vectors = own.to_world((home + spline.movedim(0, -1)).double()) - control.points(device)
    return DisplacementField(vectors.movedim(-1, 0).float().contiguous(), control)


def _descended(moved: torch.Tensor, levels, options: RefinementOptions, progress) -> tuple[torch.Tensor, float]:
    """The spline (3, i, j, k) that Adam reaches from control points ``moved``, level by level, and its feature difference."""
    smooth = _Separable([_b_spline(n, moved.device) for n in moved.shape[1:]])
    total, done = options.iterations + options.fine_iterations, 0
    adam = Adam(moved, options.learning_rate, epsilon=_STILL)
    for iterations, comparisons in levels:
        for iteration in range(iterations):
            adam.learning_rate = options.learning_rate * (1 - done / total)  # Adam's steps do not shrink by themselves
            spline = smooth(moved)
            difference, gradient = comparisons[iteration % len(comparisons)].gradient(spline)
            moved.grad = smooth.adjoint(gradient + _roughness_gradient(spline, options.regularisation))
            adam.step()
            done += 1
            if done % 10 == 0:
                progress(done / total, f"feature difference {difference.item():.3f}")
    return smooth(moved), difference.item()


# every voxel's turn comes once in eight iterations; neighbours in time are far apart in space
_ORDER = ((0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 0, 1))


@dataclass(frozen=True, eq=False)
class _Features:
    """Features (i, j, k, C) of the part of a grid that begins at voxel ``first``; beyond it the edge is repeated."""

    values: torch.Tensor
    first: torch.Tensor

    def averaged(self) -> _Features:
        """Means over cells of _CELL^3 voxels."""
        values = F.avg_pool3d(self.values.movedim(-1, 0)[None], _CELL)[0].movedim(0, -1).contiguous()
        return _Features(values, self.first // _CELL)

    def at(self, voxels: torch.Tensor) -> torch.Tensor:
        """The rows (n, C) of whole voxels (n, 3)."""
        shape = torch.tensor(self.values.shape[:3], device=voxels.device)
        i, j, k = torch.minimum((voxels.long() - self.first).clamp_min(0), shape - 1).T
        return self.values[i, j, k]


def _described(hu: torch.Tensor, body: torch.Tensor, options: RefinementOptions) -> _Features:
    """The scan's features in the box of its body: the air around it is all alike."""
    box, first = [], []
    for axis, n in enumerate(hu.shape):
        seen = body.movedim(axis, 0).flatten(1).any(1).nonzero()
        low, high = (int(seen[0]) - _MARGIN, int(seen[-1]) + 1 + _MARGIN) if len(seen) else (0, n)
        first.append(max(0, low) // _CELL * _CELL)
        box.append(slice(first[-1], min(n, -(-high // _CELL) * _CELL)))
    return _Features(image_features(hu[tuple(box)], options), torch.tensor(first, device=hu.device))


class _Comparison:
    """The mean squared difference between features of both scans on a lattice of fixed voxels, and its gradient.

    The lattice has a voxel for each control point: all averaged ones, or one ``corner`` of each cell of _CELL^3. Values and
    derivatives of trilinear interpolation are written out: it takes a sixth of the time of automatic differentiation.
    """

    def __init__(self, wanted: _Features, found: _Features, region: torch.Tensor, shape, corner: tuple | None = None):
        device = wanted.values.device
        self.shape, self.found, self.step = shape, found, 1 if corner is None else _CELL
        if corner is None:  # a cell belongs to the region where one of its voxels does
            region = F.max_pool3d(region[None, None].float(), _CELL)[0, 0] > 0
        else:
            region = region[tuple(slice(c, c + _CELL * n, _CELL) for c, n in zip(corner, shape))]
        self.index = region.flatten().nonzero()[:, 0].to(device)
        voxels = unravel(self.index, shape) * self.step + torch.tensor(corner or (0, 0, 0), device=device)
        self.wanted, self.voxels = wanted.at(voxels), voxels - found.first
        self.size = torch.tensor(found.values.shape[:3], device=device)
        _, j, k, channels = found.values.shape
        self.rows = found.values.reshape(-1, channels)
        self.stride = torch.tensor([j * k, k, 1], device=device)
        self.corners = torch.tensor([a * j * k + b * k + c for a, b, c in product((0, 1), repeat=3)], device=device)
        self.between = None if corner is None else _Separable([_linear(n, c, device) for n, c in zip(shape, corner)])

    def gradient(self, spline: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """At displacements (3, i, j, k) of the lattice's cells: the mean difference in the region, and the gradient of its sum."""
        displacement = self.between(spline) if self.between else spline
        reached = self.voxels + self.step * displacement.flatten(1)[:, self.index].T
        at = torch.minimum(reached.clamp_min(0), self.size - 1.0)
        low = torch.minimum(at.floor(), (self.size - 2.0).clamp_min(0))
        x, y, z = (at - low).T
        index = ((low.long() @ self.stride)[:, None] + self.corners).clamp_max_(len(self.rows) - 1)
        rows = self.rows.index_select(0, index.flatten()).view(len(at), 8, -1)
        p, q, r = 1 - x, 1 - y, 1 - z
        weights = torch.stack([p * q * r, p * q * z, p * y * r, p * y * z, x * q * r, x * q * z, x * y * r, x * y * z], 1)
        residual = torch.bmm(weights[:, None], rows)[:, 0] - self.wanted
        a, b, c, d, e, f, g, h = torch.bmm(rows, residual[:, :, None])[:, :, 0].T
        slope = torch.stack([((e - a) * r + (f - b) * z) * q + ((g - c) * r + (h - d) * z) * y,
                             ((c - a) * r + (d - b) * z) * p + ((g - e) * r + (h - f) * z) * x,
                             ((b - a) * q + (d - c) * y) * p + ((f - e) * q + (h - g) * y) * x])
        slope *= (reached == at).T  # beyond the features the edge is repeated: nothing changes with the place
        gradient = torch.zeros_like(spline)
        gradient.view(3, -1)[:, self.index] = slope * (2 * self.step)
        return residual.square().sum() / max(1, len(at)), self.between.adjoint(gradient) if self.between else gradient


class _Separable:
    """A linear map of (3, i, j, k) that is a matrix along each axis."""

    def __init__(self, matrices: list[torch.Tensor]):
        self.matrices = matrices

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._applied(x, self.matrices)

    def adjoint(self, x: torch.Tensor) -> torch.Tensor:
        return self._applied(x, [m.T for m in self.matrices])

    @staticmethod
    def _applied(x, matrices):
        first, second, third = matrices
        x = torch.matmul(second, x @ third.T)
        return (first @ x.flatten(2)).unflatten(2, x.shape[2:])


def _b_spline(n: int, device: torch.device) -> torch.Tensor:
    """(n, n): three box filters of width 3, a cubic-B-spline-like smoothing, edges repeated."""
    index = torch.arange(n, device=device)
    box = sum(F.one_hot((index + offset).clamp(0, n - 1), n) for offset in (-1, 0, 1)).float() / 3
    return box @ box @ box


def _linear(n: int, corner: int, device: torch.device) -> torch.Tensor:
    """(n, n): values in the middle of n cells of _CELL voxels, interpolated at voxel ``corner`` of each cell."""
    index = torch.arange(n, device=device)
    place = (index + (corner + 0.5) / _CELL - 0.5).clamp(0, n - 1)
    return (1 - (place[:, None] - index).abs()).clamp_min(0)


def _roughness_gradient(smooth: torch.Tensor, weight: float) -> torch.Tensor:
    """Of weight / 3 * the sum of squared differences between neighbours along each axis."""
    gradient = torch.zeros_like(smooth)
    for axis in (1, 2, 3):
        step = smooth.diff(dim=axis) * (2 / 3 * weight)
        n = smooth.shape[axis]
        gradient.narrow(axis, 1, n - 1).add_(step)
        gradient.narrow(axis, 0, n - 1).sub_(step)
    return gradient
