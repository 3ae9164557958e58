"""The transform of a result on its target: put there when the user wants it, and taken off again."""

from __future__ import annotations

import slicer

from .result_nodes import TEMPORARY


class TargetPlacement:
    """The target, its segments and what was carried to it, which all lie in the target's space."""

    def __init__(self, template, transform, nodes):
        """transform: the node that brings the target to the template. nodes: the target, then the others, or None."""
        self.template, self.transform, self.target, self.nodes = template, transform, nodes[0], nodes

    def is_applied(self) -> bool:
        """Whether the target is under the transform."""
        node = self.target
        while node := node.GetParentTransformNode():
            if node is self.transform:
                return True
        return False

    def can_apply(self) -> bool:
        """Whether the transform stays, and the target shares no parent transform with the template, which would go
        along."""
        top = _find_top(self.template)
        return not self.transform.GetAttribute(TEMPORARY) and all(_find_top(n) is not top for n in self._list_present())

    def apply(self, on: bool) -> None:
        """Put all under the transform, or take them off.

        Parent transforms stay between the two. They go along as a whole, with what else is under them.
        """
        for node in self._list_present():
            top = node
            while top.GetParentTransformNode() not in (None, self.transform):
                top = top.GetParentTransformNode()
            top.SetAndObserveTransformNodeID(self.transform.GetID() if on else None)

    def _list_present(self) -> list:
        return [node for node in self.nodes if node and slicer.mrmlScene.IsNodePresent(node)]


def _find_top(node):
    """The topmost parent transform; the node itself without one."""
    while node.GetParentTransformNode():
        node = node.GetParentTransformNode()
    return node
