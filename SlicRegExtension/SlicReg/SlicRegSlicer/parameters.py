"""The panel's state as a parameter node."""

import pathlib
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTransformNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


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
    device: str = "auto"
    iterations: Annotated[int, WithinRange(0, 1000)] = 100
    alpha: Annotated[float, WithinRange(0.0, 10.0)] = 0.015
    neighbours: Annotated[int, WithinRange(1, 64)] = 8
    seed: Annotated[int, WithinRange(0, 2147483647)] = 0
    refine: bool = True
    batchScene: bool = False
    batchInput: pathlib.Path
    batchOutput: pathlib.Path



INPUTS = ("template", "target", "templateSegmentation", "targetSegmentation")
OUTPUTS = ("transform", "inverse", "warpedTarget", "warpedSegmentation", "confidence")
OPTIONS = ("device", "iterations", "alpha", "neighbours", "seed", "refine")
