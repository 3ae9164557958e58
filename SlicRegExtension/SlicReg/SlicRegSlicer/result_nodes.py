"""Nodes that hold results: created beside the target, marked with their scans, told apart from scans."""

from __future__ import annotations

import slicer
import slicer.util

TRANSFORM, VOLUME, SEGMENTATION = "vtkMRMLTransformNode", "vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"
LABELS = "vtkMRMLLabelMapVolumeNode"
TEMPLATE_ROLE, TARGET_ROLE = "SlicReg.template", "SlicReg.target"  # of references from a result to its scans
TEMPORARY = "SlicReg.temporary"  # attribute of what is made for the views and removed when they show something else
FIXED_ROLE = "SlicReg.fixed"
"""Of the reference from a transform to the scan on whose side its field lies: the template, or the inverse's target."""
OWN_TEMPLATE = "SlicReg.ownTemplate"
"""Attribute of the volume and the segmentation that a model holds: SHA-256 of the model file."""
VERDICT = "SlicReg.verdict"  # attribute of a result: the word of its verdict


class ResultNodes:
    """The user's output nodes, and new ones where there are none; `discard` removes the new ones."""

    def __init__(self, beside=None, folder: str = ""):
        """beside: the node whose folder in the subject hierarchy new nodes share. folder: name of a folder in it for
        them, which is made where it is not there yet."""
        self.beside, self.folder, self.created = beside, folder, []
        self._madeFolder = 0  # item

    def reuse_or_add(self, existing, class_name: str, name: str):
        """``existing`` if it is still in the scene, otherwise a new node whose name is made unique."""
        scene = slicer.mrmlScene
        if existing and scene.IsNodePresent(existing):
            return existing
        made = scene.AddNewNodeByClass(class_name, scene.GenerateUniqueName(name))
        self.created.append(made)
        self._place(made)
        return made

    def discard(self) -> None:
        """Remove the nodes that were created here, with their display and storage nodes."""
        for made in self.created:
            remove(made)
            hierarchy = _subject_hierarchy()
            if hierarchy and hierarchy.GetItemByDataNode(made):  # the application removes it by itself
                hierarchy.RemoveItem(hierarchy.GetItemByDataNode(made), False, False)
        self.created = []
        hierarchy = _subject_hierarchy()
        if hierarchy and self._madeFolder and not hierarchy.GetNumberOfItemChildren(self._madeFolder):
            hierarchy.RemoveItem(self._madeFolder, False, False)
        self._madeFolder = 0

    def _place(self, made) -> None:
        hierarchy = _subject_hierarchy()
        item = hierarchy.GetItemByDataNode(self.beside) if hierarchy and self.beside else 0
        if not item:
            return
        parent, own = self._find_folder(hierarchy, hierarchy.GetItemParent(item)), hierarchy.GetItemByDataNode(made)
        if own:
            hierarchy.SetItemParent(own, parent)
        else:
            hierarchy.CreateItem(parent, made)

    def _find_folder(self, hierarchy, parent: int) -> int:
        if not self.folder:
            return parent
        found = hierarchy.GetItemChildWithName(parent, self.folder)
        if not found:
            found = self._madeFolder = hierarchy.CreateFolderItem(parent, self.folder)
        return found


def hide(node) -> None:
    """Keep a node out of the user's lists and saved scenes: it is there for the views."""
    node.SetHideFromEditors(True)
    for part in (node, *_list_parts(node)):
        part.SetSaveWithScene(False)
    node.SetAttribute(TEMPORARY, "1")


def remove(node) -> None:
    """Remove a node with its display and storage nodes, whichever of them are still in the scene."""
    for part in (*_list_parts(node), node):
        if slicer.mrmlScene.IsNodePresent(part):
            slicer.mrmlScene.RemoveNode(part)


def _list_parts(node) -> list:
    """The display and storage nodes of a node."""
    displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    return [part for part in (*displays, node.GetStorageNode()) if part]


def mark_result(node, template, target, verdict: str = "") -> None:
    """Note on a result which scans it comes from, and the word of its verdict; both are saved with the scene."""
    node.SetAttribute(VERDICT, verdict or None)
    node.SetNodeReferenceID(TEMPLATE_ROLE, template.GetID())
    node.SetNodeReferenceID(TARGET_ROLE, target.GetID())


def belongs_to_other_scans(node, template, target) -> bool:
    """Whether a node, which may be None, holds the result of another pair of scans. template: None for that of the
    model."""
    if not node or node.GetNodeReferenceID(TARGET_ROLE) is None:
        return False
    former = node.GetNodeReference(TEMPLATE_ROLE)
    if template is None:
        same_template = former is None or former.GetAttribute(OWN_TEMPLATE) is not None
    else:
        same_template = former is template
    return node.GetNodeReference(TARGET_ROLE) is not target or not same_template


def find_supervoxels(target):
    """The supervoxels of an earlier registration of the same target, which the next one overwrites; else None."""
    return next((n for n in slicer.util.getNodesByClass(LABELS) if n.GetNodeReference(TARGET_ROLE) is target), None)


def list_scans() -> list:
    """The scene's scans: no results nor templates of models, nor label maps and colour images, which are scalar volumes
    as well."""
    return [
        node
        for node in slicer.util.getNodesByClass(VOLUME)
        if node.GetClassName() == VOLUME
        and not node.GetHideFromEditors()
        and node.GetNodeReferenceID(TARGET_ROLE) is None
        and node.GetAttribute(OWN_TEMPLATE) is None
    ]


def _subject_hierarchy():
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
