"""Markups and models from the template to the target and back: copies under the hardened transform of a result.

A result's transform node holds the resampling field, which leads from a point of the fixed scan to one of the moving
scan; Slicer calls this from-parent, since a volume is resampled by asking where each voxel comes from. So points go
from the template to the target along the field itself, and back along the field of the inverse, which the registration
has written, where it is in the scene.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from SlicRegLib.errors import UserError

from .maps import view_field
from .result_nodes import FIXED_ROLE, TARGET_ROLE, TEMPLATE_ROLE, TRANSFORM, ResultNodes
from .translation import _

Direction = Literal["template-to-target", "target-to-template"]
TO_TARGET: Direction = "template-to-target"
TO_TEMPLATE: Direction = "target-to-template"
CLASSES = (
    "vtkMRMLMarkupsFiducialNode",
    "vtkMRMLMarkupsLineNode",
    "vtkMRMLMarkupsCurveNode",
    "vtkMRMLMarkupsClosedCurveNode",
    "vtkMRMLMarkupsAngleNode",
    "vtkMRMLModelNode",
)
"""What can be carried. Planes and regions of interest cannot: they are flat or boxes and would not be any more."""
RETURN_MM = 1.0
"""How far carried points may be from where they came from when they are led back."""


def carry_node(node, transform, direction: Direction = TO_TARGET):
    """A copy of markups or of a model where the transform takes it; the node itself stays as it is.

    The copy lies in the world: parent transforms of the node are applied. transform: the transform of a result, or its
    inverse. Raises UserError for nodes that cannot be carried.
    """
    if node is None or node.GetClassName() not in CLASSES:
        raise UserError(_("Choose markups (points, lines, curves) or a model; other nodes cannot be carried."))
    if _is_empty(node):
        raise UserError(_("{name} is empty; choose another node.").format(name=node.GetName()))
    if transform is None or not transform.IsA(TRANSFORM):
        raise UserError(_("Choose the transform of a registration."))
    if _is_under(node, transform):
        raise UserError(
            _("{name} is under the transform {transform} already; move it out of it first.").format(
                name=node.GetName(), transform=transform.GetName()
            )
        )
    way = _find_way(transform, direction)
    scan = transform.GetNodeReference(TARGET_ROLE if direction == TO_TARGET else TEMPLATE_ROLE)
    end = scan.GetName() if scan else (_("target") if direction == TO_TARGET else _("template"))
    nodes = ResultNodes(node)
    try:
        title = _("{name} on {scan}").format(name=node.GetName(), scan=end)
        copy = nodes.reuse_or_add(None, node.GetClassName(), title)
        with slicer.util.NodeModify(copy):
            copy.CopyContent(node)
            copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
            copy.HardenTransform()
            before = _read_points(copy)
            copy.ApplyTransform(way)
        _check_return(transform, direction, before, _read_points(copy), node.GetName())
        _copy_display(node, copy)
    except BaseException:
        nodes.discard()
        raise
    return copy


def is_inverse(transform) -> bool:
    """Whether the node is the inverse of a result: its fixed scan is the target."""
    target = transform.GetNodeReferenceID(TARGET_ROLE)
    return target is not None and _find_fixed(transform) == target


def _find_fixed(transform) -> str | None:
    """ID of the scan on whose side the field lies. Scenes of earlier versions have Slicer's own reference alone."""
    fixed = transform.GetNodeReferenceID(FIXED_ROLE)
    if fixed is None and hasattr(transform, "GetFixedNodeReferenceRole"):
        fixed = transform.GetNodeReferenceID(transform.GetFixedNodeReferenceRole())
    return fixed


def find_partner(transform):
    """The inverse that was written with a transform, or the transform of an inverse; None where it is not in the
    scene."""
    ends = [transform.GetNodeReferenceID(role) for role in (TEMPLATE_ROLE, TARGET_ROLE)]
    if None in ends:
        return None
    for other in slicer.util.getNodesByClass(TRANSFORM):
        same = [other.GetNodeReferenceID(role) for role in (TEMPLATE_ROLE, TARGET_ROLE)] == ends
        if same and is_inverse(other) != is_inverse(transform):
            return other
    return None


def _find_way(transform, direction: Direction):
    """The transform of points, a vtkGeneralTransform.

    That of a node which is stored from-parent is exact in the from-world direction; the other one would be inverted
    numerically for each point.
    """
    way = vtk.vtkGeneralTransform()
    if is_inverse(transform) == (direction == TO_TEMPLATE):
        transform.GetTransformFromWorld(way)
    elif partner := find_partner(transform):
        partner.GetTransformFromWorld(way)
    else:
        transform.GetTransformToWorld(way)
    return way


def _check_return(transform, direction: Direction, before: np.ndarray, after: np.ndarray, name: str) -> None:
    """Raise UserError where a numerical inversion has failed: carried points lie beyond the field, which moves nothing
    there, as where the scans lie far from each other, or they are not led back, as where the field folds."""
    if is_inverse(transform) == (direction == TO_TEMPLATE) or find_partner(transform) or transform.IsLinear():
        return  # exact
    field, back = view_field(transform), vtk.vtkGeneralTransform()
    transform.GetTransformFromWorld(back)
    led = np.array([back.TransformPoint(point) for point in after])
    voxels = (after - field.matrix[:3, 3]) @ np.linalg.inv(field.matrix[:3, :3]).T
    inside = (voxels >= 0) & (voxels <= np.array(field.vectors.shape[2::-1]) - 1)
    if not inside.all() or np.linalg.norm(led - before, axis=1).max() > RETURN_MM:
        raise UserError(
            _(
                "{name} cannot be carried without the inverse transform, which is not in the scene; press Apply with "
                "both transforms among the outputs."
            ).format(name=name)
        )


def _read_points(node) -> np.ndarray:
    """Control points or vertices, (n, 3), RAS mm in the node's own frame."""
    if node.IsA("vtkMRMLModelNode"):
        return vtk_to_numpy(node.GetMesh().GetPoints().GetData()).astype(float)
    return slicer.util.arrayFromMarkupsControlPoints(node).copy()


def _is_empty(node) -> bool:
    if node.IsA("vtkMRMLModelNode"):
        return node.GetMesh() is None or not node.GetMesh().GetNumberOfPoints()
    return not node.GetNumberOfControlPoints()


def _is_under(node, transform) -> bool:
    parent = node.GetParentTransformNode()
    while parent:
        if parent is transform:
            return True
        parent = parent.GetParentTransformNode()
    return False


def _copy_display(node, copy) -> None:
    copy.CreateDefaultDisplayNodes()
    if node.GetDisplayNode() and copy.GetDisplayNode():
        copy.GetDisplayNode().CopyContent(node.GetDisplayNode())
