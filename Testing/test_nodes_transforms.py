"""Transform nodes from files: direction, reuse, saving, and agreement with the resampled scan."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates

from scene_samples import (
    LPS,
    add_volume,
    blob,
    centroid,
    get_from_world,
    get_to_world,
    put_under,
    random_scan,
    rigid,
    slicer,
    transform_points,
)
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.transforms import save_transform
from SlicRegSlicer.reading import Image, fill_transform, load_displacement_image
from SlicRegSlicer.result_nodes import mark_result
from SlicRegSlicer.transform_storage import watch_scene
from SlicRegSlicer.writing import write_volume

pytest_plugins = ["scene_fixtures"]
ROUNDING = 1 / 256 + 1e-3  # mm, of the files, and of single precision


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
    fill_transform(node, load_displacement_image(field_file.path), None, None)
    assert np.abs(transform_points(get_from_world(node), field_file.points) - field_file.moved).max() < ROUNDING
    np.testing.assert_allclose(
        transform_points(get_to_world(node), field_file.moved), field_file.points, atol=0.02
    )  # VTK's own inverse
    itk = sitk.ReadTransform(str(field_file.path))
    by_itk = [itk.TransformPoint(p) for p in (field_file.points * LPS).tolist()] * LPS
    np.testing.assert_allclose(transform_points(get_from_world(node), field_file.points), by_itk, atol=1e-3)


@pytest.mark.parametrize("ending", ["h5", "nrrd", "nii.gz"])
def test_slicer_itself_reads_the_file(scene, tmp_path, odd_grid, ending):
    """Known points to known points: at the field's points, where no interpolation plays a part."""
    grid = Grid(odd_grid.shape, odd_grid.affine)
    vectors = torch.from_numpy(np.random.default_rng(4).integers(-999, 999, (3, *grid.shape)) / 128).float()
    path = str(tmp_path / f"transform.{ending}")
    save_transform(path, DisplacementField(vectors, grid))
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.AddDefaultStorageNode(path)
    node.GetStorageNode().SetFileName(path)
    assert node.GetStorageNode().ReadData(node)
    voxels = np.random.default_rng(5).integers(0, np.array(grid.shape) - 1, (50, 3))
    points = grid.to_world(voxels.astype(float))
    moved = points + vectors.numpy()[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].T
    np.testing.assert_allclose(transform_points(get_from_world(node), points), moved, atol=1e-3)


@pytest.mark.parametrize("suffix", [".h5", ".nii.gz"])
def test_transform_saved_by_slicer_is_read_by_others(scene, tmp_path, field_file, suffix):
    node, path = scene.AddNewNodeByClass("vtkMRMLTransformNode"), str(tmp_path / f"saved{suffix}")
    fill_transform(node, load_displacement_image(field_file.path), None, None)
    node.AddDefaultStorageNode(path)
    node.GetStorageNode().SetFileName(path)
    assert node.GetStorageNode().WriteData(node)

    if suffix == ".h5":
        itk = sitk.ReadTransform(path)
    else:
        itk = sitk.DisplacementFieldTransform(sitk.ReadImage(path, sitk.sitkVectorFloat64))
    by_itk = [itk.TransformPoint(p) for p in (field_file.points * LPS).tolist()] * LPS
    np.testing.assert_allclose(by_itk, field_file.moved, rtol=0, atol=ROUNDING)

    again = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    again.AddDefaultStorageNode(path)
    again.GetStorageNode().SetFileName(path)
    assert again.GetStorageNode().ReadData(again)
    # cubic between the vectors when read again, linear before
    np.testing.assert_allclose(transform_points(get_from_world(again), field_file.points), field_file.moved, atol=0.05)


def test_a_transform_node_in_use_is_replaced(scene, tmp_path, field_file):
    """A to-parent grid, roles and a parent leave nothing behind, on disk neither."""
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    former = np.full((9, 9, 9, 3), 50.0, np.float32)
    fill_transform(node, Image(former, np.eye(4)), None, None)
    grid = node.GetTransformFromParentAs("vtkOrientedGridTransform")
    node.SetAndObserveTransformFromParent(None)
    node.SetAndObserveTransformToParent(grid)
    put_under(scene, node, rigid())
    fixed, moving = (add_volume(scene, random_scan((9, 9, 9)), np.eye(4), name) for name in ("fixed", "moving"))
    for _ in range(2):
        fill_transform(node, load_displacement_image(field_file.path), fixed, moving)
    assert np.abs(transform_points(get_from_world(node), field_file.points) - field_file.moved).max() < ROUNDING
    for role, known in ((node.GetFixedNodeReferenceRole(), fixed), (node.GetMovingNodeReferenceRole(), moving)):
        assert node.GetNumberOfNodeReferences(role) == 1 and node.GetNodeReference(role) is known

    name, bundle = node.GetName(), str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(bundle)
    scene.Clear(True)
    assert scene.ReadFromMRB(bundle)
    again = scene.GetFirstNodeByName(name)
    np.testing.assert_allclose(transform_points(get_from_world(again), field_file.points), field_file.moved, atol=0.05)
    assert again.GetNodeReference(again.GetFixedNodeReferenceRole()).GetName() == "fixed"


def save_scene(scene, path) -> dict[str, int]:
    """Names and sizes of the transforms' files in the saved scene."""
    assert scene.WriteToMRB(str(path))
    with zipfile.ZipFile(path) as bundle:
        return {Path(file.filename).name: file.file_size for file in bundle.infolist() if "field" in file.filename}


def test_a_saved_scene_is_small_and_a_changed_field_can_be_saved(scene, tmp_path, smooth_field):
    """Slicer saves no inverted field as .nii.gz, and then no scene at all."""
    grid = Grid.centred((0, 0, 0), (40, 40, 30), (4.0, 4.0, 4.0))
    save_transform(tmp_path / "transform.h5", smooth_field(grid, 4.0, wavelength_mm=120.0))
    field = load_displacement_image(tmp_path / "transform.h5")
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "field")
    for _ in range(2):
        fill_transform(node, field, None, None)
    assert scene.GetNumberOfNodesByClass("vtkMRMLTransformStorageNode") == 1
    sizes = save_scene(scene, tmp_path / "small.mrb")
    assert list(sizes) == ["field.nii.gz"] and sizes["field.nii.gz"] < 4 * np.prod(grid.shape)  # doubles: 24 each

    points = grid.to_world(np.random.default_rng(6).uniform(5, 25, (20, 3)))
    moved = transform_points(get_from_world(node), points)
    node.Inverse()  # Slicer's button "Invert", before and after the node was saved
    assert list(save_scene(scene, tmp_path / "inverted.mrb")) == ["field.h5"]
    node.Inverse()
    node.GetStorageNode().SetFileName(str(tmp_path / "field.nii.gz"))
    node.Inverse()
    assert list(save_scene(scene, tmp_path / "again.mrb")) == ["field.h5"]
    scene.Clear(True)
    assert scene.ReadFromMRB(str(tmp_path / "again.mrb"))
    inverse = get_from_world(scene.GetFirstNodeByName("field"))
    np.testing.assert_allclose(transform_points(inverse, moved), points, atol=0.05)


def test_the_field_of_a_loaded_scene_can_be_saved_after_a_change(scene, tmp_path, field_file):
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "field")
    fill_transform(node, load_displacement_image(field_file.path), None, None)
    target = add_volume(scene, random_scan((9, 9, 9)), np.eye(4), "target")
    mark_result(node, target, target)
    save_scene(scene, tmp_path / "scene.mrb")
    scene.Clear(True)
    tag = watch_scene()
    try:
        assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    finally:
        scene.RemoveObserver(tag)
    scene.GetFirstNodeByName("field").Inverse()
    assert list(save_scene(scene, tmp_path / "inverted.mrb")) == ["field.h5"]


def test_a_file_that_the_user_chose_keeps_its_format(scene, tmp_path, field_file):
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "field")
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(tmp_path / "field.h5"))
    fill_transform(node, load_displacement_image(field_file.path), None, None)
    assert node.GetStorageNode().GetFileName() == str(tmp_path / "field.h5")


def test_applied_to_the_node_and_resampled_show_the_same(scene, tmp_path, oblique, smooth_field):
    """The target under its parent, that parent under the result: as the command line warps the target."""
    own, parent = oblique((50, 44, 40)), rigid()
    world = Grid(own.shape, parent @ own.affine)
    target = add_volume(scene, blob(world, world.centre), own.affine, "target")
    mover = put_under(scene, target, parent)
    write_volume(target, tmp_path / "target.nrrd")
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
    fill_transform(result, load_displacement_image(tmp_path / "transform.h5"), None, target)
    mover.SetAndObserveTransformNodeID(result.GetID())
    shown_at = transform_points(get_to_world(mover), [(np.linalg.inv(parent) @ [*world.centre, 1])[:3]])[0]
    assert np.linalg.norm(shown_at - world.centre) > 1.0  # the field does move the blob
    assert np.linalg.norm(shown_at - centroid(resampled, fixed)) < 0.1

    # what a slice view shows: each world point fetched from the volume through its transforms
    some = np.random.default_rng(2).integers(15, 45, (2000, 3))
    at = transform_points(get_from_world(mover), fixed.to_world(some.astype(float)))
    seen = map_coordinates(slicer.util.arrayFromVolume(target).transpose(2, 1, 0), own.to_voxel(at).T, order=1)
    assert np.abs(seen - resampled[tuple(some.T)]).max() < 1.0
