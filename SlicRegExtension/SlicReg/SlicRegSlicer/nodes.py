"""Between MRML nodes and the files of the command line: the only code that knows both.

All coordinates are RAS mm in the world: linear parent transforms of inputs are applied before anything is written, outputs have
no parent transform. A matrix `voxel -> world` is (4, 4) float64; arrays of voxels are (K, J, I) as in VTK and SimpleITK.

Reading is done in two steps, so that a bad file leaves every node as it was: all ``load_*`` first, then all ``fill_*``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SlicRegLib.errors import UserError
from SlicRegLib.images.files import MAX_SHEAR, MIN_SLICES

from .translation import _

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS <-> LPS, its own inverse
SAME_MM = 0.01  # a NIfTI file keeps geometry in single precision: files this close to a volume's grid lie on it


# --- checks ---


def check_volume(node, what: str) -> None:
    """Raise UserError where the volume cannot be registered; ``what`` begins the sentence, as "The target"."""
    if node is None:
        raise UserError(_("{what} is not chosen; choose a CT scan.").format(what=what))
    what = f"{what} ({node.GetName()})"
    image = node.GetImageData()
    if image is None or not image.GetPointData().GetScalars() or 0 in image.GetDimensions():
        raise UserError(_("{what} holds no voxels; load its scan or choose another volume.").format(what=what))
    if not node.IsA("vtkMRMLScalarVolumeNode") or image.GetNumberOfScalarComponents() != 1:
        raise UserError(
            _("{what} holds {n} components per voxel; choose a CT scan with one number per voxel.").format(
                what=what, n=image.GetNumberOfScalarComponents()
            )
        )
    if min(image.GetDimensions()) < MIN_SLICES:
        raise UserError(
            _("{what} measures {size} voxels; choose a 3-D scan with at least {n} slices.").format(
                what=what, size=" x ".join(map(str, image.GetDimensions())), n=MIN_SLICES
            )
        )
    _check_parent(node, what)
    _check_shear(voxel_to_world(node), what)
    voxels = _voxels(node)
    low, high = voxels.min(), voxels.max()  # NaN spreads to both
    if not np.isfinite([float(low), float(high)]).all():
        raise UserError(
            _("{what} holds NaN or infinite voxels; export the scan again or replace them by -1000.").format(what=what)
        )
    if low == high:
        raise UserError(
            _("{what} is constant ({value:g} everywhere); choose a volume that shows a scan.").format(
                what=what, value=float(low)
            )
        )


def check_segmentation(node, what: str) -> None:
    """Raise UserError where the segmentation cannot be warped; ``what`` as for `check_volume`."""
    what = f"{what} ({node.GetName()})"
    if not node.GetSegmentation() or not node.GetSegmentation().GetNumberOfSegments():
        raise UserError(_("{what} has no segments; add some or choose another segmentation.").format(what=what))
    _check_parent(node, what)


def check_output(node, inputs, what: str) -> None:
    """Raise UserError where writing to the node would change an input: it is one, or a parent transform of one."""
    for used in inputs if node else ():
        while used:
            if used is node:
                raise UserError(
                    _("{what} ({name}) is an input or moves one; choose another or a new node.").format(
                        what=what, name=node.GetName()
                    )
                )
            used = used.GetParentTransformNode()


def _check_parent(node, what: str) -> None:
    parent = node.GetParentTransformNode()
    if parent and not parent.IsTransformToWorldLinear():
        raise UserError(
            _("{what} is under the non-linear transform {name}; harden that or take the data out of it.").format(
                what=what, name=parent.GetName()
            )
        )


def _check_shear(matrix: np.ndarray, what: str) -> None:
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise UserError(
            _("{what} has no valid voxel-to-world matrix; set its spacing and orientation.").format(what=what)
        )
    cosines = (matrix[:3, :3] / lengths).T @ (matrix[:3, :3] / lengths)
    if np.abs(cosines - np.eye(3)).max() > MAX_SHEAR:
        raise UserError(
            _(
                "{what} is sheared (gantry tilt or its parent transform); resample it to a rectangular grid, "
                "for instance with Resample Scalar/Vector/DWI Volume."
            ).format(what=what)
        )


# --- nodes to files ---


def voxel_to_world(volume) -> np.ndarray:
    """(4, 4) of a volume node, RAS mm, its linear parent transforms included (GetIJKToRASMatrix leaves them out)."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return to_world(volume) @ _array(matrix)


def to_world(node) -> np.ndarray:
    """(4, 4) of the node's linear parent transforms; identity where there are none."""
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, matrix)
    return _array(matrix)


def write_volume(node, path: str | Path) -> None:
    """Write the voxels, unchanged, with the volume's geometry in the world. Raises UserError if that is sheared."""
    _check_parent(node, node.GetName())
    _write(_voxels(node), voxel_to_world(node), path)


@dataclass(frozen=True)
class Segment:
    """What a label value stands for. tags: all of the segment's tags, its terminology among them."""

    value: int
    id: str
    name: str
    color: tuple[float, float, float]
    tags: dict[str, str] = field(default_factory=dict)


def write_segmentation(node, volume_node, path: str | Path, names: list[str] | None = None) -> list[Segment]:
    """Write the segments as a label map on the volume's grid in the world; values 1..n in the segments' order.

    names: those of the other segmentation that this one is compared with; a segment of the n-th name gets the value n, one
    of another name a value after all of these.

    Where segments overlap the later one wins. Parent transforms of both nodes count. Neither the nodes nor the scene change.
    """
    for used in (node, volume_node):
        _check_parent(used, used.GetName())
    grid = voxel_to_world(volume_node)
    geometry = _oriented_image(np.linalg.inv(to_world(node)) @ grid)  # segments lie in the segmentation's own frame
    geometry.SetDimensions(volume_node.GetImageData().GetDimensions())
    node = _with_labelmaps(node, geometry)
    segmentation = node.GetSegmentation()
    segments = [_describe(segmentation, n) for n in range(segmentation.GetNumberOfSegments())]
    if names is not None:
        others = iter(range(len(names) + 1, len(names) + len(segments) + 1))
        segments = [
            replace(segment, value=names.index(segment.name) + 1 if segment.name in names else next(others))
            for segment in segments
        ]
    values = np.array([0, *(segment.value for segment in segments)])
    values = values.astype(np.uint8 if values.max() < 256 else np.uint16)
    _write(values[_ranks(segmentation, geometry)], grid, path)
    return segments


def _ranks(segmentation, geometry) -> np.ndarray:
    """(K, J, I) on the geometry: 0 outside, n in the n-th segment; the highest n where segments overlap.

    One step per layer (label map shared by segments): Slicer's own export takes one per segment, 20 times as long for 50.
    """
    binary = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage  # nearest neighbour
    ranks = np.zeros(geometry.GetDimensions()[::-1], np.uint16)
    for layer in range(segmentation.GetNumberOfLayers(binary)):
        labelmap, on_grid = segmentation.GetLayerDataObject(layer, binary), slicer.vtkOrientedImageData()
        if labelmap.IsEmpty():
            continue
        if not resample(labelmap, geometry, on_grid):
            raise RuntimeError("Slicer could not resample a segment's label map")
        labels = _scalars(on_grid).astype(np.uint16, copy=False)
        rank_of = np.zeros(65536, np.uint16)
        for id_ in segmentation.GetSegmentIDsForLayer(layer, binary):
            rank_of[segmentation.GetSegment(id_).GetLabelValue()] = segmentation.GetSegmentIndex(id_) + 1
        np.maximum(ranks, rank_of[labels], out=ranks)
    return ranks


def _with_labelmaps(node, geometry):
    """The node itself where it holds label maps, else a copy outside the scene with label maps on the geometry."""
    names = slicer.vtkSegmentationConverter
    if node.GetSegmentation().ContainsRepresentation(names.GetBinaryLabelmapRepresentationName()):
        return node
    copy, segmentation = slicer.vtkMRMLSegmentationNode(), slicer.vtkSegmentation()
    segmentation.DeepCopy(node.GetSegmentation())
    segmentation.SetConversionParameter(
        names.GetReferenceImageGeometryParameterName(), names.SerializeImageGeometry(geometry)
    )
    copy.SetName(node.GetName())
    copy.SetAndObserveSegmentation(segmentation)
    if not copy.CreateBinaryLabelmapRepresentation():
        raise UserError(
            _("{name} cannot be converted to label maps; repair or remove its empty segments.").format(
                name=node.GetName()
            )
        )
    return copy


def _describe(segmentation, n: int) -> Segment:
    segment = segmentation.GetNthSegment(n)
    return Segment(n + 1, segmentation.GetNthSegmentID(n), segment.GetName(), segment.GetColor(), _tags(segment))


def _tags(segment) -> dict[str, str]:
    """All tags of a vtkSegment. Python cannot list them (GetTags takes a std::map): the printed segment has the names."""
    names = [segment.GetTerminologyEntryTagName()]
    for line in str(segment).partition("Tags:")[2].splitlines():
        parts = line.strip().split(":")  # "name: value", and either may hold colons
        names += [":".join(parts[:n]) for n in range(1, len(parts))]
    tags, value = {}, vtk.reference("")
    for name in names:
        if segment.GetTag(name, value):
            tags[name] = str(value)
    return tags


def _write(voxels: np.ndarray, matrix: np.ndarray, path: str | Path) -> None:
    """Voxels (K, J, I) on a grid given by voxel -> world, through SimpleITK; uncompressed, since it is read once."""
    _check_shear(matrix, Path(path).name)
    image = sitk.GetImageFromArray(voxels)
    matrix = LPS @ matrix
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    sitk.WriteImage(image, str(path), False)


# --- files to nodes ---


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels (K, J, I[, 3]) of a file and its voxel -> world matrix (RAS mm)."""

    voxels: np.ndarray
    matrix: np.ndarray


def load_transform(path: str | Path) -> Image:
    """The displacement field of an ITK transform file (LPS, resampling direction): vectors in RAS mm."""
    try:
        image = sitk.DisplacementFieldTransform(sitk.ReadTransform(str(path))).GetDisplacementField()
    except RuntimeError as error:
        raise UserError(
            _("{path} is not a displacement field; run the registration again.").format(path=path)
        ) from error
    found = _from_itk(image)
    vectors = found.voxels.astype(np.float32)  # as computed; a file holds doubles, which would take twice the memory
    return Image(vectors * LPS.diagonal()[:3].astype(np.float32), found.matrix)


def load_image(path: str | Path) -> Image:
    """A 3-D scan or label map file."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise UserError(
            _("{path} cannot be read as an image; run the registration again.").format(path=path)
        ) from error
    return _from_itk(image)


def _from_itk(image: sitk.Image) -> Image:
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return Image(sitk.GetArrayFromImage(image), LPS @ matrix)


def fill_transform(node, vectors: Image, fixed, moving) -> None:
    """Make the transform node, of any kind, the field fixed -> moving: it brings the moving volume to the fixed one.

    It is stored from-parent, as the field was computed: the other direction would be inverted numerically whenever a volume is
    resampled, and SimpleITK cannot read a to-parent grid.
    """
    grid = _oriented_image(vectors.matrix)
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
        node.SetAndObserveTransformToParent(None)  # drops both directions of what a reused node holds
        node.SetAndObserveTransformFromParent(transform)
        for role, end in (("GetMovingNodeReferenceRole", moving), ("GetFixedNodeReferenceRole", fixed)):
            if end and hasattr(node, role):  # Slicer shows "registration of ... to ..." from these
                node.SetNodeReferenceID(getattr(node, role)(), end.GetID())


def fill_volume(node, image: Image, like=None) -> None:
    """Give the volume node the image's voxels and geometry, in the world, and the window and level of ``like``."""
    voxels = image.voxels
    if voxels.dtype in (np.int64, np.uint64):  # which `updateVolumeFromArray` does not take
        voxels = voxels.astype(np.int32)
    matrix = _vtk_matrix(image.matrix)
    with slicer.util.NodeModify(node):
        node.SetAndObserveTransformNodeID(None)
        slicer.util.updateVolumeFromArray(node, voxels)
        node.SetIJKToRASMatrix(matrix)
    if not node.GetDisplayNode():
        node.CreateDefaultDisplayNodes()
    shown, wanted = node.GetDisplayNode(), like and like.GetDisplayNode()
    if shown and wanted:
        with slicer.util.NodeModify(shown):
            shown.SetAutoWindowLevel(False)
            shown.SetWindowLevel(wanted.GetWindow(), wanted.GetLevel())
            shown.SetAndObserveColorNodeID(wanted.GetColorNodeID())


def fill_labels(node, labels: Image, segments: list[Segment], reference_volume) -> None:
    """Replace the segmentation's segments by the named ones, in the world; those absent from the label map become empty.

    All share one label map, which takes one n-th of the memory. 3-D surfaces are made again where the node had them.
    """
    surface = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    labelmap = _labelmap(labels, len(segments), reference_volume)
    segmentation = node.GetSegmentation()
    with slicer.util.NodeModify(node):
        had_surface = segmentation.ContainsRepresentation(surface)
        node.SetAndObserveTransformNodeID(None)
        for n in range(
            segmentation.GetNumberOfSegments()
        ):  # else each is first erased from the label map that it shares
            segmentation.GetNthSegment(n).RemoveAllRepresentations()
        segmentation.RemoveAllSegments()
        node.SetSourceRepresentationToBinaryLabelmap()
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference_volume)
        for segment in segments:
            segmentation.AddSegment(_vtk_segment(segment, labelmap), segment.id)
        if not node.GetDisplayNode():
            node.CreateDefaultDisplayNodes()
        if had_surface:
            node.CreateClosedSurfaceRepresentation()


def _labelmap(labels: Image, largest: int, reference_volume):
    """vtkOrientedImageData of the labels; on the reference's own grid where the file's is the same to `SAME_MM`."""
    matrix = voxel_to_world(reference_volume)
    size = np.array(labels.voxels.shape[::-1])
    corners = np.array(np.meshgrid(*zip((0, 0, 0), size - 1), (1,))).reshape(4, -1)
    same = tuple(size) == reference_volume.GetImageData().GetDimensions()
    if not same or np.abs((matrix - labels.matrix) @ corners).max() > SAME_MM:
        matrix = labels.matrix
    image = _oriented_image(matrix)
    image.SetDimensions(size.tolist())
    voxels = np.ascontiguousarray(labels.voxels, np.uint8 if largest < 256 else np.int16)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
    return image


def _vtk_segment(segment: Segment, labelmap):
    made = slicer.vtkSegment()
    made.SetName(segment.name)
    made.SetColor(segment.color)
    made.SetNameAutoGenerated(False)
    made.SetColorAutoGenerated(False)
    made.SetLabelValue(segment.value)
    for name, value in segment.tags.items():
        made.SetTag(name, value)
    made.AddRepresentation(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName(), labelmap)
    return made


# --- output nodes ---


class Results:
    """The nodes that results go to: the user's, or new ones beside the target, which a failure or a cancel removes again."""

    def __init__(self, beside=None):
        """beside: the node whose place in the subject hierarchy new nodes share."""
        self.beside, self.created = beside, []

    def node(self, existing, class_name: str, name: str):
        """``existing`` as it is, or a new node of the class with a name that is not in the scene yet."""
        if existing:
            return existing
        scene = slicer.mrmlScene
        made = scene.AddNewNodeByClass(class_name, scene.GenerateUniqueName(name))
        self.created.append(made)
        self._place(made)
        return made

    def discard(self) -> None:
        """Remove the nodes that were made here, with their display nodes; those of the user stay."""
        scene = slicer.mrmlScene
        for made in self.created:
            parts = [made.GetNthDisplayNode(n) for n in range(made.GetNumberOfDisplayNodes())] + [made.GetStorageNode()]
            for node in (made, *parts):
                if node and scene.IsNodePresent(node):  # the user may have deleted it meanwhile
                    scene.RemoveNode(node)
            hierarchy = _subject_hierarchy()
            if hierarchy and hierarchy.GetItemByDataNode(made):  # the application has removed it already
                hierarchy.RemoveItem(hierarchy.GetItemByDataNode(made), False, False)
        self.created = []

    def _place(self, made) -> None:
        hierarchy = _subject_hierarchy()
        item = hierarchy.GetItemByDataNode(self.beside) if hierarchy and self.beside else 0
        if not item:
            return
        parent, own = hierarchy.GetItemParent(item), hierarchy.GetItemByDataNode(made)
        if own:
            hierarchy.SetItemParent(own, parent)
        else:
            hierarchy.CreateItem(parent, made)


def _subject_hierarchy():
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")


# --- VTK and numpy ---


def _array(matrix) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(matrix)


def _vtk_matrix(matrix: np.ndarray):
    return slicer.util.vtkMatrixFromArray(matrix)


def _voxels(volume) -> np.ndarray:
    """(K, J, I) view of a scalar volume node's voxels."""
    return _scalars(volume.GetImageData())


def _scalars(image) -> np.ndarray:
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def _oriented_image(matrix: np.ndarray):
    """vtkOrientedImageData without voxels whose voxel -> world is the matrix."""
    image = slicer.vtkOrientedImageData()
    image.SetGeometryFromImageToWorldMatrix(_vtk_matrix(matrix))
    return image
