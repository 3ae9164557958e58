"""Which view shows which space: the template's, or the target's own. Segments are drawn in the views of their space."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer
import slicer.util
import vtk

TEMPLATE, TARGET = "template", "target"

Point = tuple[float, float, float]


def list_slice_nodes() -> list:
    return list(slicer.util.getNodesByClass("vtkMRMLSliceNode"))


def list_3d_nodes() -> list:
    return list(slicer.util.getNodesByClass("vtkMRMLViewNode"))


def get_composite(slice_node):
    """The node that says which volumes a slice view shows."""
    return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(slice_node)


def get_logic(slice_node):
    """What computes the image of a slice view."""
    return slicer.app.applicationLogic().GetSliceLogic(slice_node)


class SegmentViews:
    """Restricts segmentations to views; `restore` undoes it. Kept from one result to the next."""

    def __init__(self):
        self._former: dict[str, tuple[tuple[str, ...], bool, bool]] = {}
        """Display node -> its view nodes, whether it is visible at all and filled."""

    def show_in(self, node, view_ids: list[str], filled: bool = True) -> None:
        """Draw a segmentation node, which may be None, in these views only."""
        display = node and node.GetDisplayNode()
        if not display:
            return
        if display.GetID() not in self._former:
            former = tuple(display.GetViewNodeIDs() or ()), bool(display.GetVisibility())
            self._former[display.GetID()] = (*former, bool(display.GetVisibility2DFill()))
        with slicer.util.NodeModify(display):
            display.SetViewNodeIDs(view_ids)
            display.SetVisibility(bool(view_ids))  # no views would mean all views
            display.SetVisibility2DFill(filled and self._former[display.GetID()][2])

    def restore(self) -> None:
        """Draw all segmentations where they were drawn before."""
        for id_, (view_ids, visible, filled) in self._former.items():
            display = slicer.mrmlScene.GetNodeByID(id_)
            if display:
                with slicer.util.NodeModify(display):
                    display.SetViewNodeIDs(list(view_ids))
                    display.SetVisibility(visible)
                    display.SetVisibility2DFill(filled)
        self._former = {}


class LayoutChange:
    """Calls ``then`` once when another layout of the views is chosen between `start` and `stop`."""

    def __init__(self, then: Callable[[], None]):
        self.then, self._changed = then, False
        self._node, self._tag, self._layout = None, None, None

    def start(self) -> None:
        self.stop()
        manager = slicer.app.layoutManager()
        if manager:
            self._node = manager.layoutLogic().GetLayoutNode()
            self._layout = self._node.GetViewArrangement()
            self._tag = self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._look)

    def stop(self) -> bool:
        """Returns whether it was changed."""
        if self._node:
            self._node.RemoveObserver(self._tag)
        self._node, changed, self._changed = None, self._changed, False
        return changed

    def _look(self, caller, event) -> None:
        if self._node and self._node.GetViewArrangement() != self._layout:
            self.stop()
            self._changed = True
            self.then()


class Correspondence:
    """Where a point of one space lies in the other one, by a transform that may have been put on the target."""

    def __init__(self, template, target, transform, inverse, is_applied: Callable[[], bool]):
        """template, target: volume nodes. transform: node whose from-parent direction leads from the template to the
        target. inverse: the one that leads back, or None. is_applied: whether the target is under the transform, so
        that both spaces are the same."""
        self.template, self.target, self.transform, self.inverse = template, target, transform, inverse
        self.is_applied = is_applied

    def find(self, point: Point, to: str) -> Point:
        """The place in the space ``to`` that shows what is at ``point`` of the other space; RAS mm."""
        return point if self.is_applied() else self.transform_point(point, to)

    def transform_point(self, point: Point, to: str) -> Point:
        """The same, whether the target is under the transform or not. Beyond a scan, where the fields fall to zero, a
        point is moved as the nearest one of the scan."""
        general = vtk.vtkGeneralTransform()
        if to == TARGET:
            self.transform.GetTransformFromWorld(general)
        elif self.inverse and slicer.mrmlScene.IsNodePresent(self.inverse):
            self.inverse.GetTransformFromWorld(general)
        else:  # computed numerically, which fails where the scans lie far from each other
            self.transform.GetTransformToWorld(general)
        bounds = np.zeros(6)
        (self.template if to == TARGET else self.target).GetRASBounds(bounds)
        inside = np.clip(point, bounds[::2], bounds[1::2])
        return tuple(point - inside + general.TransformPoint(inside))


class Follower:
    """Slice views beside each other show the same anatomy: where one is moved, its partner follows."""

    def __init__(self, correspondence: Correspondence, pairs: list[tuple]):
        """pairs: (slice node of the template's space, of the target's space)."""
        self.correspondence, self.pairs, self._moving = correspondence, pairs, False
        self._observed: list[tuple] = []
        self.start()

    def start(self) -> None:
        """The target's views go to where the template's are, and follow from now on."""
        self.stop()
        for template_view, target_view in self.pairs:
            for node, partner, space in ((template_view, target_view, TARGET), (target_view, template_view, TEMPLATE)):
                tag = node.AddObserver(
                    vtk.vtkCommand.ModifiedEvent,
                    lambda caller, event, partner=partner, space=space: self._follow(caller, partner, space),
                )
                self._observed.append((node, tag))
            self._follow(template_view, target_view, TARGET)

    def stop(self) -> None:
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    def _follow(self, node, partner, space: str) -> None:
        if self._moving or not slicer.mrmlScene.IsNodePresent(self.correspondence.transform):
            return
        self._moving = True
        try:
            centre = self.correspondence.find(get_centre(node), to=space)
            with slicer.util.NodeModify(partner):
                _copy_zoom(node, partner)
                partner.JumpSliceByCentering(*centre)
        finally:
            self._moving = False


def get_centre(slice_node) -> Point:
    """The point in the middle of a slice view, RAS mm."""
    matrix = slice_node.GetSliceToRAS()
    return tuple(matrix.GetElement(axis, 3) for axis in range(3))


def get_normal_axis(slice_node) -> int:
    """The world axis that a slice view looks along most: 0 for sagittal, 1 for coronal, 2 for axial."""
    matrix = slice_node.GetSliceToRAS()
    return int(np.argmax([abs(matrix.GetElement(axis, 2)) for axis in range(3)]))


def _copy_zoom(source, node) -> None:
    """The same millimetres per pixel, whatever the views' sizes."""
    mm = source.GetFieldOfView()[0] / max(1, source.GetDimensions()[0])
    width, height, _depth = node.GetDimensions()
    node.SetFieldOfView(mm * width, mm * height, node.GetFieldOfView()[2])
