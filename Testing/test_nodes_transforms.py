"""Transform nodes from files: direction, reuse, saving, and agreement with the resampled scan."""

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
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.transforms import save_transform
from SlicRegSlicer.reading import Image, fill_transform, load_displacement_image
from SlicRegSlicer.writing import write_volume

pytest_plugins = ["scene_fixtures"]


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
    np.testing.assert_allclose(transform_points(get_from_world(node), field_file.points), field_file.moved, atol=1e-3)
    np.testing.assert_allclose(
        transform_points(get_to_world(node), field_file.moved), field_file.points, atol=0.02
    )  # VTK's own inverse
    itk = sitk.ReadTransform(str(field_file.path))
    by_itk = [itk.TransformPoint(p) for p in (field_file.points * LPS).tolist()] * LPS
    np.testing.assert_allclose(transform_points(get_from_world(node), field_file.points), by_itk, atol=1e-3)


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
    np.testing.assert_allclose(by_itk, field_file.moved, atol=1e-3)

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
    np.testing.assert_allclose(transform_points(get_from_world(node), field_file.points), field_file.moved, atol=1e-3)
    for role, known in ((node.GetFixedNodeReferenceRole(), fixed), (node.GetMovingNodeReferenceRole(), moving)):
        assert node.GetNumberOfNodeReferences(role) == 1 and node.GetNodeReference(role) is known

    name, bundle = node.GetName(), str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(bundle)
    scene.Clear(True)
    assert scene.ReadFromMRB(bundle)
    again = scene.GetFirstNodeByName(name)
    np.testing.assert_allclose(transform_points(get_from_world(again), field_file.points), field_file.moved, atol=0.05)
    assert again.GetNodeReference(again.GetFixedNodeReferenceRole()).GetName() == "fixed"


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
