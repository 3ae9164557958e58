"""The panel's state as a parameter node."""

import os
import pathlib
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTransformNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from .run import Request


@parameterNodeWrapper
class SlicRegParameterNode:
    """The panel's state, kept in the scene; see `SlicRegSlicer.run.Request` for the meaning."""

    template: vtkMRMLScalarVolumeNode
    templateSegmentation: vtkMRMLSegmentationNode
    target: vtkMRMLScalarVolumeNode
    targetSegmentation: vtkMRMLSegmentationNode
    model: str = ""
    transform: vtkMRMLTransformNode
    inverse: vtkMRMLTransformNode
    warpedTarget: vtkMRMLScalarVolumeNode
    warpedSegmentation: vtkMRMLSegmentationNode
    confidence: vtkMRMLScalarVolumeNode
    device: str = Request.device
    iterations: Annotated[int, WithinRange(0, 1000)] = Request.iterations
    alpha: Annotated[float, WithinRange(0.0, 10.0)] = Request.alpha
    neighbours: Annotated[int, WithinRange(1, 64)] = Request.neighbours
    seed: Annotated[int, WithinRange(0, 2147483647)] = Request.seed
    refine: bool = Request.refine
    batchScene: bool = False
    batchInput: pathlib.Path
    batchOutput: pathlib.Path
    trainingTemplate: str = ""  # paths as texts: an empty pathlib.Path would be shown as "."
    trainingImages: str = ""
    trainingFolder: str = ""
    trainingName: str = ""
    trainingPreset: Annotated[str, Choice(["compact", "unet", "paper"])] = "compact"
    trainingIterations: Annotated[int, WithinRange(0, 1000000)] = 0  # 0: the preset's own
    trainingDevice: str = "auto"
    trainingWorkers: Annotated[int, WithinRange(1, 1024)] = os.cpu_count() or 1
    trainingLabels: str = ""
    trainingTemplateLabel: str = ""
    trainingStart: str = ""


INPUTS = ("template", "target", "templateSegmentation", "targetSegmentation")
OUTPUTS = ("transform", "inverse", "warpedTarget", "warpedSegmentation", "confidence")
OPTIONS = ("device", "iterations", "alpha", "neighbours", "seed", "refine")
