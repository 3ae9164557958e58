"""Grids and frames: the only place where voxel, world and normalised coordinates are converted.

Frames
    voxel       (i, j, k), array indices; integers are voxel centres
    world       (x, y, z) in mm, RAS+
    normalised  (i, j, k) scaled so that -1 and 1 are the outer faces of the first and last voxel
                (torch's ``align_corners=False``), in array order

Points and vectors convert differently: `Grid.to_world` moves points, origin included; `Grid.vectors_to_world` turns
and scales displacements, which have no origin. All conversions take numpy arrays or torch tensors and return the kind
and the precision that they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike

Points = TypeVar("Points", np.ndarray, torch.Tensor)


def apply_affine(matrix: np.ndarray, points: Points) -> Points:
    """Map ``points`` (..., 3) by a 4x4 ``matrix``."""
    if isinstance(points, torch.Tensor):
        offset = torch.tensor(matrix[:3, 3].tolist(), dtype=points.dtype, device=points.device)
        return apply_linear(matrix, points) + offset
    return apply_linear(matrix, points) + matrix[:3, 3]


def apply_linear(matrix: np.ndarray, vectors: Points) -> Points:
    """Map ``vectors`` (..., 3) by the upper left 3x3 part of ``matrix``, without its translation."""
    if isinstance(vectors, torch.Tensor):
        return vectors @ torch.tensor(matrix[:3, :3].tolist(), dtype=vectors.dtype, device=vectors.device).T
    return np.asarray(vectors) @ matrix[:3, :3].T


def translation(offset: ArrayLike) -> np.ndarray:
    """4x4 matrix that adds ``offset`` (3,)."""
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def unravel(index: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Flat indices (n,) of an array of ``shape`` (I, J, K) -> voxel coordinates (n, 3) float32."""
    _, J, K = shape
    return torch.stack([index // (J * K), index // K % J, index % K], -1).float()


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxels in the world. It never changes.

    `centred`, `strided`, `pooled` and `halved` are adjectives of the grid that they return.

    shape: (I, J, K).
    affine: (4, 4) float64, voxel -> world RAS mm. The grid keeps a read-only copy.

    Raises ValueError for an empty shape or a matrix without an inverse.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"a grid needs a shape of three positive numbers, not {self.shape}")
        if affine.shape != (4, 4) or abs(np.linalg.det(affine)) < 1e-12:
            raise ValueError("a grid needs an invertible 4x4 affine")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def centred(cls, centre: ArrayLike, shape: Sequence[int], spacing: ArrayLike) -> Grid:
        """The grid along the world axes that is centred at ``centre``, the middle of its box, mm.

        spacing: one number or three, mm.
        """
        spacing = np.broadcast_to(np.asarray(spacing, float), 3)
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = np.asarray(centre, float) - spacing * (np.asarray(shape) - 1) / 2
        i, j, k = shape
        return cls((i, j, k), affine)

    @property
    def spacing(self) -> np.ndarray:
        """Voxel edge lengths along i, j, k in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def centre(self) -> np.ndarray:
        """World position of the middle of the grid's box, mm."""
        return apply_affine(self.affine, (np.asarray(self.shape) - 1) / 2)

    @property
    def shear(self) -> float:
        """Largest |cosine| between two axes: 0 for a rectangular grid."""
        axes = self.affine[:3, :3] / self.spacing
        return float(np.abs(axes.T @ axes - np.eye(3)).max())

    @property
    def voxel_from_world(self) -> np.ndarray:
        """(4, 4), the inverse of ``affine``."""
        return np.linalg.inv(self.affine)

    @property
    def normalised_from_voxel(self) -> np.ndarray:
        """(4, 4); the outer faces of the first and last voxel go to -1 and 1."""
        size = np.asarray(self.shape, float)
        matrix = np.diag([*(2 / size), 1.0])
        matrix[:3, 3] = 1 / size - 1
        return matrix

    @property
    def normalised_from_world(self) -> np.ndarray:
        """(4, 4), through voxel coordinates."""
        return self.normalised_from_voxel @ self.voxel_from_world

    def to_world(self, voxel: Points) -> Points:
        """Voxel -> world points, (..., 3)."""
        return apply_affine(self.affine, voxel)

    def to_voxel(self, world: Points) -> Points:
        """World -> voxel points, (..., 3)."""
        return apply_affine(self.voxel_from_world, world)

    def to_normalised(self, world: Points) -> Points:
        """World -> normalised points in array order, (..., 3)."""
        return apply_affine(self.normalised_from_world, world)

    def vectors_to_world(self, vectors: Points) -> Points:
        """Displacements in voxels along i, j, k -> displacements in world mm, (..., 3)."""
        return apply_linear(self.affine, vectors)

    def vectors_to_voxel(self, vectors: Points) -> Points:
        """Displacements in world mm -> displacements in voxels along i, j, k, (..., 3)."""
        return apply_linear(self.voxel_from_world, vectors)

    def voxels(self, device: torch.device | None = None) -> torch.Tensor:
        """Voxel coordinates of every voxel, (I, J, K, 3) float32."""
        axes = [torch.arange(n, dtype=torch.float32, device=device) for n in self.shape]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)

    def points(self, device: torch.device | None = None) -> torch.Tensor:
        """World coordinates of every voxel, (I, J, K, 3) float32, mm."""
        return self.to_world(self.voxels(device))

    def slab(self, start: int, stop: int) -> Grid:
        """The grid of array[start:stop]; a large grid is processed slab by slab to bound memory."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(np.array([start, 0, 0.0]))
        return Grid((min(stop, self.shape[0]) - start, *self.shape[1:]), affine)

    def strided(self, step: int) -> Grid:
        """The strided grid: that of array[::step, ::step, ::step], and of a convolution with that stride."""
        i, j, k = (-(-n // step) for n in self.shape)
        return self._resize(step, (i, j, k), 0.0)

    def pooled(self, step: int) -> Grid:
        """The pooled grid: that of means over step^3 blocks, with its voxels in the middle of each block."""
        i, j, k = (n // step for n in self.shape)
        return self._resize(step, (i, j, k), (step - 1) / 2)

    def padded(self, before: Sequence[int], after: Sequence[int]) -> Grid:
        """The grid with so many more voxels ``before`` the first and ``after`` the last one along each axis."""
        shape = [n + a + b for n, a, b in zip(self.shape, before, after, strict=True)]
        return self.cropped([-n for n in before], shape)

    def cropped(self, first: Sequence[int], shape: Sequence[int]) -> Grid:
        """The grid of ``shape`` that begins at voxel ``first`` of this one."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(np.asarray(first, float))
        i, j, k = shape
        return Grid((i, j, k), affine)

    def missing(self, other: Grid, margin: int = 0) -> tuple[list[int], list[int]]:
        """How many voxels `padded` must add before and after, so that the grid holds ``other``'s box; at least
        ``margin``."""
        corners = self.to_voxel(other.corners())
        before = np.ceil(-corners.min(0)).clip(margin).astype(int)
        after = np.ceil(corners.max(0) + 1 - np.asarray(self.shape)).clip(margin).astype(int)
        return before.tolist(), after.tolist()

    def halved(self) -> Grid:
        """The grid with halved voxel edges: `pooled` by 2 gives this grid back."""
        i, j, k = (2 * n for n in self.shape)
        return self._resize(0.5, (i, j, k), -0.25)

    def _resize(self, factor: float, shape: tuple[int, int, int], first: float) -> Grid:
        """Voxels ``factor`` times as large, the first at voxel (first, first, first) of this grid."""
        affine = self.affine.copy()
        affine[:3, :3] *= factor
        affine[:3, 3] = self.to_world(np.full(3, first))
        return Grid(shape, affine)

    def corners(self) -> np.ndarray:
        """World positions of the eight corners of the grid's box (outer faces of voxels), (8, 3) mm."""
        unit = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3)
        return self.to_world(unit * np.asarray(self.shape) - 0.5)

    def matches(self, other: Grid, tolerance_mm: float = 1e-2) -> bool:
        """Whether both grids have the same shape and place (corners within ``tolerance_mm``)."""
        return self.shape == other.shape and bool(np.abs(self.corners() - other.corners()).max() < tolerance_mm)


def bounding_grid(grids: Sequence[Grid], spacing: float, margin_mm: float = 0.0) -> Grid:
    """The axis-aligned grid of isotropic ``spacing`` (mm) that covers all ``grids`` and a margin around them."""
    corners = np.concatenate([g.corners() for g in grids])
    low, high = corners.min(0) - margin_mm, corners.max(0) + margin_mm
    shape = np.maximum(2, np.ceil((high - low) / spacing - 1e-6).astype(int) + 1)
    return Grid.centred((low + high) / 2, shape.tolist(), spacing)
