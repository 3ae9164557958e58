"""Maps of a displacement field against known answers, on an oblique grid with unequal voxels."""

import numpy as np
import pytest

from scene_samples import add_volume, rigid
from SlicRegSlicer import maps
from SlicRegSlicer.reading import Image, fill_transform
from SlicRegSlicer.segment_confidence import measure_segment_confidence

pytest_plugins = ["scene_fixtures"]

SHAPE = (9, 8, 7)  # I, J, K
MATRIX = rigid() @ np.diag([3.0, 4.0, 5.0, 1.0])
INDEX = np.stack(np.mgrid[: SHAPE[2], : SHAPE[1], : SHAPE[0]][::-1], -1)  # (K, J, I, 3): i, j, k
POINTS = INDEX @ MATRIX[:3, :3].T + MATRIX[:3, 3]
LINEAR = np.array([[1.1, 0.2, 0.0], [-0.1, 0.9, 0.05], [0.0, 0.3, -0.8]])  # of p -> p + u(p); it folds


def test_the_field_of_a_node_is_read_as_it_was_written(scene):
    vectors = np.random.default_rng(0).normal(size=(*SHAPE[::-1], 3)).astype(np.float32)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    fill_transform(node, Image(vectors, MATRIX), None, None)
    field = maps.view_field(node)
    np.testing.assert_array_equal(field.vectors, vectors)
    np.testing.assert_allclose(field.matrix, MATRIX, atol=1e-12)


def test_displacement_and_volume_change():
    field = maps.Field(POINTS @ LINEAR.T - POINTS, MATRIX)
    np.testing.assert_allclose(maps.measure_volume_change(field), np.linalg.det(LINEAR), rtol=1e-5)
    np.testing.assert_allclose(maps.measure_displacement(field), np.linalg.norm(field.vectors, axis=-1), rtol=1e-6)
    flat = maps.Field(np.zeros((1, 4, 4, 3)), MATRIX)
    np.testing.assert_allclose(maps.measure_volume_change(flat), 1)


def test_a_finer_map_says_the_same_at_the_same_places():
    fine, matrix = maps.refine(POINTS[..., 1].copy(), MATRIX, 2.0)
    assert np.linalg.norm(matrix[:3, :3], axis=0).max() <= 2.0
    k, j, i = np.mgrid[tuple(map(slice, fine.shape))]
    np.testing.assert_allclose(fine, i * matrix[1, 0] + j * matrix[1, 1] + k * matrix[1, 2] + matrix[1, 3], atol=1e-4)
    same, unchanged = maps.refine(POINTS[..., 1], MATRIX, 5.0)
    assert same.shape == SHAPE[::-1] and (unchanged == MATRIX).all()


def test_the_confidence_goes_on_beyond_the_body(scene):
    known = np.zeros(SHAPE, np.float32)
    known[2:5, 2:6, 1:4] = np.random.default_rng(0).uniform(0.2, 1, (3, 4, 3))
    values, matrix = maps.view_confidence(add_volume(scene, known, MATRIX))
    np.testing.assert_array_equal(values[known.T > 0], known.T[known.T > 0])
    np.testing.assert_allclose(matrix, MATRIX, atol=1e-9)
    assert values[0, 3, 3] == known[3, 3, 1] and values[2, 7, 4] == known[4, 5, 2]  # the nearest, in mm
    nothing, _ = maps.view_confidence(add_volume(scene, np.zeros(SHAPE, np.float32), MATRIX))
    assert not nothing.any()


def test_nearest_voxels_of_a_turned_grid():
    voxels = np.random.default_rng(0).integers(1, 99, SHAPE[::-1])
    swap = np.array([[0.0, 1, 0, 2], [1, 0, 0, 0], [0, 0, -1, 6], [0, 0, 0, 1]])  # (i, j, k) there -> here
    found = maps.sample_nearest(voxels, MATRIX, (7, 5, 4), MATRIX @ swap)
    for i, j, k in ((0, 0, 0), (3, 4, 6), (2, 1, 5)):
        assert found[k, j, i] == voxels[6 - k, i, j + 2]
    beyond = maps.sample_nearest(voxels, MATRIX, (2, 2, 2), MATRIX @ np.diag([20.0, 1, 1, 1]))
    assert (beyond[..., 1] == 0).all() and (beyond[..., 0] > 0).all()


def test_sheets_of_the_grid_lie_at_multiples_of_the_spacing(scene):
    field = maps.Field(POINTS @ LINEAR.T - POINTS + 1.0, MATRIX)
    body = np.zeros(SHAPE, np.float32)
    body[:5] = 1
    confidence = add_volume(scene, body, MATRIX)
    sheets = maps.make_grid_sheets(field, confidence, spacing_mm=6.0, step_mm=1.0)
    for axis, sheet in enumerate(sheets):
        used = {sheet.GetCell(n).GetPointId(m) for n in range(sheet.GetNumberOfCells()) for m in range(3)}
        points = np.array([sheet.GetPoint(n) for n in used])
        moved = (points @ LINEAR.T + 1.0)[:, axis] / 6.0
        assert len(points) > 50
        np.testing.assert_allclose(moved, np.rint(moved), atol=1e-3)
        indices = (points - MATRIX[:3, 3]) @ np.linalg.inv(MATRIX[:3, :3]).T
        assert indices[:, 0].max() <= 4.5 + 1e-6  # inside the body


def test_no_body_no_grid(scene):
    confidence = add_volume(scene, np.zeros(SHAPE, np.float32), MATRIX)
    sheets = maps.make_grid_sheets(maps.Field(np.zeros_like(POINTS), MATRIX), confidence, 6.0, 1.0)
    assert [sheet.GetNumberOfCells() for sheet in sheets] == [0, 0, 0]


def test_confidence_of_segments():
    labels = np.zeros(SHAPE[::-1], np.uint8)
    labels[:, :, :4], labels[:, :, 4:6], labels[:, :, 8] = 1, 2, 3
    sure = np.where(labels == 1, INDEX[..., 0] / 10 + 0.1, 0.5).astype(np.float32)
    sure[:, :4] = 0  # not known there
    sure[:, :, 8] = 0
    found = measure_segment_confidence(Image(labels, MATRIX), Image(sure, MATRIX), [1, 2, 3])
    assert found["1"] == pytest.approx([0.25, 0.1]) and found["2"] == pytest.approx([0.5, 0.5])
    assert found["3"] == [None, None]


def test_difference_does_not_wrap():
    low, high = np.array([-1000], np.int16), np.array([32767], np.int16)
    assert maps.subtract(low, high)[0] == -33767
