"""The panel's state as a parameter node, with the library's defaults."""

# no "from __future__ import annotations" here: parameterNodeWrapper reads the annotations of the class below
from dataclasses import MISSING, fields
from typing import Annotated, Any

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTransformNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from SlicRegLib.jobs.options import JobOptions
from SlicRegLib.network.options import PRESETS
from SlicRegLib.registration.options import AlignmentOptions, ModeOptions, RegistrationOptions
from SlicRegLib.results.options import RegisterRequest

from . import request, training_request

INPUTS = ("template", "target", "templateSegmentation", "targetSegmentation")
OUTPUTS = request.OUTPUTS
OPTIONS = ("device", "mode", "iterations", "alpha", "neighbours", "seed", "refine")
"""Parameters with the names of `SlicRegSlicer.request.Request`."""

SOURCES: dict[str, tuple[type, str]] = {
    "device": (RegisterRequest, "device"),
    "mode": (ModeOptions, "mode"),
    **{name: (AlignmentOptions, name) for name in ("iterations", "alpha", "neighbours", "seed")},
    "refine": (RegistrationOptions, "refine"),
    **{parameter: (JobOptions, name) for name, parameter in training_request.PARAMETERS.items()},
}
"""Parameter -> the options class of the library, and its field, from which default and tool tip come."""


def name_keeping(output: str) -> str:
    """The parameter that says whether one of `OUTPUTS` is wanted."""
    return f"keep{output[0].upper()}{output[1:]}"


def find_default(parameter: str) -> Any:
    """The library's default for one of the parameters in `SOURCES`."""
    cls, name = SOURCES[parameter]
    field = next(field for field in fields(cls) if field.name == name)
    return field.default if field.default_factory is MISSING else field.default_factory()


def forget_empty_paths(parameters) -> None:
    """Scenes of older versions hold "." for a path of the batch that was never chosen."""
    for name in ("batchInput", "batchOutput"):
        if getattr(parameters, name) == ".":
            setattr(parameters, name, "")


@parameterNodeWrapper
class SlicRegParameterNode:
    """The panel's state, kept in the scene. `SlicRegSlicer.request.Request` explains inputs and outputs."""

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
    # see `name_keeping`
    keepTransform: bool = True
    keepInverse: bool = True
    keepWarpedTarget: bool = True
    keepWarpedSegmentation: bool = True
    keepConfidence: bool = True
    device: str = find_default("device")
    mode: str = find_default("mode")
    iterations: Annotated[int, WithinRange(0, 1000)] = find_default("iterations")
    alpha: Annotated[float, WithinRange(0.0, 10.0)] = find_default("alpha")
    neighbours: Annotated[int, WithinRange(1, 64)] = find_default("neighbours")
    seed: Annotated[int, WithinRange(0, 2147483647)] = find_default("seed")
    refine: bool = find_default("refine")
    batchScene: bool = False
    # paths as text: an empty pathlib.Path would be shown as "."
    batchInput: str = ""
    batchOutput: str = ""
    batchLabels: str = ""
    trainingTemplateVolume: vtkMRMLScalarVolumeNode
    trainingTemplate: str = find_default("trainingTemplate")
    trainingImages: str = find_default("trainingImages")
    trainingFolder: str = ""
    trainingName: str = find_default("trainingName")
    trainingPreset: Annotated[str, Choice([*reversed(PRESETS)])] = find_default("trainingPreset")
    # 0 stands for None: the preset's own number
    trainingIterations: Annotated[int, WithinRange(0, 1000000)] = find_default("trainingIterations") or 0
    trainingDevice: str = find_default("trainingDevice")
    trainingWorkers: Annotated[int, WithinRange(1, 1024)] = find_default("trainingWorkers")
    trainingLabels: str = find_default("trainingLabels")
    trainingTemplateLabel: str = find_default("trainingTemplateLabel")
    trainingLabelNames: str = find_default("trainingLabelNames")
    trainingStart: str = find_default("trainingStart")
