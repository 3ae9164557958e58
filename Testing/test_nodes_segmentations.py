"""Segmentation nodes to label maps and back: values, names, colours, terminology, surfaces."""

import numpy as np
import pytest

from scene_samples import (
    LIVER,
    add_segmentation,
    add_volume,
    centroid,
    make_labels,
    put_under,
    random_scan,
    read_label_file,
    read_segments,
    record_state,
    rigid,
    slicer,
    vtk,
)
from SlicRegLib.geometry.grid import Grid, apply_affine
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegSlicer.checks import check_segmentation
from SlicRegSlicer.node_arrays import compute_voxel_to_world
from SlicRegSlicer.reading import fill_segmentation, load_image
from SlicRegSlicer.segments import describe_segments
from SlicRegSlicer.writing import write_segmentation

pytest_plugins = ["scene_fixtures"]


@pytest.mark.parametrize("shared", [True, False], ids=["shared label map", "own label maps"])
@pytest.mark.parametrize("parents", ["none", "volume", "both", "two"])
def test_segmentation_is_written_on_the_volumes_grid(scene, tmp_path, odd_grid, shared, parents):
    labels = make_labels(odd_grid.shape)
    move = rigid() if parents != "none" else np.eye(4)
    volume = add_volume(scene, random_scan(odd_grid.shape), odd_grid.affine)
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
    before = record_state(scene, node, volume)
    check_segmentation(node, "The structures")
    assert write_segmentation(node, volume, tmp_path / "labels.nrrd") == segments
    assert record_state(scene, node, volume) == before
    np.testing.assert_array_equal(read_label_file(tmp_path / "labels.nrrd"), labels)
    np.testing.assert_allclose(load_image(tmp_path / "labels.nrrd").matrix, move @ odd_grid.affine, atol=1e-9)


def test_segments_compared_by_name_get_the_other_ones_values(scene, tmp_path, oblique):
    """Names that the other segmentation lacks get values of their own."""
    volume = add_volume(scene, random_scan(oblique().shape), oblique().affine)
    node, _ = add_segmentation(scene, make_labels(oblique().shape), oblique().affine)
    found = write_segmentation(node, volume, tmp_path / "labels.nrrd", names={"lung": 1, "spine": 2, "kidney left": 3})
    assert {s.name: s.value for s in found} == {"liver": 4, "kidney left": 3, "spine": 2}
    np.testing.assert_array_equal(
        read_label_file(tmp_path / "labels.nrrd"), np.array([0, 4, 3, 2])[make_labels(oblique().shape)]
    )


def test_a_segmentation_that_its_parent_scales_is_written(scene, tmp_path, oblique):
    """In the segmentation's own frame the volume's grid is then sheared."""
    grid, scale = oblique(), np.diag([1.0, 1.0, 2.0, 1.0])
    coarse = Grid(grid.shape, np.linalg.inv(scale) @ Grid.centred(grid.centre, grid.shape, (2.0, 3.0, 2.5)).affine)
    labels = np.ones(grid.shape, np.uint8)
    labels[:, :, 5:] = 2
    node, _ = add_segmentation(scene, labels, coarse.affine)
    put_under(scene, node, scale)
    volume = add_volume(scene, random_scan(grid.shape), grid.affine)
    write_segmentation(node, volume, tmp_path / "labels.nrrd")
    index = np.round(apply_affine(np.linalg.inv(scale @ coarse.affine), grid.points()).numpy()).astype(int)
    inside = ((index >= 0) & (index < grid.shape)).all(-1)
    known = np.where(inside, labels[tuple(np.clip(index, 0, np.array(grid.shape) - 1).transpose(3, 0, 1, 2))], 0)
    assert (read_label_file(tmp_path / "labels.nrrd") == known).mean() > 0.995  # the rest lies half-way between voxels


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
    write_segmentation(node, add_volume(scene, random_scan(grid.shape), grid.affine), tmp_path / "labels.nrrd")
    np.testing.assert_array_equal(read_label_file(tmp_path / "labels.nrrd"), known)


def test_a_segmentation_of_surfaces_is_written_and_stays_one(scene, tmp_path, oblique):
    grid = oblique((30, 30, 30), (2.0, 2.0, 2.0))
    volume = add_volume(scene, random_scan(grid.shape), grid.affine)
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
    before = record_state(scene, node, volume)
    segments = write_segmentation(node, volume, tmp_path / "labels.nrrd")
    assert record_state(scene, node, volume) == before and segments[0].name == "ball"
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    known = np.linalg.norm(grid.points().numpy() - grid.centre, axis=-1) < 15
    found = read_label_file(tmp_path / "labels.nrrd") > 0
    assert 2 * (known & found).sum() / (known.sum() + found.sum()) > 0.97


@pytest.mark.parametrize("under_parent", [False, True])
def test_labels_are_read_with_names_colours_and_terminology(scene, tmp_path, odd_grid, under_parent):
    """Into a segmentation in use, under a parent; the second segment is absent from the label map."""
    reference = add_volume(scene, random_scan(odd_grid.shape), odd_grid.affine)
    if under_parent:
        put_under(scene, reference, rigid())
    world = Grid(odd_grid.shape, compute_voxel_to_world(reference))
    labels = np.where(make_labels(odd_grid.shape) == 2, 0, make_labels(odd_grid.shape))
    save_volume(tmp_path / "warped_labels.nii.gz", Volume(labels.astype(np.uint8), world))
    node, segments = add_segmentation(scene, np.ones((9, 9, 9), np.uint8), np.eye(4))
    node.GetDisplayNode().SetSegmentOverrideColor("Segment_1", 0, 0, 0)
    put_under(scene, node, rigid())
    for _ in range(2):
        fill_segmentation(node, load_image(tmp_path / "warped_labels.nii.gz"), segments, reference)

    segmentation = node.GetSegmentation()
    assert node.GetParentTransformNode() is None
    assert describe_segments(segmentation) == segments
    assert segmentation.GetNthSegment(0).GetTerminology() == LIVER
    assert [tuple(node.GetDisplayNode().GetSegmentColor(s.id)) for s in segments] == [s.color for s in segments]
    masks = read_segments(node, reference)
    for segment in segments:
        np.testing.assert_array_equal(masks[segment.name], labels == segment.value)
    assert node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole()) == reference.GetID()
    geometry, kept = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(segmentation.GetConversionParameter(name), geometry)
    geometry.GetImageToWorldMatrix(kept)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(kept), world.affine, atol=1e-5)


def test_labels_stay_in_place_when_the_reference_was_cropped_meanwhile(scene, tmp_path, oblique):
    grid, labels = oblique(), make_labels(oblique().shape)
    save_volume(tmp_path / "labels.nii.gz", Volume(labels, grid))
    moved = grid.affine.copy()
    moved[:3, 3] = grid.to_world(np.array([2.0, 3.0, 0.0]))
    cropped = add_volume(scene, random_scan((10, 9, 10)), moved)
    node, segments = add_segmentation(scene, labels, np.eye(4))
    fill_segmentation(node, load_image(tmp_path / "labels.nii.gz"), segments, cropped)
    for segment in segments:
        np.testing.assert_array_equal(read_segments(node, cropped)[segment.name], (labels == segment.value)[2:12, 3:12])


def test_surfaces_that_were_shown_are_made_again(scene, tmp_path, oblique):
    reference = add_volume(scene, random_scan(oblique().shape), oblique().affine)
    node, segments = add_segmentation(scene, make_labels(oblique().shape), oblique().affine)
    node.CreateClosedSurfaceRepresentation()
    moved = np.roll(make_labels(oblique().shape), 1, axis=0)
    save_volume(tmp_path / "labels.nii.gz", Volume(moved, oblique()))
    fill_segmentation(node, load_image(tmp_path / "labels.nii.gz"), segments, reference)
    surface = vtk.vtkPolyData()
    node.GetClosedSurfaceRepresentation("Segment_1", surface)
    middle = np.mean([np.array(surface.GetBounds()[0::2]), np.array(surface.GetBounds()[1::2])], axis=0)
    assert np.linalg.norm(middle - centroid((moved == 1).astype(float), oblique())) < 0.5


def test_a_scene_keeps_the_segmentation(scene, tmp_path, oblique):
    volume = add_volume(scene, random_scan(oblique().shape), oblique().affine)
    _, segments = add_segmentation(scene, make_labels(oblique().shape), oblique().affine)
    volume.CreateDefaultDisplayNodes()
    bundle = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(bundle)
    scene.Clear(True)
    assert scene.ReadFromMRB(bundle)
    again, volume = scene.GetFirstNodeByName("structures"), scene.GetFirstNodeByName("CT")
    found = write_segmentation(again, volume, tmp_path / "labels.nrrd")
    assert [(s.name, s.value) for s in found] == [(s.name, s.value) for s in segments]
    assert found[0].tags["TerminologyEntry"] == LIVER
    np.testing.assert_array_equal(read_label_file(tmp_path / "labels.nrrd"), make_labels(oblique().shape))
