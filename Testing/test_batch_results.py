"""Results of a batch as nodes: in the right place, with the verdict, and only once."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from scene_samples import (
    add_segmentation,
    add_volume,
    get_from_world,
    make_labels,
    read_label_file,
    slicer,
    transform_points,
)
from SlicRegLib.errors import UserError
from SlicRegLib.images.displacements import write_displacements
from SlicRegLib.images.itk import make_image
from SlicRegLib.images.itk_writing import write_image
from SlicRegLib.jobs.batch_rows import COLUMNS
from SlicRegSlicer.batch_results import load_result
from SlicRegSlicer.result_nodes import VERDICT, list_scans, mark_result
from SlicRegSlicer.scene_batch import find_segmentation, list_targets
from SlicRegSlicer.segments import list_segment_names
from SlicRegSlicer.writing import write_segmentation

pytest_plugins = ["scene_fixtures"]

SHAPE = (14, 12, 10)
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
AFFINE[:3, 3] = (-10.0, 5.0, 20.0)
SHIFT = np.array([6.0, -3.0, 4.0])  # from the template to the target
ROW = {**dict.fromkeys(COLUMNS), "name": "pt 1", "status": "done", "verdict": "doubtful", "error": ""}
REPORT = {"after": {"dice": {"1": 0.5, "9": 0.6}}}
CLASSES = ("vtkMRMLTransformNode", "vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode")


@pytest.fixture
def result(scene, tmp_path):
    """The folder of a batch with one result: the target is the template, shifted; its labels are carried along."""
    template = add_volume(scene, np.zeros(SHAPE, np.int16), AFFINE, "template")
    node, segments = add_segmentation(scene, make_labels(SHAPE), AFFINE)
    folder, inputs = tmp_path / "pt 1", tmp_path / "inputs"
    folder.mkdir()
    inputs.mkdir()
    segments = write_segmentation(node, template, inputs / "template_label.nrrd", numbers="own")
    (inputs / "segments.json").write_text(
        json.dumps({"segments": [dataclasses.asdict(segment) for segment in segments]})
    )
    moved = AFFINE.copy()
    moved[:3, 3] += SHIFT
    for name, affine, shift in (("transform", AFFINE, SHIFT), ("transform_inverse", moved, -SHIFT)):
        write_displacements(folder / f"{name}.h5", np.broadcast_to(shift, (*SHAPE, 3)), affine)
    scan = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    write_image(folder / "warped_target.nii.gz", make_image(scan, AFFINE))
    write_image(folder / "warped_labels.nii.gz", make_image(make_labels(SHAPE), moved))
    write_image(tmp_path / "scan.nii.gz", make_image(scan, moved))
    (folder / "report.json").write_text(json.dumps(REPORT))
    return SimpleNamespace(out=tmp_path, scan=tmp_path / "scan.nii.gz", template=template, segmentation=node)


def count() -> list[int]:
    return [len(slicer.util.getNodesByClass(name)) for name in CLASSES]


def test_a_result_becomes_the_nodes_of_a_registration(result):
    before = count()
    target, loaded = load_result(ROW, result.out, result.scan, result.template)
    assert [after - n for after, n in zip(count(), before, strict=True)] == [2, 2, 1]
    points = np.array([[0.0, 10.0, 30.0], [4.0, 20.0, 40.0]])
    np.testing.assert_allclose(transform_points(get_from_world(loaded.transform), points), points + SHIFT, atol=1e-4)
    np.testing.assert_allclose(transform_points(get_from_world(loaded.inverse), points + SHIFT), points, atol=1e-4)
    # the target lies where its file says, the segments on it
    assert target in list_scans() and loaded.warpedTarget not in list_scans()
    bounds, expected = np.zeros(6), np.zeros(6)
    loaded.warpedSegmentation.GetRASBounds(bounds)
    result.segmentation.GetRASBounds(expected)
    np.testing.assert_allclose(bounds, expected + np.repeat(SHIFT, 2), atol=1e-3)
    assert list_segment_names(loaded.warpedSegmentation) == list_segment_names(result.segmentation)
    assert loaded.transform.GetAttribute(VERDICT) == "doubtful"
    assert loaded.report["segments"]["1"] == list_segment_names(result.segmentation)[0]
    assert loaded.report["segments"]["9"] == "9"  # of a label that the template's segments lack now
    assert loaded.transform.GetName() == "pt 1 to template" and target.GetName() == "pt 1"


def test_loaded_again_it_fills_the_same_nodes(result):
    first = load_result(ROW, result.out, result.scan, result.template)
    before = count()
    second = load_result(ROW, result.out, result.scan, result.template)
    assert second == first and count() == before


def test_a_target_of_the_scene_is_used(scene, result):
    mine = add_volume(scene, np.zeros(SHAPE, np.int16), AFFINE, "mine")
    target, _outputs = load_result(ROW, result.out, result.scan, result.template, mine)
    assert target is mine and count() == [2, 3, 2]


def test_without_template_and_target(scene, result):
    scene.RemoveNode(result.template)
    result.scan.unlink()
    result.scan.mkdir()  # as a folder of several DICOM series
    target, loaded = load_result(ROW, result.out, result.scan)
    assert target is None and loaded.warpedSegmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert count() == [2, 1, 2]


@pytest.mark.parametrize(
    "file, text",
    [
        ("pt 1/report.json", "has no result yet"),
        ("pt 1/transform_inverse.h5", "is not a displacement field"),
        ("pt 1/warped_target.nii.gz", "cannot be read as an image"),
        ("inputs/segments.json", "is missing or damaged; run the batch again"),
        ("scan.nii.gz", "cannot be read as an image"),
    ],
)
def test_an_incomplete_result_leaves_the_scene_as_it_was(scene, result, file, text):
    (result.out / file).unlink()
    before = scene.GetNumberOfNodes()
    with pytest.raises(UserError, match=text):
        load_result(ROW, result.out, result.scan, result.template)
    assert scene.GetNumberOfNodes() == before


@pytest.mark.parametrize("content", ["", "[]", '{"after": 3}', '{"after": {"dice": NaN}}'])
def test_a_damaged_report_leaves_the_scene_as_it_was(scene, result, content):
    (result.out / "pt 1" / "report.json").write_text(content)
    before = scene.GetNumberOfNodes()
    with pytest.raises(UserError, match="is missing or damaged; run the batch again"):
        load_result(ROW, result.out, result.scan, result.template)
    assert scene.GetNumberOfNodes() == before


# ---- labels of the scans


def test_the_template_keeps_the_numbers_of_its_label_file(scene, tmp_path):
    """Label files of a batch's scans are compared with them."""
    values = np.array([0, 3, 7, 300], np.int16)[make_labels(SHAPE)]
    volume = add_volume(scene, values, AFFINE, "template")
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(labels, np.ascontiguousarray(values.transpose(2, 1, 0)))
    labels.CopyOrientation(volume)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
    segments = write_segmentation(node, volume, tmp_path / "own.nrrd", numbers="own")
    assert [segment.value for segment in segments] == [3, 7, 300]
    np.testing.assert_array_equal(read_label_file(tmp_path / "own.nrrd"), values)
    node.GetSegmentation().GetNthSegment(1).SetLabelValue(3)
    with pytest.raises(UserError, match="same label value"):
        write_segmentation(node, volume, tmp_path / "twice.nrrd", numbers="own")


def test_a_segmentation_belongs_to_its_reference_volume(scene):
    volume, other = (add_volume(scene, np.zeros(SHAPE, np.int16), AFFINE, name) for name in "ab")
    node, _segments = add_segmentation(scene, make_labels(SHAPE), AFFINE)
    assert find_segmentation(volume) is None
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    assert find_segmentation(volume) is node and find_segmentation(other) is None
    assert find_segmentation(volume, ["liver", "x"]) is node and find_segmentation(volume, ["x"]) is None
    mark_result(node, other, volume)  # carried, not drawn: no truth to measure against
    assert find_segmentation(volume) is None


def test_the_file_of_the_template_is_no_target(scene, tmp_path):
    for name in ("a.nrrd", "template.nrrd"):
        (tmp_path / name).touch()
    template = add_volume(scene, np.zeros(SHAPE, np.int16), AFFINE)
    assert [name for name, _ in list_targets(tmp_path, template)] == ["a", "template"]
    template.AddDefaultStorageNode()
    template.GetStorageNode().SetFileName(str(tmp_path / "template.nrrd"))
    assert [name for name, _ in list_targets(tmp_path, template)] == ["a"]
