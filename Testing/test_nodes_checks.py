"""What cannot be registered is refused in one sentence."""

import numpy as np
import pytest

from scene_samples import (
    add_segmentation,
    add_volume,
    make_labels,
    put_under,
    random_scan,
    rigid,
    slicer,
    under_a_field,
)
from SlicRegLib.errors import UserError
from SlicRegSlicer.checks import check_output, check_segmentation, check_volume
from SlicRegSlicer.writing import write_volume

pytest_plugins = ["scene_fixtures"]


def sheared(scene, grid):
    matrix = grid.affine.copy()
    matrix[:3, 2] += 0.3 * matrix[:3, 1]
    node = add_volume(scene, random_scan(grid.shape), np.eye(4))
    node.SetIJKToRASDirections(*(matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)).ravel())
    return node


def sheared_by_parent(scene, grid):
    node = add_volume(scene, random_scan(grid.shape), grid.affine)
    put_under(scene, node, np.diag([1.0, 1.0, 2.0, 1.0]))  # a scale across the axes of an oblique volume
    return node


def of_voxels(change):
    def make(scene, grid):
        return add_volume(scene, change(random_scan(grid.shape, np.float32)), grid.affine)

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
        check_volume(make(scene, oblique()), "The target")
    assert text in str(caught.value)
    assert str(caught.value).startswith("The target") and str(caught.value).endswith(".") and "; " in str(caught.value)


def test_what_is_refused_is_not_written_either(scene, tmp_path, oblique):
    for make in (sheared, sheared_by_parent, under_a_field):
        with pytest.raises(UserError):
            write_volume(make(scene, oblique()), tmp_path / "scan.nrrd")
    assert not list(tmp_path.iterdir())


def test_a_scan_is_accepted(scene, odd_grid):
    node = add_volume(scene, random_scan(odd_grid.shape), odd_grid.affine)
    put_under(scene, node, rigid())
    check_volume(node, "The target")


def test_outputs_that_are_or_move_inputs_are_refused(scene, oblique):
    node = add_volume(scene, random_scan(oblique().shape), oblique().affine)
    parent = put_under(scene, node, rigid())
    outer = put_under(scene, parent, rigid())
    for output in (node, parent, outer):
        with pytest.raises(UserError, match="choose another"):
            check_output(output, [None, node], "The output transform")
    check_output(None, [node], "The output transform")
    check_output(scene.AddNewNodeByClass("vtkMRMLTransformNode"), [node], "The output transform")


def test_empty_and_moved_segmentations_are_refused(scene, oblique):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(UserError, match="has no segments"):
        check_segmentation(node, "The structures")
    moved = under_a_field(scene, oblique())
    node, _ = add_segmentation(scene, make_labels(oblique().shape), oblique().affine)
    node.SetAndObserveTransformNodeID(moved.GetParentTransformNode().GetID())
    with pytest.raises(UserError, match="non-linear"):
        check_segmentation(node, "The structures")
