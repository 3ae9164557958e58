"""Nodes on the real MRML scene of slicer-core, without the application: made, looked at, compared."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

slicer = pytest.importorskip("slicer")
vtk = pytest.importorskip("vtk")
if not hasattr(slicer, "vtkMRMLScene"):
    pytest.skip("the package 'slicer' is not slicer-core", allow_module_level=True)

from SlicRegSlicer.reading import Image, fill_segmentation, fill_transform  # noqa: E402
from SlicRegSlicer.segments import Segment  # noqa: E402

LPS = np.array([-1.0, -1.0, 1.0])
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^{}~^^~Anatomic codes - DICOM master list~^^~^^"
)


def add_volume(scene, data, affine, name="CT"):
    """A volume node; data (I, J, K), affine voxel -> its own frame, RAS mm."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(data.transpose(2, 1, 0)))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    return node


def put_under(scene, node, matrix):
    """Give the node a new linear parent transform."""
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "parent")
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(parent.GetID())
    return parent


def rigid(degrees=(15.0, -8.0, 30.0), shift=(12.0, -7.0, 21.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def random_scan(shape, dtype=np.int16):
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(dtype)


def read_matrix(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def transform_points(general, points):
    return np.array([general.TransformPoint(p) for p in points])


def get_from_world(node):
    """The resampling direction of a transform node: fixed -> moving, as vtkGeneralTransform."""
    general = vtk.vtkGeneralTransform()
    node.GetTransformFromWorld(general)
    return general


def get_to_world(node):
    general = vtk.vtkGeneralTransform()
    node.GetTransformToWorld(general)
    return general


def record_state(scene, *used):
    """What writing must leave alone: the nodes of the scene and the modification times of the used ones."""
    parts = list(used)
    parts += [
        getattr(node, get)() for node in used for get in ("GetImageData", "GetSegmentation") if hasattr(node, get)
    ]
    return scene.GetNumberOfNodes(), [part.GetMTime() for part in parts]


def under_a_field(scene, grid):
    node = add_volume(scene, random_scan(grid.shape), grid.affine)
    parent = put_under(scene, node, np.eye(4))
    vectors = np.random.default_rng(0).normal(size=(*grid.shape[::-1], 3))
    fill_transform(parent, Image(vectors, grid.affine), None, None)
    return node


def blob(grid, centre, sigma=4.0):
    """(I, J, K) HU: a Gaussian of 1000 at ``centre`` (RAS mm)."""
    distance = ((grid.points().numpy() - centre) ** 2).sum(-1)
    return (1000 * np.exp(-distance / (2 * sigma**2))).astype(np.float32)


def centroid(data, grid):
    return (grid.points().numpy() * data[..., None]).sum((0, 1, 2)) / data.sum()


SEGMENTS = {
    "liver": ((0.9, 0.4, 0.3), "10200004^Liver"),
    "kidney left": ((0.2, 0.7, 0.1), "64033007^Kidney"),
    "spine": ((1.0, 0.0, 1.0), "421060004^Vertebral column"),
}
LIVER = TERMINOLOGY.format("10200004^Liver")


def add_segmentation(scene, label_data, affine, shared=True):
    """A segmentation node whose segments 1, 2, .. share one label map, or own one each that covers only themselves."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "structures")
    volume = add_volume(scene, label_data, affine, "labels")
    segments = [
        Segment(
            n,
            f"Segment_{n}",
            name,
            color,
            {"TerminologyEntry": TERMINOLOGY.format(code), "Segmentation.Status": "completed", "my: tag": "a: b"},
        )
        for n, (name, (color, code)) in enumerate(SEGMENTS.items(), 1)
    ]
    fill_segmentation(node, Image(label_data.transpose(2, 1, 0), affine), segments, volume)
    if not shared:
        for n in range(len(segments)):
            node.GetSegmentation().SeparateSegmentLabelmap(f"Segment_{n + 1}")
    assert node.GetSegmentation().GetNumberOfLayers() == (1 if shared else 3)
    scene.RemoveNode(volume)
    return node, segments


def make_labels(shape):
    labels = np.zeros(shape, np.uint8)
    labels[2:6, 3:8, 2:5] = 1
    labels[7:12, 2:6, 3:8] = 2
    labels[3:6, 8:11, 5:9] = 3
    return labels


def read_label_file(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0)


def read_segments(node, reference):
    """Per segment the mask (I, J, K) on a volume's grid."""
    return {
        node.GetSegmentation().GetNthSegment(n).GetName(): slicer.util.arrayFromSegmentBinaryLabelmap(
            node, node.GetSegmentation().GetNthSegmentID(n), reference
        ).transpose(2, 1, 0)
        > 0
        for n in range(node.GetSegmentation().GetNumberOfSegments())
    }
