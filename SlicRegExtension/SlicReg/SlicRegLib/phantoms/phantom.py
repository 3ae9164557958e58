"""Synthetic trunk CT cohort: each seed is another subject with the same 13 labelled abdominal organs.

The anatomy is one table of implicit shapes in a canonical body frame (mm; x to the patient's Right,
y Anterior, z Superior; the origin lies in front of the first lumbar vertebra). A subject maps its
voxels into that frame through a random pose, body size and smooth warp, and paints the table in order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from .anatomy import ANATOMY, Part
from .shapes import INF, column

ORGANS: dict[int, str] = {
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    4: "gallbladder",
    5: "esophagus",
    6: "liver",
    7: "stomach",
    8: "aorta",
    9: "inferior vena cava",
    10: "portal and splenic vein",
    11: "pancreas",
    12: "right adrenal gland",
    13: "left adrenal gland",
}


@dataclass(frozen=True)
class PhantomOptions:
    """Sampling grid and between-subject variation. A range r is uniform from -r to r."""

    shape: tuple[int, int, int] = (112, 96, 120)
    """Voxels along I, J, K."""
    spacing_mm: float | tuple[float, float, float] = 3.5
    """Voxel edge, one for all axes or one for each."""
    origin_mm: float = 18.0
    """Range of the scanner's origin along each axis, mm."""
    translation_mm: float = 18.0
    """Range of the body's position inside the grid along each axis, mm."""
    rotation_deg: float = 9.0
    """Range of the body's rotation about each axis, degrees."""
    size_fraction: float = 0.11
    """Range of the body's size along each axis, as a fraction of the mean size."""
    warp_mm: float = 8.0
    """Standard deviation of the free-form warp along each axis, mm."""
    warp_scale_mm: float = 70.0
    """Distance between control points of the warp, mm; larger is smoother."""
    organ_shift_mm: float = 4.0
    """Range of each organ's own displacement along each axis, mm."""
    organ_scale_fraction: float = 0.08
    """Range of each organ's own scale along each axis, as a fraction."""
    hu_variation: float = 1.0
    """Factor on the standard deviation of each tissue's HU between subjects."""
    noise_hu: float = 15.0
    """Standard deviation of the scanner's noise, HU."""
    noise_grain_voxels: float = 0.5
    """Sigma of the Gaussian that correlates the noise, voxels."""


@dataclass(frozen=True)
class Phantom:
    """One subject; array axes I, J, K run to the patient's Right, Anterior and Superior."""

    image: np.ndarray
    """(I, J, K) float32, HU."""
    labels: np.ndarray
    """(I, J, K) uint8: 0 for background or a key of ORGANS."""
    affine: np.ndarray
    """(4, 4) float64, voxel -> world RAS mm."""
    places: np.ndarray
    """(3, I, J, K) float32: each voxel's position in the canonical body, mm. Positions of two subjects that are equal
    correspond: the truth that a registration seeks."""


def _smooth_field(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: np.ndarray, scale_mm: float
) -> np.ndarray:
    """Gaussian random field (I, J, K) float32 of mean 0 and sd 1: cubic B-splines with random control values."""
    bases = []
    for size, step in zip(shape, spacing, strict=True):
        knots = np.arange(-4, int(np.ceil(size * step / scale_mm)) + 6.0)
        basis = BSpline.design_matrix(np.arange(size) * step / scale_mm, knots, 3).toarray()
        bases.append((basis / np.linalg.norm(basis, axis=1, keepdims=True)).astype(np.float32))
    field = rng.standard_normal([basis.shape[1] for basis in bases], np.float32)
    for basis in bases:  # each pass consumes the first axis and appends the sampled one
        field = np.tensordot(field, basis, (0, 1))
    return field


def _canonical_points(rng: np.random.Generator, options: PhantomOptions, spacing: np.ndarray) -> np.ndarray:
    """Canonical coordinates of every voxel centre, (3, I, J, K) float32 mm, for a random subject."""
    warp = options.warp_mm * np.stack(
        [_smooth_field(rng, options.shape, spacing, options.warp_scale_mm) for _ in range(3)]
    )
    # x + u(x) cannot fold while the Jacobian of u stays below 1 in norm, so steep warps are scaled down
    stride = max(1, min(options.shape) // 24)
    coarse = warp[:, ::stride, ::stride, ::stride]
    steepness = np.sqrt(sum(np.square(g).sum(0) for g in np.gradient(coarse, *(spacing * stride), axis=(1, 2, 3))))
    warp *= np.float32(min(1.0, 0.75 / max(float(steepness.max()), 1e-6)))
    angles, shift, size = rng.uniform(-1, 1, (3, 3)) * [
        [options.rotation_deg],
        [options.translation_mm],
        [options.size_fraction],
    ]
    pose = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * (1 + size)
    inverse = np.linalg.inv(pose).astype(np.float32)
    # the grid is centred below the canonical origin, so that it shows the liver's dome but not the whole chest
    axes = [
        ((np.arange(n) - (n - 1) / 2) * s - t).astype(np.float32)
        for n, s, t in zip(options.shape, spacing, shift + [0, 0, 38], strict=True)
    ]
    for axis, along in enumerate(axes):
        warp[axis] += along.reshape([-1 if i == axis else 1 for i in range(3)])
    return np.tensordot(inverse, warp, 1)


def _window(points: np.ndarray, low: np.ndarray, high: np.ndarray, margin: float) -> tuple[slice, ...] | None:
    """Slices of the voxels whose ``points`` (3, I, J, K) lie between low and high (3,) mm, plus a margin; None where
    there are none."""
    stride = 4
    coarse = points[:, ::stride, ::stride, ::stride]
    inside = ((coarse > column(low - margin, 4)) & (coarse < column(high + margin, 4))).all(0)
    if not inside.any():
        return None
    hits = [np.flatnonzero(np.any(inside, axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    return tuple(slice(max(0, (hit[0] - 1) * stride), (hit[-1] + 1) * stride + 1) for hit in hits)


def _distance(part: Part, points: np.ndarray) -> np.ndarray:
    """Signed distance (mm, negative inside) of points (3, ...), given in the part's own frame, to the part."""
    within_period = points
    if part.period:
        within_period = points.copy()
        within_period[2] = np.mod(points[2] + part.period / 2, part.period) - part.period / 2
    total = part.shapes[0].distance(within_period)
    for shape in part.shapes[1:]:
        other = shape.distance(within_period)
        melt = np.maximum(part.blend - np.abs(total - other), 0) ** 2 / (4 * part.blend) if part.blend else 0
        total = np.minimum(total, other) - melt
    for cut in part.cuts:
        total = np.maximum(total, -cut.distance(points))
    return total


class _Painter:
    """Paints parts into one subject's image and labels."""

    def __init__(self, rng: np.random.Generator, options: PhantomOptions, spacing: np.ndarray):
        self.rng, self.options, self.spacing = rng, options, spacing
        self.points = _canonical_points(rng, options, spacing)
        self.clumps = _smooth_field(rng, options.shape, spacing, 13.0)
        self.texture = _smooth_field(rng, options.shape, spacing, 9.0)
        self.image = np.full(options.shape, -1000, np.float32)
        self.labels = np.zeros(options.shape, np.uint8)
        self.placements: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def _placement(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Scale (3,) and offset (3,) in mm that take the part's own frame to the canonical one."""
        if not part.group:
            return np.ones(3), np.zeros(3)
        if part.group not in self.placements:
            scale = 1 + self.options.organ_scale_fraction * self.rng.uniform(-1, 1, 3)
            shift = self.options.organ_shift_mm * self.rng.uniform(-1, 1, 3)
            pivot = np.mean([np.asarray(shape.centre) for shape in part.shapes], axis=0)
            self.placements[part.group] = scale, pivot + shift - scale * pivot
        return self.placements[part.group]

    def paint(self, part: Part) -> None:
        scale, offset = self._placement(part)
        shift_hu = part.hu_sd * self.options.hu_variation * self.rng.standard_normal()
        bounds = [shape.bounds() for shape in part.shapes]
        low, high = np.min([b[0] for b in bounds], axis=0), np.max([b[1] for b in bounds], axis=0)
        if part.period:
            low[2], high[2] = -INF, INF
        window = _window(self.points, low * scale + offset, high * scale + offset, part.blend + 3)
        if window is None:
            return
        box = (slice(None), *window)
        local = (self.points[box] - column(offset, 4)) * column(1 / scale, 4)
        distance = _distance(part, local) * np.float32(scale.mean())
        edge = np.float32(1.1 * self.spacing.mean())  # mm over which a boundary fades: partial volume
        image, labels = self.image[window], self.labels[window]
        for depth, layer in enumerate(part.layers):
            level = distance + np.float32(layer.inset)
            if layer.grain is not None:
                level = np.maximum(level, 9 * (np.float32(layer.grain) - self.clumps[window]))
            cover = np.clip(np.float32(0.5) - level / edge, 0, 1)
            image += cover * (np.float32(layer.hu + shift_hu) + part.texture * self.texture[window] - image)
            if depth == 0:
                labels[cover > 0.5] = part.label


def make_phantom(seed: int, options: PhantomOptions = PhantomOptions()) -> Phantom:
    """The subject of this seed: image in HU and labels, both (I, J, K) along R+, A+, S+, and their affine.

    The affine maps voxel indices to RAS world mm; it holds the spacing on its diagonal and a random origin.
    The same seed and options always give the same arrays.
    """
    rng = np.random.default_rng(seed)
    spacing = np.broadcast_to(np.asarray(options.spacing_mm, np.float64), (3,))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = options.origin_mm * rng.uniform(-1, 1, 3) - spacing * (np.asarray(options.shape) - 1) / 2
    painter = _Painter(rng, options, spacing)
    for part in ANATOMY:
        painter.paint(part)
    noise = gaussian_filter(rng.standard_normal(options.shape, np.float32), options.noise_grain_voxels)
    noise *= options.noise_hu / noise.std()
    return Phantom(np.maximum(painter.image + noise, -1024).astype(np.float32), painter.labels, affine, painter.points)
