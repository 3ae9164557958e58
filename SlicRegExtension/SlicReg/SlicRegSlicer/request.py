"""Inputs, options and outputs of a registration, as MRML nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

from SlicRegLib.errors import UserError
from SlicRegLib.jobs.arguments import write_arguments
from SlicRegLib.option import flag_of
from SlicRegLib.registration.model_header import AUTO, read_model
from SlicRegLib.registration.options import MODES, AlignmentOptions, RegistrationOptions
from SlicRegLib.registration.own_template import list_organs
from SlicRegLib.registration.template_check import check_own_template
from SlicRegLib.results.options import RegisterRequest

from .checks import check_output, check_segmentation, check_volume
from .segments import list_segment_names
from .translation import _

OUTPUTS = ("transform", "inverse", "warpedTarget", "warpedSegmentation", "confidence")
CUSTOM = "custom"
"""The mode whose options are the request's own numbers."""


def find_user_models() -> Path:
    """The folder of the user's models: beside the settings, since Slicer empties its cache."""
    return Path(slicer.app.slicerUserSettingsFilePath).parent / "SlicReg" / "Models"


@dataclass
class Request:
    """Inputs, outputs and options of a registration. All nodes are MRML nodes; outputs that are None are created."""

    template: Any
    """Volume node, the fixed scan. None: the template that the model holds, with its segments."""
    target: Any
    """Volume node, the moving scan."""
    model: str | Path
    """Path of a .slicreg file, or `AUTO`: the installed model that knows both scans best."""
    templateSegmentation: Any = None
    targetSegmentation: Any = None
    transform: Any = None
    inverse: Any = None
    warpedTarget: Any = None
    warpedSegmentation: Any = None
    confidence: Any = None
    skipped: tuple[str, ...] = ()
    """Names of outputs that are not made: None in `Outputs`."""
    hidden: tuple[str, ...] = ()
    """Names of outputs that are made for the views only: hidden from lists, not saved, see `result_nodes.hide`."""
    # options of the library, with its names, defaults and meanings
    device: str = RegisterRequest.device
    mode: str = CUSTOM
    """One of `MODES`, whose options are then taken, or `CUSTOM`: those below."""
    iterations: int = AlignmentOptions.iterations
    alpha: float = AlignmentOptions.alpha
    neighbours: int = AlignmentOptions.neighbours
    seed: int = AlignmentOptions.seed
    refine: bool = RegistrationOptions.refine

    def check(self) -> None:
        """Raise UserError for what cannot be registered."""
        if self.template:
            check_volume(self.template, _("The template volume"))
        check_volume(self.target, _("The target volume"))
        if self.template is self.target:
            raise UserError(_("Template and target are the same volume; choose two different ones."))
        if self.templateSegmentation:
            check_segmentation(self.templateSegmentation, _("The template segmentation"))
        if self.targetSegmentation:
            check_segmentation(self.targetSegmentation, _("The target segmentation"))
        self._check_outputs()
        if not self.is_automatic and not (self.model and Path(self.model).is_file()):
            raise UserError(_("The model {model} does not exist; choose another model.").format(model=self.model))
        if not self.template:
            self.check_own_template()
        self._check_segment_names()
        self.options()

    @property
    def is_automatic(self) -> bool:
        """Whether the model is to be chosen."""
        return bool(self.model) and Path(self.model) == AUTO

    @property
    def models(self) -> Path | None:
        """The folder of models from which `AUTO` can choose beside the bundled ones; None while there is none."""
        folder = find_user_models()
        return folder if self.is_automatic and folder.is_dir() else None

    def check_own_template(self) -> None:
        """Raise UserError unless a registration can go without a template: the model holds one, or if it is to be
        chosen, some model does."""
        if self.templateSegmentation:
            raise UserError(
                _("The template segmentation belongs to a template volume; choose that too, or no segmentation.")
            )
        check_own_template(Path(self.model), self.models)

    def find_organ_values(self) -> dict[str, int]:
        """Name of each organ of the model's own template -> its value; empty where the model is to be chosen."""
        if self.is_automatic:
            return {}
        return {organ.name: organ.value for organ in list_organs(read_model(self.model).about)}

    def options(self) -> RegistrationOptions:
        """The library's options. Raises UserError for values out of range."""
        if self.mode in MODES:
            return MODES[self.mode]
        alignment = AlignmentOptions(
            iterations=self.iterations, alpha=self.alpha, neighbours=self.neighbours, seed=self.seed
        )
        return RegistrationOptions(refine=self.refine, alignment=alignment)

    def words(self) -> list[str]:
        """Device and options as words of `slicreg register`."""
        return [flag_of(RegisterRequest, "device"), self.device, *write_arguments(self.options())]

    def _check_outputs(self) -> None:
        unknown = next((name for name in (*self.skipped, *self.hidden) if name not in OUTPUTS), None)
        if unknown:
            raise UserError(
                _("There is no output {name}; the outputs are {names}.").format(name=unknown, names=", ".join(OUTPUTS))
            )
        inputs = (self.template, self.target, self.templateSegmentation, self.targetSegmentation)
        outputs = {
            _("The output transform"): self.transform,
            _("The inverse transform"): self.inverse,
            _("The warped target"): self.warpedTarget,
            _("The segmentation on the target"): self.warpedSegmentation,
            _("The confidence map"): self.confidence,
        }
        for what, node in outputs.items():
            check_output(node, inputs, what)
        ids = [node.GetID() for node in outputs.values() if node]
        if len(set(ids)) < len(ids):
            raise UserError(_("Two outputs are the same node; choose another one for one of them."))

    def _check_segment_names(self) -> None:
        """Measures need segments that both segmentations have."""
        if not self.targetSegmentation:
            return
        if not self.template:
            names = set(self.find_organ_values())
            if self.is_automatic:
                raise UserError(
                    _("Choose a model, or no target segmentation: Dice needs to know the model's organs beforehand.")
                )
            if names.isdisjoint(list_segment_names(self.targetSegmentation)):
                raise UserError(
                    _(
                        "The target segmentation has no segment named like an organ of the model ({names}); rename its "
                        "segments, or choose no target segmentation."
                    ).format(names=", ".join(sorted(names)) or _("it names none"))
                )
        elif self.templateSegmentation:
            names = set(list_segment_names(self.templateSegmentation))
            if names.isdisjoint(list_segment_names(self.targetSegmentation)):
                raise UserError(
                    _(
                        "The segmentations of template and target have no segment name in common; give the same organs "
                        "the same names, or choose no target segmentation."
                    )
                )


@dataclass
class Outputs:
    """The nodes that a registration filled, None for those that were skipped, and its measures."""

    transform: Any
    inverse: Any
    warpedTarget: Any
    confidence: Any
    supervoxels: Any
    warpedSegmentation: Any = None
    report: dict[str, Any] = field(default_factory=dict)
    """The content of report.json; under "segments" the names of the label values."""
    template: Any = None
    """The fixed scan: the request's, or the node of the model's own, which is hidden unless it was asked for."""
    templateSegmentation: Any = None
    """Its segmentation, if it has one."""

    @property
    def verdict(self) -> dict[str, Any]:
        """Whether the result can be used: "word" ("good", "doubtful" or "failed"), "sentence", and the figures."""
        return self.report["verdict"]

    def nodes(self) -> list:
        """All nodes that were filled."""
        nodes = (
            self.transform,
            self.inverse,
            self.warpedTarget,
            self.confidence,
            self.supervoxels,
            self.warpedSegmentation,
        )
        return [node for node in nodes if node]

    def rows(self) -> list[tuple[str, float, float, float | None, float | None]]:
        """(segment, Dice before, Dice after, HD95 before, HD95 after) of segments in both segmentations; HD95 in mm."""
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
