"""One registration from nodes to nodes: check, write files, register them in a worker process, read the results.

The scene does not change before the process has succeeded, so that nothing must be undone after a failure or a cancel.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

import slicer

from SlicRegLib.errors import UserError
from SlicRegLib.jobs.arguments import write_arguments
from SlicRegLib.jobs.command import ProgressEvent
from SlicRegLib.jobs.memory import available_memory, estimate_memory
from SlicRegLib.jobs.worker_pool import POOL
from SlicRegLib.results.options import RegisterRequest
from SlicRegLib.stages import DEVICE, LOADING, MODEL, NEAREST, STARTING, WARNING

from . import stage_texts
from .own_template import OwnTemplateNodes, load_own_template
from .reading import Image, fill_segmentation, fill_transform, fill_volume, load_displacement_image, load_image
from .request import Outputs, Request
from .result_nodes import LABELS, SEGMENTATION, TRANSFORM, VOLUME, ResultNodes, find_supervoxels, hide, mark_result
from .segment_confidence import measure_segment_confidence
from .segments import Segment, number_segments
from .translation import _
from .writing import write_segmentation, write_volume


class Run:
    """A registration in a worker process. Call `poll` from a timer or a loop until ``state`` is not "running".

    Then ``outputs`` holds the result (state "finished"), or ``error`` a sentence (state "failed").
    """

    _loadingSeconds = 0.4
    """Of the last registration, from its files to its nodes."""

    def __init__(self, request: Request):
        """Starts the registration. Raises UserError for what cannot be registered."""
        self._started, self._ended = time.monotonic(), None
        request.check()
        self.request, self.state, self.error = request, "running", ""
        self.outputs: Outputs | None = None
        self.fraction, self.message, self.device = 0.0, stage_texts.REGISTER[STARTING], ""
        self.model = ""
        """Which model was chosen, and why, where it is chosen; "" before."""
        self.nearest = ""
        """The model that knows most of the scans where none knows enough."""
        self.warning = ""
        """What is known before the end, such as that the model does not fit the scans; "" if nothing."""
        self.remaining: float | None = None
        self._memory = _check_memory(request)
        self._segments: list[Segment] = []  # of the template, in its label map
        self._folder = Path(tempfile.mkdtemp(prefix="SlicReg-", dir=POOL.folder))
        self._clean = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)  # at the latest at exit
        try:
            self._process = POOL.register(write_arguments(self._write_inputs()))
        except BaseException:
            self._clean()
            raise

    @property
    def seconds(self) -> float:
        """From the request to the filled nodes, or until now."""
        return (self._ended or time.monotonic()) - self._started

    @property
    def log(self) -> str:
        """What the process has printed so far."""
        return f"{self._memory}\n{self._process.log}"

    def poll(self) -> str:
        """Take in what the process has reported; read the results once it has ended. Returns ``state``."""
        if self.state != "running":
            return self.state
        for event in self._process.poll():
            if isinstance(event, ProgressEvent):
                self._take_progress(event)
        if self._process.state == "running":
            return self.state
        if self._process.state == "finished" and self.message != stage_texts.REGISTER[LOADING]:
            self.message = stage_texts.REGISTER[LOADING]  # which is shown before the application stands still
            return self.state
        try:
            if self._process.state != "finished":
                raise UserError(self._name_nodes(self._process.error))
            began = time.monotonic()
            self.outputs = self._read_outputs()
            Run._loadingSeconds = time.monotonic() - began
            self.state, self.fraction, self.remaining = "finished", 1.0, 0.0
        except UserError as error:
            self.state, self.error = "failed", str(error)
        except Exception as error:  # an incomplete file, no memory: in any case the registration is over
            self.state = "failed"
            self.error = _("The results cannot be read ({reason}); save the log for a bug report.").format(
                reason=f"{type(error).__name__}: {error}"
            )
        finally:
            self._ended = time.monotonic()
            self._clean()
        return self.state

    def cancel(self) -> None:
        """End the registration within two seconds; the scene stays unchanged. Does nothing after the end."""
        if self.state == "running":
            self._process.cancel()
            self.state = "cancelled"
        self._clean()

    def _take_progress(self, event: ProgressEvent) -> None:
        self.fraction = event.fraction
        if event.stage == DEVICE:
            self.device = event.message
        elif event.stage == MODEL:
            self.model = _("Model: {reason}").format(reason=event.message)
        elif event.stage == NEAREST:
            self.nearest = event.message
        elif event.stage == WARNING:
            self.warning = _("Warning: {warning}").format(warning=self._name_nodes(event.message))
        else:
            self.message = stage_texts.REGISTER.get(event.stage, self.message)
            self.remaining = None if event.remaining is None else event.remaining + self._loadingSeconds

    def _name_nodes(self, text: str) -> str:
        """The text with the nodes' names in place of their temporary files."""
        request = self.request
        nodes = {
            "template": request.template,
            "target": request.target,
            "template_label": request.templateSegmentation,
            "target_label": request.targetSegmentation,
        }
        for name, node in nodes.items():
            if node:
                text = text.replace(str(self._folder / f"{name}.nrrd"), node.GetName())
        return text

    def _write_inputs(self) -> RegisterRequest:
        """Write the nodes into the temporary folder; returns the request for the command line."""
        request, folder = self.request, self._folder
        target, template = folder / "target.nrrd", folder / "template.nrrd" if request.template else None
        if template:
            write_volume(request.template, template)
        write_volume(request.target, target)
        template_label = target_label = None
        names = {} if template else request.find_organ_values()
        if request.templateSegmentation:
            template_label = folder / "template_label.nrrd"
            self._segments = write_segmentation(request.templateSegmentation, request.template, template_label)
            names = number_segments([segment.name for segment in self._segments])
        if request.targetSegmentation and names:
            target_label = folder / "target_label.nrrd"
            write_segmentation(request.targetSegmentation, request.target, target_label, names)
        return RegisterRequest(
            model=Path(request.model),
            models=request.models,
            template=template,
            target=target,
            out=folder / "result",
            template_label=template_label,
            target_label=target_label,
            overlays=True,
            picture=False,  # nobody would see it
            transform_format="nrrd",  # which takes the least time
            device=request.device,
            registration=request.options(),
        )

    def _read_outputs(self) -> Outputs:
        request, folder = self.request, self._folder / "result"
        scans = filter(None, (request.template, request.target))
        if not all(slicer.mrmlScene.IsNodePresent(node) for node in scans):
            raise UserError(
                _("An input was removed from the scene during the registration, so its result was discarded.")
            )
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        report["notes"] = [self._name_nodes(note) for note in report["notes"]]
        # all files are loaded before the scene changes
        fields = [load_displacement_image(folder / f"{name}.nrrd") for name in ("transform", "transform_inverse")]
        images = [
            load_image(folder / f"{name}.nii.gz") for name in ("warped_target", "confidence", "supervoxels_target")
        ]
        carried = folder / "warped_labels.nii.gz"
        labels = load_image(carried) if carried.is_file() else None
        loaded = ResultNodes()
        added = ResultNodes(request.target)
        try:
            template = self._find_template(report["model"], loaded)
            added.folder = _("{target} registered to {template}").format(
                target=request.target.GetName(), template=template.volume.GetName()
            )
            report["segments"] = {str(segment.value): segment.name for segment in template.segments}
            if template.labels:
                report["segment_confidence"] = measure_segment_confidence(
                    template.labels, images[1], [segment.value for segment in template.segments]
                )
            return self._fill_nodes(added, template, fields, images, labels, report)
        except BaseException:
            added.discard()
            loaded.discard()
            raise

    def _find_template(self, model: str, loaded: ResultNodes) -> OwnTemplateNodes:
        """The template and its segments: the request's, or the model's own. model: the file of the one that was taken.
        loaded: notes the nodes that are made here."""
        request = self.request
        if not request.template:
            return load_own_template(model, loaded)
        labels = load_image(self._folder / "template_label.nrrd") if self._segments else None
        return OwnTemplateNodes(request.template, request.templateSegmentation, self._segments, labels)

    def _fill_nodes(
        self,
        nodes: ResultNodes,
        template: OwnTemplateNodes,
        fields: list[Image],
        images: list[Image],
        labels: Image | None,
        report: dict[str, Any],
    ) -> Outputs:
        """fields: transform, inverse. images: warped target, confidence, supervoxels of the target. labels: on it."""
        request, name = self.request, self.request.target.GetName()

        def add(output: str, class_name: str, text: str):
            if output in request.skipped:
                return None
            wanted = None if output in request.hidden else getattr(request, output)
            return nodes.reuse_or_add(wanted, class_name, text.format(name=name))

        outputs = Outputs(
            transform=add("transform", TRANSFORM, _("{name} to template")),
            inverse=add("inverse", TRANSFORM, _("Template to {name}")),
            warpedTarget=add("warpedTarget", VOLUME, _("{name} on template")),
            confidence=add("confidence", VOLUME, _("{name} confidence")),
            supervoxels=nodes.reuse_or_add(
                find_supervoxels(request.target), LABELS, _("{name} supervoxels").format(name=name)
            ),
            report=report,
            template=template.volume,
            templateSegmentation=template.segmentation,
        )
        if outputs.transform:
            fill_transform(outputs.transform, fields[0], fixed=template.volume, moving=request.target)
        if outputs.inverse:
            fill_transform(outputs.inverse, fields[1], fixed=request.target, moving=template.volume)
        if outputs.warpedTarget:
            fill_volume(outputs.warpedTarget, images[0], like=request.target)
        if outputs.confidence:
            fill_volume(outputs.confidence, images[1])
        fill_volume(outputs.supervoxels, images[2])
        outputs.supervoxels.SetHideFromEditors(True)  # only the panel's button shows it
        if labels and "warpedSegmentation" not in request.skipped:
            text = _("Template segments on {name}") if request.template else _("{name} segmentation")
            outputs.warpedSegmentation = add("warpedSegmentation", SEGMENTATION, text)
            fill_segmentation(outputs.warpedSegmentation, labels, template.segments, request.target)
        for node in outputs.nodes():
            mark_result(node, template.volume, request.target, outputs.verdict["word"])
        for output in request.hidden:
            if node := getattr(outputs, output):
                hide(node)
        return outputs


def _check_memory(request: Request) -> str:
    """A sentence on needed and free memory. Raises UserError if it is not enough."""
    # a model's own template has the few voxels of its average
    fixed, moving = _count_voxels(request.template or request.target), _count_voxels(request.target)
    needed = estimate_memory(fixed, moving) / 2**30
    free = (available_memory() + POOL.count_idle_memory()) / 2**30
    if needed > free:
        raise UserError(
            _(
                "The registration needs about {needed:.1f} GB of memory but only {free:.1f} GB are free; close other "
                "programs or crop the scans."
            ).format(needed=needed, free=free)
        )
    return _("About {needed:.1f} GB of memory will be used; {free:.1f} GB are free.").format(needed=needed, free=free)


def _count_voxels(volume) -> int:
    i, j, k = volume.GetImageData().GetDimensions()
    return i * j * k
