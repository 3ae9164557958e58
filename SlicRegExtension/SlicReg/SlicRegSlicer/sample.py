"""The phantom pair as sample data: made on the spot, so that no network is needed."""

from __future__ import annotations

from colorsys import hsv_to_rgb

import numpy as np
import slicer

from .translation import _

TEMPLATE_SEED, TARGET_SEED = 0, 1001  # the template of the bundled trunk model, and a phantom that it has not seen
NAME = "SlicRegPhantomPair"


def register() -> None:
    """Offer the pair in Slicer's Sample Data module."""
    try:
        import SampleData
    except ImportError:  # built without it
        return
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="SlicReg", sampleName=NAME, customDownloader=lambda source: load(), thumbnailFileName=None
    )


def load() -> list:
    """[template, its segmentation, target, its segmentation]: two synthetic trunks of different people, as new nodes."""
    nodes = []
    for name, seed in ((_("Phantom template"), TEMPLATE_SEED), (_("Phantom target"), TARGET_SEED)):
        nodes += _add(name, seed)
    return nodes


def _add(name: str, seed: int) -> list:
    import vtk

    from SlicRegLib.phantoms.phantom import ORGANS, make_phantom

    phantom = make_phantom(seed)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(phantom.affine.ravel().tolist())
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    volume.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(volume, np.ascontiguousarray(np.round(phantom.image).astype(np.int16).T))
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(500, 50)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", _("{name} organs").format(name=name))
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "SlicReg organs")
    try:
        labels.SetIJKToRASMatrix(matrix)
        slicer.util.updateVolumeFromArray(labels, np.ascontiguousarray(phantom.labels.T))
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segmentation)
    finally:
        slicer.mrmlScene.RemoveNode(labels)
    content = segmentation.GetSegmentation()
    for index, organ in enumerate(ORGANS.values()):
        content.GetNthSegment(index).SetName(organ)
        content.GetNthSegment(index).SetColor(
            *hsv_to_rgb(index * 0.381966 % 1, 0.55, 0.9)
        )  # the golden ratio spreads the hues
    return [volume, segmentation]
