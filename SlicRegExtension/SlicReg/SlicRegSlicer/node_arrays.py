"""Voxels and matrices of MRML nodes as numpy arrays, and back to VTK.

A matrix is (4, 4) float64. Voxels are (K, J, I), as in VTK and SimpleITK. World coordinates are RAS mm.
"""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy


def compute_voxel_to_world(volume) -> np.ndarray:
    """The matrix from voxel indices to the world. It includes linear parent transforms, unlike GetIJKToRASMatrix."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return compute_parent_to_world(volume) @ slicer.util.arrayFromVTKMatrix(matrix)


def compute_parent_to_world(node) -> np.ndarray:
    """The matrix of the node's linear parent transforms; the identity where there are none."""
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def view_voxels(volume) -> np.ndarray:
    """The voxels of a scalar volume node, not copied."""
    return view_scalars(volume.GetImageData())


def view_scalars(image) -> np.ndarray:
    """The voxels of a vtkImageData with one component, not copied."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def make_oriented_image(matrix: np.ndarray):
    """A vtkOrientedImageData without voxels; matrix: from its voxel indices to the world."""
    image = slicer.vtkOrientedImageData()
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return image
