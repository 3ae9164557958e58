"""Result files that cannot be read, and the nodes for results: created, reused, told apart, discarded."""

import numpy as np
import pytest

from scene_samples import add_volume, random_scan, slicer
from SlicRegLib.errors import UserError
from SlicRegSlicer.reading import load_displacement_image, load_image
from SlicRegSlicer.result_nodes import (
    LABELS,
    VOLUME,
    ResultNodes,
    belongs_to_other_scans,
    find_supervoxels,
    hide,
    list_scans,
    mark_result,
    remove,
)

pytest_plugins = ["scene_fixtures"]


@pytest.mark.parametrize("load", [load_displacement_image, load_image])
def test_a_bad_file_is_one_sentence(tmp_path, load):
    for name in ("absent.h5", "broken.nii.gz"):
        (tmp_path / "broken.nii.gz").write_bytes(b"not an image")
        with pytest.raises(UserError, match="run the registration again"):
            load(tmp_path / name)


def test_results_are_placed_beside_the_target_and_discarded(scene, oblique):
    target = add_volume(scene, random_scan(oblique().shape), oblique().affine, "target")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, target)
    mine = scene.AddNewNodeByClass("vtkMRMLTransformNode", "mine")

    results = ResultNodes(beside=target)
    assert results.reuse_or_add(mine, "vtkMRMLTransformNode", "target transform") is mine
    made = [results.reuse_or_add(None, "vtkMRMLScalarVolumeNode", "target warped") for _ in range(2)]
    made.append(results.reuse_or_add(None, "vtkMRMLSegmentationNode", "target labels"))
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


def test_results_lie_in_a_folder_of_their_own(scene, oblique):
    target = add_volume(scene, random_scan(oblique().shape), oblique().affine, "target")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    hierarchy.CreateItem(patient, target)
    first, second = (ResultNodes(target, "target registered to template") for _ in range(2))
    nodes = [results.reuse_or_add(None, VOLUME, "warped") for results in (first, second)]
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in nodes}
    (folder,) = folders
    assert hierarchy.GetItemName(folder) == "target registered to template"
    assert hierarchy.GetItemParent(folder) == patient
    second.discard()
    assert hierarchy.GetNumberOfItemChildren(folder) == 1  # the other result stays
    hierarchy.RemoveItem(hierarchy.GetItemByDataNode(nodes[0]), False, False)
    scene.RemoveNode(nodes[0])
    first.discard()
    assert hierarchy.GetItemChildWithName(patient, "target registered to template") == 0


def test_nodes_for_the_views_are_hidden_and_removed_whole(scene):
    node = scene.AddNewNodeByClass(VOLUME, "map")
    node.CreateDefaultDisplayNodes()
    before = scene.GetNumberOfNodes()
    hide(node)
    assert node not in list_scans() and not node.GetSaveWithScene() and not node.GetDisplayNode().GetSaveWithScene()
    remove(node)
    assert scene.GetNumberOfNodes() == before - 2


def test_an_output_that_was_deleted_is_created_again(scene):
    deleted = scene.AddNewNodeByClass(VOLUME, "deleted")
    scene.RemoveNode(deleted)
    again = ResultNodes().reuse_or_add(deleted, VOLUME, "again")
    assert again is not deleted and scene.IsNodePresent(again)


def test_results_are_told_apart_from_scans_and_from_results_of_others(scene):
    template, target, other = (add_volume(scene, random_scan((9, 9, 9)), np.eye(4), name) for name in "abc")
    supervoxels = scene.AddNewNodeByClass(LABELS, "supervoxels")
    warped = scene.AddNewNodeByClass(VOLUME, "warped")
    assert not belongs_to_other_scans(None, template, target) and not belongs_to_other_scans(warped, template, target)
    for node in (supervoxels, warped):
        mark_result(node, template, target)
    assert list_scans() == [template, target, other]
    assert find_supervoxels(target) is supervoxels and find_supervoxels(other) is None
    assert not belongs_to_other_scans(warped, template, target)
    assert belongs_to_other_scans(warped, template, other) and belongs_to_other_scans(warped, other, target)
