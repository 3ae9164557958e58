"""Images that are computed from a result for the views: displacement, change of volume, difference, deformed grid.

Voxels are (K, J, I), matrices (4, 4) from voxel indices (i, j, k) to RAS mm. All lie on the template, in the world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SlicRegLib.errors import UserError

from .node_arrays import compute_voxel_to_world
from .translation import _

OUTSIDE = -1000.0
"""Value of a map's voxels outside the body that both scans show."""


@dataclass(frozen=True, eq=False)
class Field:
    """The displacement field of a transform node."""

    vectors: np.ndarray
    """(K, J, I, 3) RAS mm, from the template to the target."""
    matrix: np.ndarray
    """(4, 4)."""


def view_field(transform) -> Field:
    """The field that a transform node holds, not copied. Raises UserError if it was edited into something else."""
    grid = transform.GetTransformFromParentAs("vtkOrientedGridTransform", False, True)
    image = grid and grid.GetDisplacementGrid()
    if not image:
        raise UserError(_("The transform is not a displacement field any more. Press Apply to register again."))
    direction = slicer.util.arrayFromVTKMatrix(grid.GetGridDirectionMatrix())
    matrix = np.eye(4)
    matrix[:3, :3] = direction[:3, :3] * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    vectors = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*image.GetDimensions()[::-1], 3)
    return Field(vectors, matrix)


def measure_displacement(field: Field) -> np.ndarray:
    """The length of each displacement, mm, float32."""
    return np.sqrt(np.einsum("kjix,kjix->kji", field.vectors, field.vectors)).astype(np.float32)


def measure_volume_change(field: Field) -> np.ndarray:
    """det(I + du/dx), float32: below 1 the target is larger here than the template's part, below 0 it folds.

    Differences to both neighbours, one-sided at the border, slice by slice to save memory.
    """
    vectors, depth = field.vectors, len(field.vectors)
    per_voxel = field.matrix[:3, :3]
    result = np.ones(vectors.shape[:3], np.float32)
    for k in range(depth):
        low, high = max(0, k - 1), min(depth - 1, k + 1)
        along = (
            _difference(vectors[k], 1),
            _difference(vectors[k], 0),
            (vectors[high] - vectors[low]) / max(1, high - low),
        )
        # how the displaced point moves along each voxel axis
        a, b, c = ((step + per_voxel[:, axis]).transpose(2, 0, 1) for axis, step in enumerate(along))
        triple = (
            a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])
        )
        result[k] = triple / np.linalg.det(per_voxel)
    return result


def _difference(values: np.ndarray, axis: int) -> np.ndarray:
    return np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)


def view_confidence(volume) -> tuple[np.ndarray, np.ndarray]:
    """The confidence (K, J, I) and its matrix. What is not known takes the nearest known value, with which what lies
    between them is interpolated; `find_body` says where it is known."""
    from scipy.ndimage import distance_transform_edt  # installed where there is a result, but slow to import

    values, matrix = slicer.util.arrayFromVolume(volume), compute_voxel_to_world(volume)
    if not values.any():
        return values, matrix
    nearest = distance_transform_edt(
        values == 0, np.linalg.norm(matrix[:3, :3], axis=0)[::-1], return_distances=False, return_indices=True
    )
    return values[tuple(nearest)], matrix


def refine(values: np.ndarray, matrix: np.ndarray, largest_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """A map on voxels of at most ``largest_mm``, interpolated linearly between its own; (values, matrix)."""
    matrix = matrix.copy()
    for axis in range(3):  # i, j, k
        parts = int(np.ceil(np.linalg.norm(matrix[:3, axis]) / largest_mm - 1e-6))
        if parts > 1:
            rows = np.moveaxis(values, 2 - axis, 0)
            share = (np.arange(parts, dtype=np.float32) / parts)[None, :, None, None]
            between = rows[:-1, None] * (1 - share) + rows[1:, None] * share
            rows = np.concatenate([between.reshape(-1, *rows.shape[1:]), rows[-1:]])
            values = np.moveaxis(rows, 0, 2 - axis)
            matrix[:3, axis] /= parts
    return values, matrix


def find_body(confidence, shape: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    """Where the confidence is given, on a grid of this (K, J, I) shape: the body that both scans show."""
    return (
        sample_nearest(slicer.util.arrayFromVolume(confidence), compute_voxel_to_world(confidence), shape, matrix) > 0
    )


def sample_nearest(voxels: np.ndarray, from_: np.ndarray, shape: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    """An image at the nearest voxels of another grid, 0 outside it; from_: the image's own matrix."""
    across = np.linalg.inv(from_) @ matrix
    j, i = np.mgrid[: shape[1], : shape[2]]
    result = np.zeros(shape, voxels.dtype)
    for k in range(shape[0]):
        index = [np.rint(row[0] * i + row[1] * j + row[2] * k + row[3]).astype(int) for row in across[:3]]
        inside = np.all([(x >= 0) & (x < size) for x, size in zip(index, voxels.shape[::-1], strict=True)], axis=0)
        x, y, z = (x[inside] for x in index)
        result[k][inside] = voxels[z, y, x]
    return result


def subtract(template: np.ndarray, warped: np.ndarray) -> np.ndarray:
    """Template minus warped target, float32."""
    return template.astype(np.float32) - warped


def make_grid_sheets(field: Field, confidence, spacing_mm: float, step_mm: float) -> list:
    """The planes of the target's regular grid as they lie on the template, inside the body: vtkPolyData per world axis.

    A plane is where the displaced point's coordinate is a multiple of ``spacing_mm``. step_mm: between vectors.
    """
    size = np.linalg.norm(field.matrix[:3, :3], axis=0)[::-1]  # of a voxel along k, j, i
    every = [max(1, round(step_mm / mm)) for mm in size]
    vectors = field.vectors[:: every[0], :: every[1], :: every[2]]
    matrix = field.matrix @ np.diag([*every[::-1], 1])
    shape = vectors.shape[:3]
    body = find_body(confidence, shape, matrix)
    k, j, i = np.mgrid[: shape[0], : shape[1], : shape[2]]
    return [
        _cut_sheets(
            vectors[..., axis] + matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k + matrix[axis, 3],
            body,
            matrix,
            spacing_mm,
        )
        for axis in range(3)
    ]


def _cut_sheets(coordinate: np.ndarray, body: np.ndarray, matrix: np.ndarray, spacing_mm: float):
    """The surfaces where ``coordinate`` (K, J, I) is a multiple of ``spacing_mm``, as vtkPolyData in RAS mm."""
    image = vtk.vtkImageData()
    image.SetDimensions(coordinate.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(coordinate.astype(np.float32).ravel(), deep=True))
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.ComputeNormalsOff()
    contour.ComputeScalarsOff()
    found = coordinate[body]
    if found.size:
        multiples = range(int(np.ceil(found.min() / spacing_mm)), int(np.floor(found.max() / spacing_mm)) + 1)
        for n, multiple in enumerate(multiples):
            contour.SetValue(n, multiple * spacing_mm)
    contour.Update()
    surface = contour.GetOutput()
    result = vtk.vtkPolyData()
    if not found.size or not surface.GetNumberOfPoints():
        return result
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)  # voxel indices
    x, y, z = (np.rint(points[:, axis]).astype(int) for axis in range(3))
    triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    kept = triangles[body[z, y, x][triangles].all(1)]
    cells = np.column_stack([np.full(len(kept), 3), kept]).ravel().astype(np.int64)
    polygons = vtk.vtkCellArray()
    polygons.ImportLegacyFormat(numpy_to_vtk(cells, deep=True, array_type=vtk.VTK_ID_TYPE))
    world = vtk.vtkPoints()
    world.SetData(numpy_to_vtk(points @ matrix[:3, :3].T + matrix[:3, 3], deep=True))
    result.SetPoints(world)
    result.SetPolys(polygons)
    return result
