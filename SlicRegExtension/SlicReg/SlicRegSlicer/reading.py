"""Result files to nodes, in two steps, so that a bad file leaves every node as it was: first load all, then fill all.

Filled nodes lie in the world: they have no parent transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from SlicRegLib.errors import UserError

from .node_arrays import compute_voxel_to_world, make_oriented_image
from .result_nodes import FIXED_ROLE
from .segments import Segment, make_vtk_segment
from .transform_storage import keep_small
from .translation import _

SAME_MM = 0.01  # NIfTI keeps the geometry in single precision: a grid this close to a volume's is the same one


@dataclass(frozen=True, eq=False)
class Image:
    """The content of an image or transform file."""

    voxels: np.ndarray
    """(K, J, I), or vectors (K, J, I, 3) in RAS mm."""
    matrix: np.ndarray
    """(4, 4) float64 from voxel indices to RAS mm."""


def load_displacement_image(path: str | Path) -> Image:
    """The displacement field of a transform file, in the resampling direction: float32 vectors."""
    from SlicRegLib.images.displacements import read_displacements  # SimpleITK is not loaded when Slicer starts

    try:
        vectors, matrix = read_displacements(path)
    except UserError as error:
        raise UserError(
            _("{path} is not a displacement field; run the registration again.").format(path=path)
        ) from error
    return Image(vectors.transpose(2, 1, 0, 3), matrix)


def load_image(path: str | Path) -> Image:
    """A 3-D scan or label map file."""
    import SimpleITK as sitk

    from SlicRegLib.images.itk import read_affine

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise UserError(
            _("{path} cannot be read as an image; run the registration again.").format(path=path)
        ) from error
    return Image(sitk.GetArrayFromImage(image), read_affine(image))


def fill_transform(node, vectors: Image, fixed, moving) -> None:
    """Make the transform node, of any kind, the field fixed -> moving: it brings the moving volume to the fixed one.

    It is stored from-parent, as the field was computed. To-parent, VTK would invert it numerically whenever a volume is
    resampled, and SimpleITK could not read the saved file. fixed, moving: the volume nodes, or None.
    """
    grid = make_oriented_image(vectors.matrix)
    plain = vtk.vtkImageData()  # the direction goes to the transform: here it would be applied twice
    plain.SetDimensions(vectors.voxels.shape[2::-1])
    plain.SetOrigin(grid.GetOrigin())
    plain.SetSpacing(grid.GetSpacing())
    plain.GetPointData().SetScalars(numpy_to_vtk(vectors.voxels.reshape(-1, 3), deep=True))
    direction = vtk.vtkMatrix4x4()
    grid.GetDirectionMatrix(direction)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(plain)
    transform.SetGridDirectionMatrix(direction)
    transform.SetInterpolationModeToLinear()  # as the warped volume was computed
    with slicer.util.NodeModify(node):
        node.SetAndObserveTransformNodeID(None)
        node.SetAndObserveTransformToParent(None)  # clears both directions of a reused node
        node.SetAndObserveTransformFromParent(transform)
        node.SetNodeReferenceID(FIXED_ROLE, fixed.GetID() if fixed else None)
        for role, end in (("GetMovingNodeReferenceRole", moving), ("GetFixedNodeReferenceRole", fixed)):
            if end and hasattr(node, role):  # Slicer shows "registration of ... to ..." from these
                node.SetNodeReferenceID(getattr(node, role)(), end.GetID())
    keep_small(node)


def fill_volume(node, image: Image, like=None) -> None:
    """Give the volume node the voxels and the geometry of ``image``, and window, level and colours of ``like``."""
    voxels = image.voxels
    if voxels.dtype in (np.int64, np.uint64):  # not accepted by `updateVolumeFromArray`
        voxels = voxels.astype(np.int32)
    with slicer.util.NodeModify(node):
        node.SetAndObserveTransformNodeID(None)
        slicer.util.updateVolumeFromArray(node, voxels)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(image.matrix))
    if not node.GetDisplayNode():
        node.CreateDefaultDisplayNodes()
    display, source = node.GetDisplayNode(), like and like.GetDisplayNode()
    if display and source:
        with slicer.util.NodeModify(display):
            display.SetAutoWindowLevel(False)
            display.SetWindowLevel(source.GetWindow(), source.GetLevel())
            display.SetAndObserveColorNodeID(source.GetColorNodeID())


def fill_segmentation(node, labels: Image, segments: list[Segment], reference) -> None:
    """Replace the segments of the segmentation node; those that are absent from the label map become empty.

    All share one label map, which saves memory. 3-D surfaces are made again where the node had them. reference: the
    volume node on whose grid segments are edited.
    """
    surface = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    labelmap = _make_labelmap(labels, max((segment.value for segment in segments), default=0), reference)
    segmentation = node.GetSegmentation()
    with slicer.util.NodeModify(node):
        had_surface = segmentation.ContainsRepresentation(surface)
        node.SetAndObserveTransformNodeID(None)
        # otherwise RemoveAllSegments first erases each segment from the label map that it shares
        for n in range(segmentation.GetNumberOfSegments()):
            segmentation.GetNthSegment(n).RemoveAllRepresentations()
        segmentation.RemoveAllSegments()
        node.SetSourceRepresentationToBinaryLabelmap()
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
        for segment in segments:
            segmentation.AddSegment(make_vtk_segment(segment, labelmap), segment.id)
        if not node.GetDisplayNode():
            node.CreateDefaultDisplayNodes()
        if had_surface:
            node.CreateClosedSurfaceRepresentation()


def _make_labelmap(labels: Image, largest: int, reference):
    """vtkOrientedImageData of the labels; on the reference's own grid where the file's is the same to `SAME_MM`."""
    matrix = compute_voxel_to_world(reference)
    size = np.array(labels.voxels.shape[::-1])
    corners = np.array(np.meshgrid(*zip((0, 0, 0), size - 1, strict=True), (1,))).reshape(4, -1)
    same = tuple(size) == reference.GetImageData().GetDimensions()
    if not same or np.abs((matrix - labels.matrix) @ corners).max() > SAME_MM:
        matrix = labels.matrix
    image = make_oriented_image(matrix)
    image.SetDimensions(size.tolist())
    voxels = np.ascontiguousarray(labels.voxels, np.uint8 if largest < 256 else np.int16)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
    return image
