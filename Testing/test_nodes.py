"""MRML nodes to files and back on the real scene of slicer-core: known geometry, directions, and nothing left behind."""

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

slicer = pytest.importorskip("slicer")
vtk = pytest.importorskip("vtk")
if not hasattr(slicer, "vtkMRMLScene"):
    pytest.skip("the package 'slicer' is not slicer-core", allow_module_level=True)

from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid, apply_affine
from SlicRegLib.images.transforms import save_transform
from SlicRegLib.images.volumes import Volume, load_scan, save_volume
from SlicRegSlicer import nodes

LPS = np.array([-1.0, -1.0, 1.0])
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^{}~^^~Anatomic codes - DICOM master list~^^~^^"
)


# --- the host: a scene with the logics that segmentations and .mrb files need ---


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """slicer.mrmlScene as in the application, without it."""
    patch, scene = pytest.MonkeyPatch(), slicer.vtkMRMLScene()
    patch.setattr(slicer, "mrmlScene", scene, raising=False)
    application, cache, data = slicer.vtkSlicerApplicationLogic(), slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(str(tmp_path_factory.mktemp("cache")))
    data.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(data)
    application.SetMRMLScene(scene)
    logics = [
        getattr(slicer, name)()
        for name in (
            "vtkSlicerSubjectHierarchyModuleLogic",
            "vtkSlicerVolumesLogic",
            "vtkSlicerTransformLogic",
            "vtkSlicerSegmentationsModuleLogic",
        )
    ]
    for logic in logics:
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
    segmentations = SimpleNamespace(segmentations=SimpleNamespace(logic=lambda: logics[-1]))  # for arrayFromSegment...
    patch.setattr(slicer, "modules", segmentations, raising=False)
    yield SimpleNamespace(scene=scene, kept_alive=(application, cache, data, logics))
    patch.undo()


@pytest.fixture
def scene(host):
    """The empty scene; the test fails on any error that VTK reports, since VTK raises none."""
    host.scene.Clear(True)
    window, former = vtk.vtkStringOutputWindow(), vtk.vtkOutputWindow.GetInstance()
    vtk.vtkOutputWindow.SetInstance(window)
    yield host.scene
    vtk.vtkOutputWindow.SetInstance(former)
    errors = [line for line in window.GetOutput().splitlines() if "ERR" in line.upper()]
    assert not errors, errors


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


def scan_data(shape, dtype=np.int16):
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(dtype)


def own_matrix(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def mapped(general, points):
    return np.array([general.TransformPoint(p) for p in points])


def from_world(node):
    """The resampling direction of a transform node: fixed -> moving, as vtkGeneralTransform."""
    general = vtk.vtkGeneralTransform()
    node.GetTransformFromWorld(general)
    return general


def to_world(node):
    general = vtk.vtkGeneralTransform()
    node.GetTransformToWorld(general)
    return general


def snapshot(scene, *used):
    """What writing must leave alone: the nodes of the scene and the modification times of the used ones."""
    parts = list(used)
    parts += [
        getattr(node, get)() for node in used for get in ("GetImageData", "GetSegmentation") if hasattr(node, get)
    ]
    return scene.GetNumberOfNodes(), [part.GetMTime() for part in parts]


# --- volumes ---


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_written_volume_has_the_hardened_geometry(scene, tmp_path, odd_grid, dtype):
    data = scan_data(odd_grid.shape, dtype)
    node = add_volume(scene, data, odd_grid.affine)
    outer = put_under(scene, put_under(scene, node, rigid()), rigid((0, 0, 90), (1, 2, 3)))
    before = snapshot(scene, node, outer)
    nodes.write_volume(node, tmp_path / "scan.nrrd")
    assert snapshot(scene, node, outer) == before

    known = rigid((0, 0, 90), (1, 2, 3)) @ rigid() @ odd_grid.affine
    found = load_scan(tmp_path / "scan.nrrd")
    np.testing.assert_allclose(found.grid.affine, known, atol=1e-9)
    np.testing.assert_array_equal(found.data, data)
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "scan.nrrd"))).dtype == dtype
    node.HardenTransform()
    np.testing.assert_allclose(found.grid.affine, own_matrix(node), atol=1e-9)


def test_a_parent_that_scales_is_written(scene, tmp_path, anisotropic):
    node = add_volume(scene, scan_data(anisotropic().shape), anisotropic().affine)
    put_under(scene, node, np.diag([2.0, 1.5, 0.5, 1.0]))
    nodes.check_volume(node, "The target")
    nodes.write_volume(node, tmp_path / "scan.nrrd")
    np.testing.assert_allclose(load_scan(tmp_path / "scan.nrrd").grid.spacing, [1.6, 1.2, 2.5])


def test_a_volume_read_into_a_node_in_use(scene, tmp_path, odd_grid):
    scan = Volume(scan_data(odd_grid.shape, np.float32), odd_grid)
    save_volume(tmp_path / "warped.nii.gz", scan)
    like = add_volume(scene, scan_data((9, 9, 9)), np.eye(4), "target")
    like.CreateDefaultDisplayNodes()
    like.GetDisplayNode().SetAutoWindowLevel(False)
    like.GetDisplayNode().SetWindowLevel(350, 40)
    node = add_volume(scene, scan_data((10, 11, 12)), np.diag([3.0, 3, 3, 1]), "warped")
    put_under(scene, node, rigid())
    known_id = node.GetID()

    nodes.fill_volume(node, nodes.load_image(tmp_path / "warped.nii.gz"), like)
    assert node.GetID() == known_id and node.GetName() == "warped" and node.GetParentTransformNode() is None
    np.testing.assert_allclose(own_matrix(node), odd_grid.affine, atol=1e-4)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node).transpose(2, 1, 0), scan.data)
    assert node.GetImageData().GetOrigin() == (0, 0, 0) and node.GetImageData().GetSpacing() == (1, 1, 1)
    assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == (350, 40)


# --- refusals ---


def sheared(scene, grid):
    matrix = grid.affine.copy()
    matrix[:3, 2] += 0.3 * matrix[:3, 1]
    node = add_volume(scene, scan_data(grid.shape), np.eye(4))
    node.SetIJKToRASDirections(*(matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)).ravel())
    return node


def sheared_by_parent(scene, grid):
    node = add_volume(scene, scan_data(grid.shape), grid.affine)
    put_under(scene, node, np.diag([1.0, 1.0, 2.0, 1.0]))  # a scale across the axes of an oblique volume
    return node


def under_a_field(scene, grid):
    node = add_volume(scene, scan_data(grid.shape), grid.affine)
    parent = put_under(scene, node, np.eye(4))
    vectors = np.random.default_rng(0).normal(size=(*grid.shape[::-1], 3))
    nodes.fill_transform(parent, nodes.Image(vectors, grid.affine), None, None)
    return node


def of_voxels(change):
    def make(scene, grid):
        return add_volume(scene, change(scan_data(grid.shape, np.float32)), grid.affine)

    return make


def with_nan(data):
    data[3, 3, 3] = np.nan
    return data


def colour(scene, grid):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colour")
    slicer.util.updateVolumeFromArray(node, np.zeros((10, 10, 10, 3), np.uint8))
    return node


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda scene, grid: None, "not chosen"),
        (lambda scene, grid: scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"), "no voxels"),
        (colour, "3 components"),
        (of_voxels(lambda data: data[:, :, :1]), "14 x 12 x 1 voxels"),
        (of_voxels(lambda data: data[:, :, :7]), "at least 8 slices"),
        (of_voxels(np.zeros_like), "constant (0 everywhere)"),
        (of_voxels(with_nan), "NaN"),
        (sheared, "sheared"),
        (sheared_by_parent, "sheared"),
        (under_a_field, "non-linear transform parent"),
    ],
)
def test_one_sentence_says_why_a_volume_is_refused(scene, oblique, make, text):
    with pytest.raises(UserError) as caught:
        nodes.check_volume(make(scene, oblique()), "The target")
    assert text in str(caught.value)
    assert str(caught.value).startswith("The target") and str(caught.value).endswith(".") and "; " in str(caught.value)


def test_what_is_refused_is_not_written_either(scene, tmp_path, oblique):
    for make in (sheared, sheared_by_parent, under_a_field):
        with pytest.raises(UserError):
            nodes.write_volume(make(scene, oblique()), tmp_path / "scan.nrrd")
    assert not list(tmp_path.iterdir())


def test_a_scan_is_accepted(scene, odd_grid):
    node = add_volume(scene, scan_data(odd_grid.shape), odd_grid.affine)
    put_under(scene, node, rigid())
    nodes.check_volume(node, "The target")


def test_outputs_that_are_or_move_inputs_are_refused(scene, oblique):
    node = add_volume(scene, scan_data(oblique().shape), oblique().affine)
    parent = put_under(scene, node, rigid())
    outer = put_under(scene, parent, rigid())
    for output in (node, parent, outer):
        with pytest.raises(UserError, match="choose another"):
            nodes.check_output(output, [None, node], "The output transform")
    nodes.check_output(None, [node], "The output transform")
    nodes.check_output(scene.AddNewNodeByClass("vtkMRMLTransformNode"), [node], "The output transform")


# --- transforms ---


@pytest.fixture
def field_file(tmp_path, odd_grid, smooth_field):
    """A smooth field (wavelength 200 mm, 4 mm), its file, and points inside its grid."""
    grid = Grid.centred(odd_grid.centre, (30, 28, 26), (4.0, 4.0, 5.0)) if odd_grid.shape[2] == 9 else odd_grid
    field = smooth_field(grid, 4.0, wavelength_mm=200.0)
    save_transform(tmp_path / "transform.h5", field)
    inside = np.random.default_rng(1).uniform(1, np.array(grid.shape) - 2, (200, 3))
    points = grid.to_world(inside)
    return SimpleNamespace(
        path=tmp_path / "transform.h5", points=points, grid=grid, moved=field(torch.from_numpy(points).float()).numpy()
    )


@pytest.mark.parametrize(
    "class_name", ["vtkMRMLTransformNode", "vtkMRMLGridTransformNode", "vtkMRMLLinearTransformNode"]
)
def test_transform_node_is_the_field_of_the_file(scene, field_file, class_name):
    node = scene.AddNewNodeByClass(class_name, "result")
    nodes.fill_transform(node, nodes.load_transform(field_file.path), None, None)
    np.testing.assert_allclose(mapped(from_world(node), field_file.points), field_file.moved, atol=1e-3)
    np.testing.assert_allclose(
        mapped(to_world(node), field_file.moved), field_file.points, atol=0.02
    )  # VTK's own inverse
    itk = sitk.ReadTransform(str(field_file.path))
    by_itk = [itk.TransformPoint(p) for p in (field_file.points * LPS).tolist()] * LPS
    np.testing.assert_allclose(mapped(from_world(node), field_file.points), by_itk, atol=1e-3)


@pytest.mark.parametrize("suffix", [".h5", ".nii.gz"])
def test_transform_saved_by_slicer_is_read_by_others(scene, tmp_path, field_file, suffix):
    node, path = scene.AddNewNodeByClass("vtkMRMLTransformNode"), str(tmp_path / f"saved{suffix}")
    nodes.fill_transform(node, nodes.load_transform(field_file.path), None, None)
    node.AddDefaultStorageNode(path)
    node.GetStorageNode().SetFileName(path)
    assert node.GetStorageNode().WriteData(node)

    if suffix == ".h5":
        itk = sitk.ReadTransform(path)
    else:
        itk = sitk.DisplacementFieldTransform(sitk.ReadImage(path, sitk.sitkVectorFloat64))
    by_itk = [itk.TransformPoint(p) for p in (field_file.points * LPS).tolist()] * LPS
    np.testing.assert_allclose(by_itk, field_file.moved, atol=1e-3)

    again = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    again.AddDefaultStorageNode(path)
    again.GetStorageNode().SetFileName(path)
    assert again.GetStorageNode().ReadData(again)
    # cubic between the vectors when read again, linear before
    np.testing.assert_allclose(mapped(from_world(again), field_file.points), field_file.moved, atol=0.05)


def test_a_transform_node_in_use_is_replaced(scene, tmp_path, field_file):
    """A to-parent grid, roles and a parent leave nothing behind, on disk neither."""
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    former = np.full((9, 9, 9, 3), 50.0, np.float32)
    nodes.fill_transform(node, nodes.Image(former, np.eye(4)), None, None)
    grid = node.GetTransformFromParentAs("vtkOrientedGridTransform")
    node.SetAndObserveTransformFromParent(None)
    node.SetAndObserveTransformToParent(grid)
    put_under(scene, node, rigid())
    fixed, moving = (add_volume(scene, scan_data((9, 9, 9)), np.eye(4), name) for name in ("fixed", "moving"))
    for _ in range(2):
        nodes.fill_transform(node, nodes.load_transform(field_file.path), fixed, moving)
    np.testing.assert_allclose(mapped(from_world(node), field_file.points), field_file.moved, atol=1e-3)
    for role, known in ((node.GetFixedNodeReferenceRole(), fixed), (node.GetMovingNodeReferenceRole(), moving)):
        assert node.GetNumberOfNodeReferences(role) == 1 and node.GetNodeReference(role) is known

    name, bundle = node.GetName(), str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(bundle)
    scene.Clear(True)
    assert scene.ReadFromMRB(bundle)
    again = scene.GetFirstNodeByName(name)
    np.testing.assert_allclose(mapped(from_world(again), field_file.points), field_file.moved, atol=0.05)
    assert again.GetNodeReference(again.GetFixedNodeReferenceRole()).GetName() == "fixed"


def blob(grid, centre, sigma=4.0):
    """(I, J, K) HU: a Gaussian of 1000 at ``centre`` (RAS mm)."""
    distance = ((grid.points().numpy() - centre) ** 2).sum(-1)
    return (1000 * np.exp(-distance / (2 * sigma**2))).astype(np.float32)


def centroid(data, grid):
    return (grid.points().numpy() * data[..., None]).sum((0, 1, 2)) / data.sum()


def test_applied_to_the_node_and_resampled_show_the_same(scene, tmp_path, oblique, smooth_field):
    """The target under its parent, that parent under the result: as the command line warps the target."""
    own, parent = oblique((50, 44, 40)), rigid()
    world = Grid(own.shape, parent @ own.affine)
    target = add_volume(scene, blob(world, world.centre), own.affine, "target")
    mover = put_under(scene, target, parent)
    nodes.write_volume(target, tmp_path / "target.nrrd")
    fixed = Grid.centred(world.centre, (60, 60, 60), (1.5, 1.5, 2.0))
    save_transform(tmp_path / "transform.h5", smooth_field(fixed, 6.0, wavelength_mm=200.0))

    moving = sitk.ReadImage(str(tmp_path / "target.nrrd"))
    like = sitk.Image(*map(int, fixed.shape), sitk.sitkFloat32)
    like.SetSpacing(fixed.spacing.tolist())
    like.SetOrigin((fixed.affine[:3, 3] * LPS).tolist())
    like.SetDirection(np.diag(LPS).ravel().tolist())
    resampled = sitk.Resample(moving, like, sitk.ReadTransform(str(tmp_path / "transform.h5")), sitk.sitkLinear, 0.0)
    resampled = sitk.GetArrayFromImage(resampled).transpose(2, 1, 0)

    result = scene.AddNewNodeByClass("vtkMRMLTransformNode", "result")
    nodes.fill_transform(result, nodes.load_transform(tmp_path / "transform.h5"), None, target)
    mover.SetAndObserveTransformNodeID(result.GetID())
    shown_at = mapped(to_world(mover), [(np.linalg.inv(parent) @ [*world.centre, 1])[:3]])[0]
    assert np.linalg.norm(shown_at - world.centre) > 1.0  # the field does move the blob
    assert np.linalg.norm(shown_at - centroid(resampled, fixed)) < 0.1

    # what a slice view shows: each world point fetched from the volume through its transforms
    some = np.random.default_rng(2).integers(15, 45, (2000, 3))
    at = mapped(from_world(mover), fixed.to_world(some.astype(float)))
    seen = map_coordinates(slicer.util.arrayFromVolume(target).transpose(2, 1, 0), own.to_voxel(at).T, order=1)
    assert np.abs(seen - resampled[tuple(some.T)]).max() < 1.0


# --- segmentations ---

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
        nodes.Segment(
            n,
            f"Segment_{n}",
            name,
            color,
            {"TerminologyEntry": TERMINOLOGY.format(code), "Segmentation.Status": "completed", "my: tag": "a: b"},
        )
        for n, (name, (color, code)) in enumerate(SEGMENTS.items(), 1)
    ]
    nodes.fill_labels(node, nodes.Image(label_data.transpose(2, 1, 0), affine), segments, volume)
    if not shared:
        for n in range(len(segments)):
            node.GetSegmentation().SeparateSegmentLabelmap(f"Segment_{n + 1}")
    assert node.GetSegmentation().GetNumberOfLayers() == (1 if shared else 3)
    scene.RemoveNode(volume)
    return node, segments


def label_data(shape):
    labels = np.zeros(shape, np.uint8)
    labels[2:6, 3:8, 2:5] = 1
    labels[7:12, 2:6, 3:8] = 2
    labels[3:6, 8:11, 5:9] = 3
    return labels


def written(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0)


def voxels_of(node, reference):
    """Per segment the mask (I, J, K) on a volume's grid."""
    return {
        node.GetSegmentation().GetNthSegment(n).GetName(): slicer.util.arrayFromSegmentBinaryLabelmap(
            node, node.GetSegmentation().GetNthSegmentID(n), reference
        ).transpose(2, 1, 0)
        > 0
        for n in range(node.GetSegmentation().GetNumberOfSegments())
    }


@pytest.mark.parametrize("shared", [True, False], ids=["shared label map", "own label maps"])
@pytest.mark.parametrize("parents", ["none", "volume", "both", "two"])
def test_segmentation_is_written_on_the_volumes_grid(scene, tmp_path, odd_grid, shared, parents):
    labels = label_data(odd_grid.shape)
    move = rigid() if parents != "none" else np.eye(4)
    volume = add_volume(scene, scan_data(odd_grid.shape), odd_grid.affine)
    own = {
        "none": odd_grid.affine,
        "volume": move @ odd_grid.affine,
        "both": odd_grid.affine,
        "two": np.linalg.inv(rigid((40, 0, 0))) @ move @ odd_grid.affine,
    }[parents]  # each puts the labels on the scan
    node, segments = add_segmentation(scene, labels, own, shared)
    if parents != "none":
        parent = put_under(scene, volume, move)
    if parents == "both":
        node.SetAndObserveTransformNodeID(parent.GetID())
    if parents == "two":
        put_under(scene, node, rigid((40, 0, 0)))
    before = snapshot(scene, node, volume)
    nodes.check_segmentation(node, "The structures")
    assert nodes.write_segmentation(node, volume, tmp_path / "labels.nrrd") == segments
    assert snapshot(scene, node, volume) == before
    np.testing.assert_array_equal(written(tmp_path / "labels.nrrd"), labels)
    np.testing.assert_allclose(nodes.load_image(tmp_path / "labels.nrrd").matrix, move @ odd_grid.affine, atol=1e-9)


def test_segments_compared_by_name_get_the_other_ones_values(scene, tmp_path, oblique):
    """Names that the other segmentation lacks get values of their own."""
    volume = add_volume(scene, scan_data(oblique().shape), oblique().affine)
    node, _ = add_segmentation(scene, label_data(oblique().shape), oblique().affine)
    found = nodes.write_segmentation(node, volume, tmp_path / "labels.nrrd", names=["lung", "spine", "kidney left"])
    assert {s.name: s.value for s in found} == {"liver": 4, "kidney left": 3, "spine": 2}
    np.testing.assert_array_equal(
        written(tmp_path / "labels.nrrd"), np.array([0, 4, 3, 2])[label_data(oblique().shape)]
    )


def test_a_segmentation_that_its_parent_scales_is_written(scene, tmp_path, oblique):
    """In the segmentation's own frame the volume's grid is then sheared."""
    grid, scale = oblique(), np.diag([1.0, 1.0, 2.0, 1.0])
    coarse = Grid(grid.shape, np.linalg.inv(scale) @ Grid.centred(grid.centre, grid.shape, (2.0, 3.0, 2.5)).affine)
    labels = np.ones(grid.shape, np.uint8)
    labels[:, :, 5:] = 2
    node, _ = add_segmentation(scene, labels, coarse.affine)
    put_under(scene, node, scale)
    volume = add_volume(scene, scan_data(grid.shape), grid.affine)
    nodes.write_segmentation(node, volume, tmp_path / "labels.nrrd")
    index = np.round(apply_affine(np.linalg.inv(scale @ coarse.affine), grid.points()).numpy()).astype(int)
    inside = ((index >= 0) & (index < grid.shape)).all(-1)
    known = np.where(inside, labels[tuple(np.clip(index, 0, np.array(grid.shape) - 1).transpose(3, 0, 1, 2))], 0)
    assert (written(tmp_path / "labels.nrrd") == known).mean() > 0.995  # the rest lies half-way between voxels


def test_of_overlapping_segments_the_later_one_wins(scene, tmp_path, oblique):
    grid, known = oblique(), np.zeros(oblique().shape, np.uint8)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "overlapping")
    for n, low in enumerate((2, 4, 3), 1):
        box = (slice(low, low + 4),) * 3
        known[box] = n
        mask = np.zeros(grid.shape, np.uint8)
        mask[box] = 1
        labelmap = slicer.vtkOrientedImageData()
        labelmap.DeepCopy(add_volume(scene, mask, np.eye(4)).GetImageData())
        labelmap.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(grid.affine))
        node.AddSegmentFromBinaryLabelmapRepresentation(labelmap, f"box {n}")
    nodes.write_segmentation(node, add_volume(scene, scan_data(grid.shape), grid.affine), tmp_path / "labels.nrrd")
    np.testing.assert_array_equal(written(tmp_path / "labels.nrrd"), known)


def test_a_segmentation_of_surfaces_is_written_and_stays_one(scene, tmp_path, oblique):
    grid = oblique((30, 30, 30), (2.0, 2.0, 2.0))
    volume = add_volume(scene, scan_data(grid.shape), grid.affine)
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(15)
    sphere.SetThetaResolution(40)
    sphere.SetPhiResolution(40)
    move = rigid()
    sphere.SetCenter((np.linalg.inv(move) @ [*grid.centre, 1])[:3])
    sphere.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surfaces")
    node.SetSourceRepresentationToClosedSurface()
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", (1.0, 0.0, 0.0))
    put_under(scene, node, move)
    before = snapshot(scene, node, volume)
    segments = nodes.write_segmentation(node, volume, tmp_path / "labels.nrrd")
    assert snapshot(scene, node, volume) == before and segments[0].name == "ball"
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    known = np.linalg.norm(grid.points().numpy() - grid.centre, axis=-1) < 15
    found = written(tmp_path / "labels.nrrd") > 0
    assert 2 * (known & found).sum() / (known.sum() + found.sum()) > 0.97


def test_empty_and_moved_segmentations_are_refused(scene, oblique):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(UserError, match="has no segments"):
        nodes.check_segmentation(node, "The structures")
    moved = under_a_field(scene, oblique())
    node, _ = add_segmentation(scene, label_data(oblique().shape), oblique().affine)
    node.SetAndObserveTransformNodeID(moved.GetParentTransformNode().GetID())
    with pytest.raises(UserError, match="non-linear"):
        nodes.check_segmentation(node, "The structures")


@pytest.mark.parametrize("under_parent", [False, True])
def test_labels_are_read_with_names_colours_and_terminology(scene, tmp_path, odd_grid, under_parent):
    """Into a segmentation in use, under a parent, with other segments; the second segment is absent from the label map."""
    reference = add_volume(scene, scan_data(odd_grid.shape), odd_grid.affine)
    if under_parent:
        put_under(scene, reference, rigid())
    world = Grid(odd_grid.shape, nodes.voxel_to_world(reference))
    labels = np.where(label_data(odd_grid.shape) == 2, 0, label_data(odd_grid.shape))
    save_volume(tmp_path / "warped_labels.nii.gz", Volume(labels.astype(np.uint8), world))
    node, segments = add_segmentation(scene, np.ones((9, 9, 9), np.uint8), np.eye(4))
    node.GetDisplayNode().SetSegmentOverrideColor("Segment_1", 0, 0, 0)
    put_under(scene, node, rigid())
    for _ in range(2):
        nodes.fill_labels(node, nodes.load_image(tmp_path / "warped_labels.nii.gz"), segments, reference)

    segmentation = node.GetSegmentation()
    assert node.GetParentTransformNode() is None
    assert [nodes._describe(segmentation, n) for n in range(3)] == segments
    assert segmentation.GetNthSegment(0).GetTerminology() == LIVER
    assert [tuple(node.GetDisplayNode().GetSegmentColor(s.id)) for s in segments] == [s.color for s in segments]
    masks = voxels_of(node, reference)
    for segment in segments:
        np.testing.assert_array_equal(masks[segment.name], labels == segment.value)
    assert node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole()) == reference.GetID()
    geometry, kept = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(segmentation.GetConversionParameter(name), geometry)
    geometry.GetImageToWorldMatrix(kept)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(kept), world.affine, atol=1e-5)


def test_labels_stay_in_place_when_the_reference_was_cropped_meanwhile(scene, tmp_path, oblique):
    grid, labels = oblique(), label_data(oblique().shape)
    save_volume(tmp_path / "labels.nii.gz", Volume(labels, grid))
    moved = grid.affine.copy()
    moved[:3, 3] = grid.to_world(np.array([2.0, 3.0, 0.0]))
    cropped = add_volume(scene, scan_data((10, 9, 10)), moved)
    node, segments = add_segmentation(scene, labels, np.eye(4))
    nodes.fill_labels(node, nodes.load_image(tmp_path / "labels.nii.gz"), segments, cropped)
    for segment in segments:
        np.testing.assert_array_equal(voxels_of(node, cropped)[segment.name], (labels == segment.value)[2:12, 3:12])


def test_surfaces_that_were_shown_are_made_again(scene, tmp_path, oblique):
    reference = add_volume(scene, scan_data(oblique().shape), oblique().affine)
    node, segments = add_segmentation(scene, label_data(oblique().shape), oblique().affine)
    node.CreateClosedSurfaceRepresentation()
    moved = np.roll(label_data(oblique().shape), 1, axis=0)
    save_volume(tmp_path / "labels.nii.gz", Volume(moved, oblique()))
    nodes.fill_labels(node, nodes.load_image(tmp_path / "labels.nii.gz"), segments, reference)
    surface = vtk.vtkPolyData()
    node.GetClosedSurfaceRepresentation("Segment_1", surface)
    middle = np.mean([np.array(surface.GetBounds()[0::2]), np.array(surface.GetBounds()[1::2])], axis=0)
    assert np.linalg.norm(middle - centroid((moved == 1).astype(float), oblique())) < 0.5


def test_a_scene_keeps_the_segmentation(scene, tmp_path, oblique):
    volume = add_volume(scene, scan_data(oblique().shape), oblique().affine)
    node, segments = add_segmentation(scene, label_data(oblique().shape), oblique().affine)
    volume.CreateDefaultDisplayNodes()
    bundle = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(bundle)
    scene.Clear(True)
    assert scene.ReadFromMRB(bundle)
    again, volume = scene.GetFirstNodeByName("structures"), scene.GetFirstNodeByName("CT")
    found = nodes.write_segmentation(again, volume, tmp_path / "labels.nrrd")
    assert [(s.name, s.value) for s in found] == [(s.name, s.value) for s in segments]
    assert found[0].tags["TerminologyEntry"] == LIVER
    np.testing.assert_array_equal(written(tmp_path / "labels.nrrd"), label_data(oblique().shape))


# --- all or nothing ---


@pytest.mark.parametrize("load", [nodes.load_transform, nodes.load_image])
def test_a_bad_file_is_one_sentence(tmp_path, load):
    for name in ("absent.h5", "broken.nii.gz"):
        (tmp_path / "broken.nii.gz").write_bytes(b"not an image")
        with pytest.raises(UserError, match="run the registration again"):
            load(tmp_path / name)


def test_results_are_placed_beside_the_target_and_discarded(scene, oblique):
    target = add_volume(scene, scan_data(oblique().shape), oblique().affine, "target")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, target)
    mine = scene.AddNewNodeByClass("vtkMRMLTransformNode", "mine")

    results = nodes.Results(beside=target)
    assert results.node(mine, "vtkMRMLTransformNode", "target transform") is mine
    made = [results.node(None, "vtkMRMLScalarVolumeNode", "target warped") for _ in range(2)]
    made.append(results.node(None, "vtkMRMLSegmentationNode", "target labels"))
    assert len({node.GetName() for node in made}) == 3
    for node in made:
        node.CreateDefaultDisplayNodes()
        node.AddDefaultStorageNode()
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    scene.RemoveNode(made[1])  # the user was faster
    made[1:2] = []
    results.discard()
    results.discard()
    assert scene.IsNodePresent(mine) and not any(scene.IsNodePresent(node) for node in made)
    assert hierarchy.GetNumberOfItemChildren(study) == 1
