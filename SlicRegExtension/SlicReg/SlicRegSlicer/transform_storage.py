"""How Slicer saves a transform node that is a displacement field: small, and always possible.

Slicer writes .h5, its default, and .nrrd in double precision and uncompressed, 60 MB for the field of a head; only
.nii.gz is compressed. But an image file holds nothing but a field: a scene cannot be saved at all if one of its
transforms is to be a .nii.gz but was inverted, for example.
"""

from __future__ import annotations

import importlib

import slicer
import slicer.util

from .result_nodes import TARGET_ROLE, TRANSFORM

FIELD, ANYTHING = "nii.gz", "h5"
IMAGES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_OBSERVED = "_slicreg_observed"  # VTK keeps what is set on a node from Python as long as the node


def keep_small(node) -> None:
    """Have Slicer save the node as .nii.gz as long as it is a displacement field, and as .h5 afterwards.

    A file that the user has chosen keeps its format while it can hold the transform; scenes in one file (.mrb) are
    saved anew each time.
    """
    if not node.GetStorageNode():
        node.AddDefaultStorageNode()
    _choose_format(node)
    if not getattr(node, _OBSERVED, False):
        node.AddObserver(slicer.vtkMRMLTransformableNode.TransformModifiedEvent, _choose_format)
        setattr(node, _OBSERVED, True)


def watch_scene() -> int:
    """The same for transforms of scenes that are loaded from now on: called once, when Slicer has started.

    Returns the observer's tag.
    """
    return slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.EndImportEvent, _call_current)


def _call_current(scene, event) -> None:
    """`_keep_loaded_small` of this module as it is now: Slicer's "Reload" replaces the module but no observers."""
    importlib.import_module(__name__)._keep_loaded_small(scene, event)


def _keep_loaded_small(scene, event) -> None:
    for node in slicer.util.getNodesByClass(TRANSFORM, scene):
        if node.GetNodeReferenceID(TARGET_ROLE):
            keep_small(node)


def _choose_format(node, event=None) -> None:
    storage = node.GetStorageNode()
    if not storage:
        return
    is_field = node.GetTransformFromParentAs("vtkOrientedGridTransform", False, True) is not None
    storage.SetDefaultWriteFileExtension(FIELD if is_field else ANYTHING)
    name = storage.GetFileName() or ""
    suffix = next((s for s in IMAGES if name.lower().endswith(s)), "")
    if suffix and not is_field:
        storage.SetFileName(f"{name[: -len(suffix)]}.{ANYTHING}")
