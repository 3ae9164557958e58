"""The phantom pair as sample data. It is computed, so that no network is needed."""

from __future__ import annotations

import importlib
from colorsys import hsv_to_rgb
from pathlib import Path

import numpy as np
import slicer
import slicer.util

from .translation import _
from .waiting import handle_events

TEMPLATE_SEED = 0  # the template of the bundled trunk model
TARGET_SEED = 1001  # a phantom that the model was not trained on
NAME, CATEGORY = "SlicRegPhantomPair", "SlicReg"
THUMBNAIL = Path(__file__).resolve().parents[1] / "Resources" / "Icons" / f"{NAME}.png"
GOLDEN_RATIO = 0.381966  # as steps around the colour wheel: neighbouring organs get hues that are far apart


class Downloader:
    """What Sample Data calls when its button is pressed. Its text is always the same, since Sample Data compares the
    texts of sources to find out which are registered already; and it calls this module as it is after a "Reload"."""

    def __call__(self, source=None) -> list:
        return importlib.import_module(__name__).load()

    def __repr__(self) -> str:
        return f"{NAME}: computed, not downloaded"


def register() -> None:
    """Offer the pair in Slicer's Sample Data module."""
    try:
        import SampleData
    except ImportError:  # a Slicer that was built without it
        return
    # Each field has one value per file, in all versions of Slicer; without addresses there would be no source. The
    # types of the files, which are named differently in Slicer 5.10 and later, have a default.
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        uris="https://slicreg.invalid/computed-here",
        fileNames=f"{NAME}.nrrd",
        nodeNames=NAME,
        customDownloader=Downloader(),
        thumbnailFileName=str(THUMBNAIL),
    )


def load() -> list:
    """Add two synthetic trunks of different people: [template, its segmentation, target, its segmentation]. The views
    show the template with its organs."""
    template, organs = _add_phantom(_("Phantom template"), TEMPLATE_SEED)
    slicer.util.setSliceViewerLayers(background=template, foreground=None, label=None, fit=True)
    handle_events(0.0)  # each takes a second
    target, target_organs = _add_phantom(_("Phantom target"), TARGET_SEED)
    target_organs.GetDisplayNode().SetVisibility(False)  # over the template they would lie in the wrong place
    return [template, organs, target, target_organs]


def _add_phantom(name: str, seed: int) -> list:
    from SlicRegLib.phantoms.phantom import ORGANS, make_phantom

    phantom = make_phantom(seed)
    matrix = slicer.util.vtkMatrixFromArray(phantom.affine)
    volume = _add_volume(name, matrix, np.round(phantom.image).astype(np.int16))
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(500, 50)
    segmentation = _add_segmentation(_("{name} organs").format(name=name), volume, matrix, phantom.labels)
    content = segmentation.GetSegmentation()
    for index, organ in enumerate(ORGANS.values()):
        content.GetNthSegment(index).SetName(organ)
        content.GetNthSegment(index).SetColor(*hsv_to_rgb(index * GOLDEN_RATIO % 1, 0.55, 0.9))
    return [volume, segmentation]


def _add_volume(name: str, matrix, voxels: np.ndarray, class_name: str = "vtkMRMLScalarVolumeNode"):
    """voxels: (I, J, K). matrix: vtkMatrix4x4 from their indices to RAS mm."""
    volume = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
    volume.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(volume, np.ascontiguousarray(voxels.T))
    return volume


def _add_segmentation(name: str, volume, matrix, labels: np.ndarray):
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    labelmap = _add_volume("SlicReg organs", matrix, labels, "vtkMRMLLabelMapVolumeNode")
    try:
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labelmap, segmentation)
    finally:
        slicer.mrmlScene.RemoveNode(labelmap)
    return segmentation
