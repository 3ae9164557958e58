"""One registration from nodes to nodes: check, write files, run the command line in its own process, read the results.

Nothing in the scene changes before the process has ended well, so cancelling and failing need no undoing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

from SlicRegLib.errors import UserError
from SlicRegLib.images.files import list_images
from SlicRegLib.jobs.batch import Batch, name_scans
from SlicRegLib.jobs.command_process import CommandProcess, ProgressEvent
from SlicRegLib.jobs.memory import available_memory, estimate_memory

from . import nodes
from .translation import _

TRANSFORM, VOLUME, SEGMENTATION = "vtkMRMLTransformNode", "vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"
LABELS = "vtkMRMLLabelMapVolumeNode"
TEMPLATE_OF, TARGET_OF = (
    "SlicReg.template",
    "SlicReg.target",
)  # roles of a result's references to the scans it comes from
STAGES = {
    "preparation": _("Preparation"),
    "prediction": _("Prediction"),
    "alignment": _("Alignment"),
    "spline": _("Spline"),
    "refinement": _("Refinement"),
    "unfolding": _("Unfolding"),
    "writing": _("Writing the results"),
}


@dataclass
class Request:
    """What is to be registered and how; nodes are MRML nodes, outputs that are None are created.

    model: path of a .slicreg file. device: "auto", "cpu", "cuda" or "cuda:N". The other options are those of the command line.
    """

    template: Any
    target: Any
    model: str | Path
    templateSegmentation: Any = None
    targetSegmentation: Any = None
    transform: Any = None
    inverse: Any = None
    warpedTarget: Any = None
    warpedSegmentation: Any = None
    confidence: Any = None
    device: str = "auto"
    iterations: int = 50
    alpha: float = 0.015
    neighbours: int = 8
    seed: int = 0
    refine: bool = True

    def check(self) -> None:
        """Raises UserError for what cannot be registered."""
        nodes.check_volume(self.template, _("The template volume"))
        nodes.check_volume(self.target, _("The target volume"))
        if self.template is self.target:
            raise UserError(_("Template and target are the same volume; choose two."))
        for segmentation, what in (
            (self.templateSegmentation, _("The template segmentation")),
            (self.targetSegmentation, _("The target segmentation")),
        ):
            if segmentation:
                nodes.check_segmentation(segmentation, what)
        inputs = [
            node for node in (self.template, self.target, self.templateSegmentation, self.targetSegmentation) if node
        ]
        outputs = {
            _("The output transform"): self.transform,
            _("The inverse transform"): self.inverse,
            _("The warped target"): self.warpedTarget,
            _("The segmentation on the target"): self.warpedSegmentation,
            _("The confidence map"): self.confidence,
        }
        given = {what: node for what, node in outputs.items() if node}
        for what, node in given.items():
            nodes.check_output(node, inputs, what)
        if len({node.GetID() for node in given.values()}) < len(given):
            raise UserError(_("Two outputs are the same node; choose another for one of them."))
        if self.templateSegmentation and self.targetSegmentation:
            names = [
                {
                    node.GetSegmentation().GetNthSegment(n).GetName()
                    for n in range(node.GetSegmentation().GetNumberOfSegments())
                }
                for node in (self.templateSegmentation, self.targetSegmentation)
            ]
            if not names[0] & names[1]:
                raise UserError(
                    _(
                        "The segmentations of template and target have no segment name in common; give equal organs equal "
                        "names, or choose no target segmentation."
                    )
                )
        if not self.model or not Path(self.model).is_file():
            raise UserError(_("The model {model} does not exist; choose another model.").format(model=self.model))

    def options(self) -> list[str]:
        """The command line's words for the options."""
        return [
            "--device",
            self.device,
            "--iterations",
            str(self.iterations),
            "--alpha",
            str(self.alpha),
            "--neighbours",
            str(self.neighbours),
            "--seed",
            str(self.seed),
            *([] if self.refine else ["--no-refine"]),
        ]


@dataclass
class Outputs:
    """The nodes that a registration filled, and its measures (``report``: the content of report.json)."""

    transform: Any
    inverse: Any
    warpedTarget: Any
    confidence: Any
    supervoxels: Any
    warpedSegmentation: Any = None
    report: dict = field(default_factory=dict)

    def rows(self) -> list[tuple[str, float, float, float | None, float | None]]:
        """(segment, Dice before, Dice after, HD95 before, HD95 after) for segments in both segmentations; HD95 in mm."""
        before, after = (self.report.get(when, {}) for when in ("before", "after"))
        return [
            (
                self.report["segments"][value],
                before["dice"][value],
                after["dice"][value],
                before["hd95_mm"].get(value),
                after["hd95_mm"].get(value),
            )
            for value in after.get("dice", {})
        ]


class Run:
    """A registration that goes on in its own process; call `poll` now and then until ``state`` is not "running".

    Afterwards ``outputs`` holds the result (state "finished") or ``error`` a sentence (state "failed").
    """

    def __init__(self, request: Request):
        request.check()
        self.request, self.state, self.error, self.outputs = request, "running", "", None
        self.fraction, self.message, self.remaining, self.device = 0.0, _("Starting"), None, ""
        needed, there = estimate_memory(_voxels(request.template), _voxels(request.target)), available_memory()
        self._head = (
            _("About {needed:.1f} GB of memory will be used; {there:.1f} GB are free.").format(
                needed=needed / 2**30, there=there / 2**30
            )
            + "\n"
        )
        if needed > there:
            raise UserError(
                _(
                    "The registration needs about {needed:.1f} GB of memory but only {there:.1f} GB are free; close other "
                    "programs or crop the scans."
                ).format(needed=needed / 2**30, there=there / 2**30)
            )
        self._folder = Path(tempfile.mkdtemp(prefix="SlicReg-"))
        self._clean = weakref.finalize(
            self, shutil.rmtree, self._folder, ignore_errors=True
        )  # at the latest when Slicer ends
        try:
            self._job = CommandProcess(self._arguments())
        except BaseException:
            self._clean()
            raise

    @property
    def log(self) -> str:
        """What the process has said so far."""
        return self._head + self._job.log

    def _arguments(self) -> list[str]:
        request, folder = self.request, self._folder
        nodes.write_volume(request.template, folder / "template.nrrd")
        nodes.write_volume(request.target, folder / "target.nrrd")
        arguments = [
            "register",
            "--model",
            str(request.model),
            "--template",
            str(folder / "template.nrrd"),
            "--target",
            str(folder / "target.nrrd"),
            "--out",
            str(folder / "result"),
            "--overlays",
            *request.options(),
        ]
        self._segments = []
        if request.templateSegmentation:
            self._segments = nodes.write_segmentation(
                request.templateSegmentation, request.template, folder / "template_label.nrrd"
            )
            arguments += ["--template-label", str(folder / "template_label.nrrd")]
            if request.targetSegmentation:
                names = [segment.name for segment in self._segments]
                nodes.write_segmentation(
                    request.targetSegmentation, request.target, folder / "target_label.nrrd", names
                )
                arguments += ["--target-label", str(folder / "target_label.nrrd")]
        return arguments

    def poll(self) -> str:
        """Take what the process has said; read the results once it has ended. Returns ``state``."""
        if self.state != "running":
            return self.state
        for event in self._job.poll():
            if isinstance(event, ProgressEvent) and event.stage == "device":
                self.device, self.fraction = event.message, event.fraction
            elif isinstance(event, ProgressEvent):
                self.fraction, self.message, self.remaining = (
                    event.fraction,
                    STAGES.get(event.stage, self.message),
                    event.remaining,
                )
        if self._job.state == "running":
            return self.state
        try:
            if self._job.state != "finished":
                raise UserError(self._job.error)
            self.outputs = self._read()
            self.state, self.fraction, self.remaining = "finished", 1.0, 0.0
        except UserError as error:
            self.state, self.error = "failed", str(error)
        except Exception as error:  # a file that is not whole, no memory: whatever it is, the run has ended
            self.state = "failed"
            self.error = _("The results cannot be read ({reason}); save the log for a bug report.").format(
                reason=f"{type(error).__name__}: {error}"
            )
        finally:
            self._clean()
        return self.state

    def cancel(self) -> None:
        """End the process and all its children; the scene stays as it was."""
        if self.state == "running":
            self._job.cancel()
            self.state = "cancelled"
        self._clean()

    def _read(self) -> Outputs:
        request, result = self.request, self._folder / "result"
        gone = [n for n in (request.template, request.target) if not slicer.mrmlScene.IsNodePresent(n)]
        if gone:
            raise UserError(_("An input was removed from the scene while the registration ran; its result is dropped."))
        report = json.loads((result / "report.json").read_text())
        report["segments"] = {str(segment.value): segment.name for segment in self._segments}
        fields = [nodes.load_transform(result / f"{name}.h5") for name in ("transform", "transform_inverse")]
        images = [
            nodes.load_image(result / f"{name}.nii.gz")
            for name in ("warped_target", "confidence", "supervoxels_target")
        ]
        labels = nodes.load_image(result / "warped_labels.nii.gz") if self._segments else None
        made, name = nodes.Results(request.target), request.target.GetName()  # from here on the scene changes

        def there(node):  # an output that was deleted meanwhile is made anew
            return node if node and slicer.mrmlScene.IsNodePresent(node) else None

        try:
            transform = made.node(there(request.transform), TRANSFORM, _("{name} to template").format(name=name))
            inverse = made.node(there(request.inverse), TRANSFORM, _("Template to {name}").format(name=name))
            warped = made.node(there(request.warpedTarget), VOLUME, _("{name} on template").format(name=name))
            confidence = made.node(there(request.confidence), VOLUME, _("{name} confidence").format(name=name))
            supervoxels = made.node(_supervoxels_of(request.target), LABELS, _("{name} supervoxels").format(name=name))
            carried = labels and made.node(
                there(request.warpedSegmentation), SEGMENTATION, _("Template segments on {name}").format(name=name)
            )
            nodes.fill_transform(transform, fields[0], fixed=request.template, moving=request.target)
            nodes.fill_transform(inverse, fields[1], fixed=request.target, moving=request.template)
            nodes.fill_volume(warped, images[0], like=request.target)
            nodes.fill_volume(confidence, images[1])
            nodes.fill_volume(supervoxels, images[2])
            supervoxels.SetHideFromEditors(True)  # shown by its button only
            if carried:
                nodes.fill_labels(carried, labels, self._segments, request.target)
            for node in filter(None, (transform, inverse, warped, confidence, supervoxels, carried)):
                node.SetNodeReferenceID(TEMPLATE_OF, request.template.GetID())
                node.SetNodeReferenceID(TARGET_OF, request.target.GetID())
        except BaseException:
            made.discard()
            raise
        return Outputs(transform, inverse, warped, confidence, supervoxels, carried, report)


def _supervoxels_of(target):
    """The supervoxels of an earlier run on the same target, to be used again."""
    return next((n for n in slicer.util.getNodesByClass(LABELS) if n.GetNodeReference(TARGET_OF) is target), None)


def of_other_scans(node, template, target) -> bool:
    """Whether a node holds the result of another pair of scans."""
    return (
        bool(node)
        and node.GetNodeReferenceID(TARGET_OF) is not None
        and (node.GetNodeReference(TARGET_OF) is not target or node.GetNodeReference(TEMPLATE_OF) is not template)
    )


def scalar_volumes() -> list:
    """The scene's scans: no label maps or colour images, which are scalar volumes too, and no results of ours."""
    return [
        node
        for node in slicer.util.getNodesByClass(VOLUME)
        if node.GetClassName() == VOLUME
        and not node.GetHideFromEditors()
        and node.GetNodeReferenceID(TARGET_OF) is None
    ]


def _voxels(volume) -> int:
    i, j, k = volume.GetImageData().GetDimensions()
    return i * j * k


def make_batch(request: Request, out: Path, volumes: list | None = None, folder: str | Path | None = None) -> Batch:
    """Registrations of many targets to the request's template, with its model and options, into ``out``.

    volumes: nodes; None takes the scans of ``folder``. What comes from the scene is written to ``out / inputs`` first; a volume
    that cannot be registered is left out, with the reason in the batch's ``left_out``.
    """
    nodes.check_volume(request.template, _("The template volume"))
    if request.templateSegmentation:
        nodes.check_segmentation(request.templateSegmentation, _("The template segmentation"))
    good, left_out = [], []
    for volume in volumes or ():
        try:
            nodes.check_volume(volume, _("The volume"))
            good.append(volume)
        except UserError as error:
            left_out.append(str(error))
    if volumes is not None and not good:
        raise UserError(
            (left_out or [_("The scene holds no other volume to register; load scans or choose a folder.")])[0]
        )
    inputs = out / "inputs"
    if volumes is None:
        targets = name_scans(list_images(folder))
    else:
        targets = [
            (name, inputs / "scans" / f"{name}.nrrd")
            for name, _path in name_scans(f"{volume.GetName()}.nrrd" for volume in good)
        ]
    try:
        (inputs / "scans").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            _("The folder {folder} cannot be written ({reason}).").format(folder=out, reason=error.strerror)
        ) from error
    template, label = inputs / "template.nrrd", None
    nodes.write_volume(request.template, template)
    for volume, (_name, path) in zip(good, targets):
        nodes.write_volume(volume, path)
    if request.templateSegmentation:
        label = inputs / "template_label.nrrd"
        nodes.write_segmentation(request.templateSegmentation, request.template, label)
    return Batch(targets, template, request.model, out, request.options(), label, left_out=left_out)
