"""Markups and models carried by a transform node: known places, both directions, parent transforms, nothing else moved.

The known warp is p -> p + SHIFT + a bend, from a point of the template to the same point of the target; its inverse is
found by iteration here, independently of Slicer and of the library.
"""

import numpy as np
import pytest

from scene_samples import add_volume, put_under, rigid, slicer, transform_points, vtk
from SlicRegLib.errors import UserError
from SlicRegSlicer.carry import CLASSES, carry_node, find_partner, is_inverse
from SlicRegSlicer.reading import Image, fill_transform
from SlicRegSlicer.result_nodes import FIXED_ROLE, TARGET_ROLE, TEMPLATE_ROLE, mark_result

pytest_plugins = ["scene_fixtures"]

SHIFT = np.array([30.0, -20.0, 10.0])
SHAPE, SPACING = (40, 36, 32), 4.0
AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
AFFINE[:3, 3] = (-80.0, -72.0, -64.0)
POINTS = np.array([[0.0, 0.0, 0.0], [20.0, -15.0, 10.0], [-25.0, 18.0, -12.0], [31.0, 22.0, 7.0]])
TO_TARGET, TO_TEMPLATE = "template-to-target", "target-to-template"


def warp(points):
    """From the template to the target."""
    r, a, s = np.moveaxis(points, -1, 0)
    bend = np.stack([6 * np.sin(a / 30), 5 * np.cos(s / 25), 4 * np.sin(r / 35)], -1)
    return points + SHIFT + bend


def unwarp(points):
    found = points - SHIFT
    for _ in range(60):
        found = found + points - warp(found)
    return found


def make_field(function, affine):
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    return Image((function(places) - places).transpose(2, 1, 0, 3).astype(np.float32), affine)


@pytest.fixture
def result(scene):
    """Template, target, transform and inverse, as a registration leaves them."""
    for name in CLASSES:
        scene.RegisterNodeClass(getattr(slicer, name)())
    template = add_volume(scene, np.zeros((4, 4, 4), np.int16), AFFINE, "atlas")
    target = add_volume(scene, np.zeros((4, 4, 4), np.int16), AFFINE, "patient")
    moved = AFFINE.copy()
    moved[:3, 3] += SHIFT
    nodes = []
    for function, affine, fixed, moving in ((warp, AFFINE, template, target), (unwarp, moved, target, template)):
        node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "T")
        fill_transform(node, make_field(function, affine), fixed=fixed, moving=moving)
        mark_result(node, template, target)
        nodes.append(node)
    return nodes


def add_markups(scene, points, kind="Fiducial", name="P"):
    node = scene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node", name)
    for n, point in enumerate(points):
        node.AddControlPoint(vtk.vtkVector3d(*point), f"p{n}")
    return node


def read_points(node):
    return np.array([list(node.GetNthControlPointPositionWorld(n)) for n in range(node.GetNumberOfControlPoints())])


def add_model(scene, points, name="M"):
    """A strip of triangles."""
    data, cells = vtk.vtkPolyData(), vtk.vtkCellArray()
    places = vtk.vtkPoints()
    for point in points:
        places.InsertNextPoint(point)
    for first in range(len(points) - 2):
        cells.InsertNextCell(3, [first, first + 1, first + 2])
    data.SetPoints(places)
    data.SetPolys(cells)
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", name)
    node.SetAndObservePolyData(data)
    return node


def read_vertices(node):
    data = node.GetPolyData()
    return np.array([data.GetPoint(n) for n in range(data.GetNumberOfPoints())])


@pytest.mark.parametrize("kind", ["Fiducial", "Curve", "ClosedCurve", "Line", "Angle"])
@pytest.mark.parametrize("direction, function", [(TO_TARGET, warp), (TO_TEMPLATE, unwarp)])
def test_markups_come_to_known_places(scene, result, kind, direction, function):
    start = POINTS if direction == TO_TARGET else warp(POINTS)
    start = start[: {"Line": 2, "Angle": 3}.get(kind)]
    node = add_markups(scene, start, kind)
    node.SetNthControlPointDescription(1, "a note")
    copy = carry_node(node, result[0], direction)
    np.testing.assert_allclose(read_points(copy), function(start), atol=0.15)  # the grid is linear between voxels
    np.testing.assert_allclose(read_points(node), start)
    assert copy.GetClassName() == node.GetClassName() and copy.GetParentTransformNode() is None
    assert [copy.GetNthControlPointLabel(n) for n in range(len(start))] == [f"p{n}" for n in range(len(start))]
    assert copy.GetNthControlPointDescription(1) == "a note"
    assert copy.GetName() == ("P on patient" if direction == TO_TARGET else "P on atlas")


@pytest.mark.parametrize("direction, function", [(TO_TARGET, warp), (TO_TEMPLATE, unwarp)])
def test_models_come_to_known_places(scene, result, direction, function):
    start = POINTS if direction == TO_TARGET else warp(POINTS)
    node = add_model(scene, start)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetColor(0.1, 0.9, 0.3)
    copy = carry_node(node, result[0], direction)
    np.testing.assert_allclose(read_vertices(copy), function(start), atol=0.15)
    np.testing.assert_allclose(read_vertices(node), start, atol=1e-5)
    assert copy.GetPolyData().GetNumberOfCells() == 2 and copy.GetDisplayNode().GetColor() == (0.1, 0.9, 0.3)


@pytest.mark.parametrize("direction", [TO_TARGET, TO_TEMPLATE])
def test_the_inverse_is_the_same_registration(scene, result, direction):
    """Whichever of the two nodes is chosen; without the other one Slicer inverts it."""
    node = add_markups(scene, POINTS + (SHIFT if direction == TO_TEMPLATE else 0))
    transform, inverse = result
    assert [is_inverse(one) for one in result] == [False, True]
    assert find_partner(transform) is inverse and find_partner(inverse) is transform
    places = [read_points(carry_node(node, one, direction)) for one in result]
    np.testing.assert_array_equal(places[0], places[1])
    scene.RemoveNode(inverse)
    np.testing.assert_allclose(read_points(carry_node(node, transform, direction)), places[0], atol=0.15)


@pytest.mark.parametrize("add", [add_markups, add_model])
def test_scans_far_from_each_other_need_the_inverse(scene, result, add):
    """Slicer's numerical inversion would end more than 100 mm away, without a word."""
    transform, inverse = result
    far = np.array([0.0, 0.0, 400.0])
    field, there = make_field(lambda p: warp(p) + far, AFFINE), AFFINE.copy()
    for edge in (slice(0, 3), slice(-3, None)):  # zero at its border, as a registration's
        field.voxels[edge], field.voxels[:, edge], field.voxels[:, :, edge] = 0, 0, 0
    fill_transform(transform, field, *(transform.GetNodeReference(role) for role in (TEMPLATE_ROLE, TARGET_ROLE)))
    there[:3, 3] += SHIFT + far
    fill_transform(inverse, make_field(lambda p: unwarp(p - far), there), inverse.GetNodeReference(TARGET_ROLE), None)
    node = add(scene, warp(POINTS) + far)
    read = read_points if add is add_markups else read_vertices
    np.testing.assert_allclose(read(carry_node(node, transform, TO_TEMPLATE)), POINTS, atol=0.15)
    scene.RemoveNode(inverse)
    before = scene.GetNumberOfNodes()
    with pytest.raises(UserError, match="without the inverse transform"):
        carry_node(node, transform, TO_TEMPLATE)
    assert scene.GetNumberOfNodes() == before


def test_a_transform_without_marks_leads_from_its_fixed_scan(scene, result):
    """As one that was loaded from transform.h5."""
    node, other = add_markups(scene, POINTS), scene.AddNewNodeByClass("vtkMRMLTransformNode", "loaded")
    fill_transform(other, make_field(warp, AFFINE), None, None)
    copy = carry_node(node, other, TO_TARGET)
    np.testing.assert_allclose(read_points(copy), warp(POINTS), atol=0.15)
    assert copy.GetName() == "P on target"
    back = carry_node(copy, other, TO_TEMPLATE)
    np.testing.assert_allclose(read_points(back), POINTS, atol=0.05)


def test_a_linear_transform_is_inverted_exactly(scene, result):
    linear = put_under(scene, add_markups(scene, POINTS), rigid())
    copy = carry_node(add_markups(scene, POINTS), linear, TO_TEMPLATE)
    np.testing.assert_allclose(read_points(carry_node(copy, linear, TO_TARGET)), POINTS, atol=1e-6)


def test_parent_transforms_are_applied(scene, result):
    """Markups in the frame of a parent, which is itself under another one."""
    matrix, outer = rigid(), rigid((-20.0, 5.0, 8.0), (3.0, 4.0, -9.0))
    local = (np.linalg.inv(outer @ matrix) @ np.column_stack([POINTS, np.ones(4)]).T).T[:, :3]
    for node, read in ((add_markups(scene, local), read_points), (add_model(scene, local), read_vertices)):
        parent = put_under(scene, node, matrix)
        put_under(scene, parent, outer)
        copy = carry_node(node, result[0], TO_TARGET)
        np.testing.assert_allclose(read(copy), warp(POINTS), atol=0.15)
        assert copy.GetParentTransformNode() is None and node.GetParentTransformNode() is parent


def test_a_parent_that_is_a_field_is_applied(scene, result):
    """Points of the template under the inverse's transform to the world are points of the target."""
    node, parent = add_markups(scene, POINTS), scene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    fill_transform(parent, make_field(warp, AFFINE), None, None)
    node.SetAndObserveTransformNodeID(parent.GetID())
    world = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(world)
    copy = carry_node(node, result[0], TO_TARGET)
    np.testing.assert_allclose(read_points(copy), warp(transform_points(world, POINTS)), atol=0.3)


def test_what_cannot_be_carried_is_one_sentence_and_makes_no_node(scene, result):
    transform = result[0]
    scene.RegisterNodeClass(slicer.vtkMRMLMarkupsPlaneNode())
    plane = scene.AddNewNodeByClass("vtkMRMLMarkupsPlaneNode", "plane")
    empty, points = add_markups(scene, []), add_markups(scene, POINTS)
    under = add_markups(scene, POINTS, name="under")
    under.SetAndObserveTransformNodeID(transform.GetID())
    before = scene.GetNumberOfNodes()
    for node, used, text in (
        (plane, transform, "Choose markups"),
        (None, transform, "Choose markups"),
        (empty, transform, "is empty"),
        (scene.AddNewNodeByClass("vtkMRMLModelNode", "none"), transform, "is empty"),
        (points, None, "Choose the transform"),
        (points, plane, "Choose the transform"),
        (under, transform, "already"),
    ):
        with pytest.raises(UserError, match=text):
            carry_node(node, used)
    assert scene.GetNumberOfNodes() == before + 1  # the empty model


def test_the_side_of_a_field_is_known_without_slicers_own_reference(result):
    """Older versions of Slicer have none; scenes of older versions of SlicReg have nothing else."""
    transform, inverse = result
    inverse.SetNodeReferenceID(inverse.GetFixedNodeReferenceRole(), None)
    assert is_inverse(inverse) and not is_inverse(transform)
    transform.SetNodeReferenceID(FIXED_ROLE, None)
    assert not is_inverse(transform) and find_partner(transform) is inverse
