"""Synthetic trunk CT cohort: each seed is another subject with the same 13 labelled abdominal organs.

The anatomy is one table of implicit shapes in a canonical body frame (mm; x to the patient's Right,
y Anterior, z Superior; the origin lies in front of the first lumbar vertebra). A subject maps its
voxels into that frame through a random pose, body size and smooth warp, and paints the table in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import BSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

ORGANS: dict[int, str] = {
    1: "spleen", 2: "right kidney", 3: "left kidney", 4: "gallbladder", 5: "esophagus", 6: "liver",
    7: "stomach", 8: "aorta", 9: "inferior vena cava", 10: "portal and splenic vein", 11: "pancreas",
    12: "right adrenal gland", 13: "left adrenal gland",
}
INF = np.inf


@dataclass(frozen=True)
class PhantomOptions:
    """Sampling grid and between-subject variation; every range is symmetric and uniform unless stated."""

    shape: tuple[int, int, int] = (112, 96, 120)  # voxels along I, J, K
    spacing_mm: float | tuple[float, float, float] = 3.5  # voxel size, one for all axes or one for each
    origin_mm: float = 18.0  # range of the scanner origin per axis, mm
    translation_mm: float = 18.0  # range of the body position inside the grid per axis, mm
    rotation_deg: float = 9.0  # range of the body rotation about each axis, degrees
    size_fraction: float = 0.11  # range of the body size per axis, fraction of the mean size
    warp_mm: float = 8.0  # standard deviation of the free-form warp per axis, mm
    warp_scale_mm: float = 70.0  # control point distance of the warp, mm (larger is smoother)
    organ_shift_mm: float = 4.0  # range of each organ's own displacement per axis, mm
    organ_scale_fraction: float = 0.08  # range of each organ's own scale per axis, fraction
    hu_variation: float = 1.0  # factor on each tissue's between-subject HU standard deviation
    noise_hu: float = 15.0  # standard deviation of the scanner noise, HU
    noise_grain_voxels: float = 0.5  # Gaussian sigma that correlates the noise, voxels


@dataclass(frozen=True)
class Phantom:
    """One subject; array axes I, J, K run to the patient's Right, Anterior and Superior."""

    image: np.ndarray  # (I, J, K) float32, HU
    labels: np.ndarray  # (I, J, K) uint8, 0 for background or a key of ORGANS
    affine: np.ndarray  # (4, 4) float64, voxel index -> RAS world mm
    places: np.ndarray  # (3, I, J, K) float32, each voxel's place in the canonical body, mm: the truth that a registration seeks


# --- shapes: distance(points) is about the signed distance in mm, negative inside; points (3, ...) in mm ---

@dataclass(frozen=True)
class Blob:
    """Superellipsoid; an infinite radius makes it a column along that axis."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)  # degrees about x, y, z
    power: float = 2.0  # 2 is an ellipsoid, larger is boxier

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        reach = np.asarray(self.radii) if not any(self.turn) else np.full(3, max(self.radii))
        return np.asarray(self.centre) - reach, np.asarray(self.centre) + reach

    def distance(self, points: np.ndarray) -> np.ndarray:
        local = points - _column(self.centre, points.ndim)
        if any(self.turn):
            inverse = Rotation.from_euler("xyz", self.turn, degrees=True).as_matrix().T
            local = np.tensordot(inverse.astype(np.float32), local, 1)
        inverse_radii = _column(1.0 / np.asarray(self.radii), points.ndim)
        local = np.abs(local * inverse_radii) + np.float32(1e-4)
        slope = local if self.power == 2 else local ** np.float32(self.power - 1)
        total = (slope * local).sum(0)
        level = total ** np.float32(1 / self.power)
        # First-order distance: the level's excess over its gradient length.
        gradient = np.sqrt(np.square(slope * inverse_radii).sum(0)) * level / total
        return (level - 1) / gradient


@dataclass(frozen=True)
class Tube:
    """Smooth tube through the knots (x, y, z, radius), all in mm."""

    knots: tuple[tuple[float, float, float, float], ...]

    @property
    def centre(self) -> np.ndarray:
        return np.mean(self.knots, axis=0)[:3]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        knots = np.asarray(self.knots, float)
        return (knots[:, :3] - knots[:, 3:]).min(0) - 3, (knots[:, :3] + knots[:, 3:]).max(0) + 3

    def distance(self, points: np.ndarray) -> np.ndarray:
        count = len(self.knots)
        curve = PchipInterpolator(np.arange(count), np.asarray(self.knots, float))
        path = curve(np.linspace(0, count - 1, 3 * (count - 1) + 1)).astype(np.float32)
        best = np.full(points.shape[1:], np.float32(1e6))
        for start, end in zip(path[:-1], path[1:]):
            step = end[:3] - start[:3]
            offset = points - _column(start[:3], points.ndim)
            along = np.clip(np.einsum("a,a...->...", step / np.float32(step @ step), offset), 0, 1)
            offset -= _column(step, points.ndim) * along
            radius = start[3] + (end[3] - start[3]) * along
            np.minimum(best, np.sqrt(np.einsum("a...,a...->...", offset, offset)) - radius, out=best)
        return best


@dataclass(frozen=True)
class Half:
    """Half space beyond a plane, on the side the normal points to."""

    point: tuple[float, float, float]
    normal: tuple[float, float, float]

    def distance(self, points: np.ndarray) -> np.ndarray:
        normal = np.asarray(self.normal) / np.linalg.norm(self.normal)
        return np.float32(normal @ self.point) - np.tensordot(normal.astype(np.float32), points, 1)


@dataclass(frozen=True)
class Layer:
    """Tissue painted where a part is deeper than the inset."""

    inset: float  # mm below the part's surface
    hu: float
    grain: float | None = None  # keeps only where the clump field (mean 0, sd 1) exceeds this


@dataclass(frozen=True)
class Part:
    """A row of the anatomy: a blended union of shapes, less the cuts, filled with layers from the outside in."""

    shapes: tuple
    layers: tuple[Layer, ...]
    label: int = 0  # a key of ORGANS, 0 for unlabelled tissue
    hu_sd: float = 6.0  # between subjects, HU
    texture: float = 5.0  # standard deviation of the smooth texture inside, HU
    cuts: tuple = ()
    blend: float = 0.0  # mm over which the shapes melt together
    group: str = ""  # parts of one group share one displacement and scale; "" stays put
    period: float = 0.0  # mm after which the part repeats along z, 0 for never


# --- the anatomy, in painting order: later rows cover earlier ones ---

def _both(*shapes) -> tuple:
    """The shapes and their mirror images across the midline."""
    def mirrored(shape):
        if isinstance(shape, Tube):
            return Tube(tuple((-x, y, z, radius) for x, y, z, radius in shape.knots))
        (x, y, z), (a, b, c) = shape.centre, shape.turn
        return replace(shape, centre=(-x, y, z), turn=(a, -b, -c))
    return shapes + tuple(map(mirrored, shapes))


def _rib(head_z: float, sweep_deg: float) -> Tube:
    """Right rib inside the trunk wall, from its head at the spine forwards and down by the sweep angle."""
    angle = np.radians(np.linspace(14, sweep_deg, 5))
    x = 131 * np.sin(angle) ** 0.8
    y = -91 * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.8
    z = head_z - 32 * angle
    return Tube(tuple((float(a), float(b), float(c), 5.5) for a, b, c in zip(x, y, z)))


_DOMES = (Blob((60, -2, 28), (68, 80, 80)), Blob((-62, -4, 26), (63, 78, 80)), Blob((0, 4, 45), (60, 70, 50)))
_STOMACH = (Tube(((-52, -8, 71, 25), (-62, 18, 48, 29), (-52, 44, 10, 23), (-18, 52, -8, 17), (20, 38, -2, 11))),)
_COLON = (Tube(((96, 0, -135, 20), (100, 8, -65, 20), (88, 34, -40, 18), (45, 60, -52, 17), (0, 64, -58, 16),
                (-50, 58, -42, 16), (-92, 26, -12, 16), (-104, -8, -40, 15), (-102, -12, -95, 14),
                (-88, 0, -140, 14))),)
_SPINE_END = (Half((0, 0, -128), (0, 0, -1)),)
_BONE = (Layer(0, 620), Layer(3.5, 230))

ANATOMY: tuple[Part, ...] = (
    # trunk wall: its outline scales apart from the muscle, which varies the fat's thickness
    Part((Blob((0, -1, 0), (161, 119, INF), power=2.4),), (Layer(0, 20), Layer(3, -102)), texture=7, group="outline"),
    Part((Blob((0, 0, 0), (138, 98, INF), power=2.5),), (Layer(0, 55), Layer(12, -98)), texture=9),
    Part(_both(Blob((33, -88, 0), (28, 17, INF), power=2.5), Tube(((26, -58, 20, 6), (38, -50, -60, 18),
         (52, -35, -140, 20), (70, 5, -230, 18))), Blob((82, -62, -200), (46, 34, 62))), (Layer(0, 58),), texture=9),
    # chest: lungs, heart and the two diaphragm domes that bulge into them
    Part(_both(Blob((71, -6, 130), (54, 74, INF), power=2.6)), (Layer(0, -830),), hu_sd=25, texture=30,
         cuts=(Half((0, 0, 72), (0, 0.35, -1)),)),
    Part((Blob((-20, 22, 142), (58, 46, 48), (0, 20, 0)),), (Layer(0, 20), Layer(4, 125), Layer(14, 165)),
         group="heart"),
    Part(_DOMES, (Layer(0, 55),), blend=12, cuts=(Half((0, 0, 62), (0, 0.35, -1)),)),
    Part(_DOMES, (Layer(4, -98),), blend=12, texture=8),
    # skeleton
    Part((Blob((0, -53, 0), (21, 17, INF)),), (Layer(0, 90),), cuts=_SPINE_END),
    Part((Blob((0, -53, 0), (23, 18, 13), power=3.2), Blob((0, -80, 0), (17, 14, 12), power=3),
          Blob((0, -97, -3), (4.5, 14, 10))) + _both(Blob((30, -78, 2), (18, 5.5, 6))),
         _BONE, hu_sd=60, texture=40, cuts=_SPINE_END, blend=3, period=34),
    Part((Blob((0, -80, 0), (9.5, 8, INF)),), (Layer(0, 32),)),
    Part((Blob((0, -66, -165), (44, 17, 52), (-18, 0, 0)),) + _both(Blob((78, -40, -158), (9, 58, 52), (0, 14, -38)),
         Blob((88, -4, -232), (25, 25, 25)), Tube(((95, -20, -205, 15), (60, 25, -245, 9)))),
         _BONE, hu_sd=60, texture=40),
    *(Part((rib,), (Layer(0, 560), Layer(3, 300)), hu_sd=50, texture=40)
      for head, sweep in ((218, 150), (184, 150), (150, 145), (116, 135), (82, 112), (48, 70))
      for rib in _both(_rib(head, sweep))),
    # bowel and bladder: loops differ from subject to subject, as they do in life
    Part((Blob((0, 26, -110), (96, 46, 78), power=2.6),), (Layer(0, 38, 0.0), Layer(6, 70, 0.9), Layer(6, -650, 1.5)),
         texture=10),
    Part(_COLON, (Layer(0, 48), Layer(4, 15), Layer(5, -780, 0.3)), texture=14, group="colon"),
    Part((Blob((0, 22, -232), (40, 34, 30)),), (Layer(0, 45), Layer(4, 8)), group="bladder"),
    # upper abdominal organs
    Part((Blob((64, -2, 36), (60, 74, 68), (0, -12, 0)), Blob((-2, 40, 56), (62, 32, 32), (0, -14, 0))),
         (Layer(0, 106),), 6, hu_sd=8, blend=26, group="liver",
         cuts=(Half((60, 14, -10), (-0.62, 0.1, -0.8)), Blob((10, -40, 15), (38, 46, 60)),
               Blob((54, -54, -38), (36, 34, 62)))),
    Part((Tube(((24, -4, 82, 5), (58, -12, 70, 5), (92, -20, 52, 3.5))), Tube(((24, -2, 82, 5), (50, 28, 70, 4))),
          Tube(((42, 8, 38, 6), (72, 0, 30, 4.5), (92, -4, 12, 3)))), (Layer(0, 150),), 6, hu_sd=8, group="liver"),
    Part((Blob((-98, -28, 42), (23, 44, 50), (0, -10, 24)),), (Layer(0, 121),), 1, hu_sd=8, group="spleen",
         cuts=(Blob((-68, -4, 38), (24, 34, 60), (0, -10, 24)),)),
    Part(_STOMACH, (Layer(0, 72), Layer(5, 22)), 7, group="stomach"),
    Part(_STOMACH, (Layer(5, -900),), 7, cuts=(Half((0, 38, 0), (0, -1, 0)),), group="stomach", texture=10),
    Part((Blob((58, -42, -34), (27, 23, 54), (-8, 10, 20)),), (Layer(0, 184), Layer(9, 142)), 2, hu_sd=10,
         cuts=(Blob((36, -32, -34), (17, 14, 20)),), group="right kidney"),
    Part((Blob((-60, -42, -20), (27, 23, 55), (-8, -10, -20)),), (Layer(0, 184), Layer(9, 142)), 3, hu_sd=10,
         cuts=(Blob((-38, -32, -20), (17, 14, 20)),), group="left kidney"),
    Part((Tube(((26, 38, -2, 11), (46, 24, -12, 12), (46, 12, -44, 12), (18, 6, -54, 11), (-18, 10, -42, 10))),),
         (Layer(0, 55), Layer(4, 28), Layer(5, -500, 1.2)), group="pancreas"),
    Part((Blob((60, 44, -14), (16, 17, 27), (28, 0, 0)),), (Layer(0, 40), Layer(2, 10)), 4, texture=2,
         group="gallbladder"),
    Part((Tube(((32, 20, -32, 14), (24, 20, -12, 14), (6, 22, 4, 10), (-22, 12, 12, 11), (-56, -8, 22, 11),
         (-80, -18, 32, 9))),), (Layer(0, 98),), 11, texture=12, group="pancreas"),
    # vessels and the thin organs, last so that nothing thins them further
    Part(_both(Tube(((2, -26, -98, 7), (30, -30, -160, 6), (55, 10, -230, 5)))), (Layer(0, 185),)),
    Part((Tube(((8, 8, 0, 6), (10, 16, -50, 5), (4, 30, -95, 3.5))), Tube(((-8, -12, 2, 4), (-4, 8, -30, 4),
         (-6, 24, -90, 3)))), (Layer(0, 175),), group="pancreas"),
    Part((Tube(((-84, -24, 36, 4.5), (-56, -18, 18, 5), (-22, 0, 6, 5.5), (8, 8, 2, 7.5), (26, 12, 22, 7.5),
         (48, 8, 38, 7))),), (Layer(0, 188),), 10, hu_sd=9, group="pancreas"),
    Part((Tube(((18, -24, -102, 10), (20, -20, -40, 11), (22, -17, 20, 12), (26, -9, 62, 12), (16, 6, 108, 12))),),
         (Layer(0, 152),), 9, hu_sd=9),
    Part((Tube(((-24, -36, 250, 12), (-20, -36, 100, 12), (-10, -24, 35, 11), (-8, -24, -40, 10),
         (-5, -25, -100, 9))),), (Layer(0, 200),), 8, hu_sd=10),
    Part((Tube(((0, -24, 250, 9), (-4, -18, 120, 9), (-16, -8, 90, 9), (-36, -5, 72, 9))),),
         (Layer(0, 52), Layer(6, 20)), 5, texture=8),
    Part((Tube(((31, -30, 50, 5.6), (32, -42, 22, 5.4))), Tube(((31, -30, 50, 5.6), (46, -40, 28, 5.4)))),
         (Layer(0, 95),), 12, group="right adrenal"),
    Part((Tube(((-35, -24, 36, 5.6), (-31, -38, 8, 5.4))), Tube(((-35, -24, 36, 5.6), (-48, -34, 14, 5.4)))),
         (Layer(0, 95),), 13, group="left adrenal"),
)


# --- sampling ---

def _column(values, ndim: int) -> np.ndarray:
    """Three values as float32 (3, 1, ...), to broadcast against points of that many dimensions."""
    return np.asarray(values, np.float32).reshape((3,) + (1,) * (ndim - 1))


def _smooth_field(rng: np.random.Generator, shape, spacing: np.ndarray, scale_mm: float) -> np.ndarray:
    """Gaussian random field (I, J, K) float32 of mean 0 and sd 1: cubic B-splines with random control values."""
    bases = []
    for size, step in zip(shape, spacing):
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
        [_smooth_field(rng, options.shape, spacing, options.warp_scale_mm) for _ in range(3)])
    # x + u(x) cannot fold while the Jacobian of u stays below 1 in norm, so steep draws are damped.
    stride = max(1, min(options.shape) // 24)
    coarse = warp[:, ::stride, ::stride, ::stride]
    steepness = np.sqrt(sum(np.square(g).sum(0) for g in np.gradient(coarse, *(spacing * stride), axis=(1, 2, 3))))
    warp *= np.float32(min(1.0, 0.75 / max(float(steepness.max()), 1e-6)))
    angles, shift, size = rng.uniform(-1, 1, (3, 3)) * [
        [options.rotation_deg], [options.translation_mm], [options.size_fraction]]
    pose = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * (1 + size)
    inverse = np.linalg.inv(pose).astype(np.float32)
    # The grid is centred below the canonical origin, to see the liver's dome but not the whole chest.
    axes = [((np.arange(n) - (n - 1) / 2) * s - t).astype(np.float32)
            for n, s, t in zip(options.shape, spacing, shift + [0, 0, 38])]
    for axis, along in enumerate(axes):
        warp[axis] += along.reshape([-1 if i == axis else 1 for i in range(3)])
    return np.tensordot(inverse, warp, 1)


def _window(points: np.ndarray, low: np.ndarray, high: np.ndarray, margin: float) -> tuple[slice, ...] | None:
    """Slices of the voxel box that holds every point between low and high (mm), or None where there is none."""
    stride = 4
    coarse = points[:, ::stride, ::stride, ::stride]
    inside = ((coarse > _column(low - margin, 4)) & (coarse < _column(high + margin, 4))).all(0)
    if not inside.any():
        return None
    hits = [np.flatnonzero(inside.any(axis=tuple(i for i in range(3) if i != axis))) for axis in range(3)]
    return tuple(slice(max(0, (hit[0] - 1) * stride), (hit[-1] + 1) * stride + 1) for hit in hits)


def _distance(part: Part, points: np.ndarray) -> np.ndarray:
    """Signed distance (mm, negative inside) of the points (3, ...) to the part, in the part's own frame."""
    folded = points
    if part.period:
        folded = points.copy()
        folded[2] = np.mod(points[2] + part.period / 2, part.period) - part.period / 2
    total = part.shapes[0].distance(folded)
    for shape in part.shapes[1:]:
        other = shape.distance(folded)
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
        self.placements: dict[str, tuple] = {}

    def _placement(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Scale (3,) and offset (3,) in mm that take the part's own frame to the canonical one."""
        if not part.group:
            return np.ones(3), np.zeros(3)
        if part.group not in self.placements:
            scale = 1 + self.options.organ_scale_fraction * self.rng.uniform(-1, 1, 3)
            shift = self.options.organ_shift_mm * self.rng.uniform(-1, 1, 3)
            pivot = np.mean([shape.centre for shape in part.shapes], axis=0)
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
        local = (self.points[(slice(None), *window)] - _column(offset, 4)) * _column(1 / scale, 4)
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
