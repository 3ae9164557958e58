"""The Registration tab: starts a registration, shows its progress and its result."""

from __future__ import annotations

import slicer

from . import sample
from .film_button import FilmButton
from .parameters import INPUTS, OPTIONS, OUTPUTS, name_keeping
from .request import Outputs, Request
from .result_nodes import belongs_to_other_scans
from .result_table import ResultTable, describe_least_sure_segments
from .review_buttons import ReviewButtons
from .run import Run
from .scene_batch import find_segmentation
from .segments import list_segment_names
from .translation import _
from .verdict_view import show_verdict
from .widgets import DisplayErrors, Panel, WaitCursor, make_timer

POLL_MS = 50
NEEDED_IN_VIEWS = {"transform", "inverse", "warpedTarget", "confidence"}
"""Outputs that are made even where they are not wanted: hidden, until the views show another result."""


class RegistrationTab:
    """Runs one registration at a time; ``run`` is the current one or the last one, None before the first."""

    def __init__(self, panel: Panel):
        self.panel, self.ui, self.logic = panel, panel.ui, panel.logic
        self.run: Run | None = None
        self._followed = None, None  # template and segmentation when the parameters were last shown
        self._formerTarget = None  # the target then
        self._isUntold = False  # whether a registration failed while the user was in another module
        self._declined = False  # whether the user has chosen no segmentation for this template
        self.views = ReviewButtons(panel.ui)
        self.film = FilmButton(panel, self.views)
        self.table = ResultTable(panel)
        self._timer = make_timer(POLL_MS, self.onTimer)
        self.ui.sampleButton.connect("clicked(bool)", self.onSample)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancel)

    def isRunning(self) -> bool:
        return bool(self.run and self.run.state == "running")

    def close(self) -> None:
        """The scene or the panel goes away: end the registration and what the views show of the last result."""
        self._timer.stop()
        if self.run:
            self.run.cancel()
        self.views.close()
        self.film.close()
        self.run, self._followed, self._formerTarget, self._isUntold = None, (None, None), None, False
        self.ui.cancelButton.enabled = False

    def clear(self) -> None:
        """Show nothing of an earlier registration."""
        self._clearResult()
        self.ui.statusLabel.text = ""
        self.ui.progressBar.value = 0

    # ---- parameters

    def showParameters(self) -> None:
        """Enable Apply, whose tool tip says what is missing, and the selectors of the outputs that are wanted."""
        self.film.showParameters()
        for name in OUTPUTS:
            getattr(self.ui, f"{name}Selector").enabled = getattr(self.panel.parameters, name_keeping(name))
        self._nameOwnTemplate()
        self._followTemplate()
        self._followTarget()
        missing = self.findMissing()
        self.ui.applyButton.enabled = not missing and not self.panel.isBusy()
        if self.panel.parameters.template:
            ready = _("Register the target to the template.")
        else:
            ready = _("Register the target to the model's own template, and carry its organs to the target.")
        self.ui.applyButton.toolTip = missing or ready

    def _nameOwnTemplate(self) -> None:
        """The first choice of the template says whether the model has its own."""
        text = _("The model's own") if self.panel.models.holdsTemplate() else _("None")
        if self.ui.templateSelector.noneDisplay != text:
            self.ui.templateSelector.noneDisplay = text

    def _followTemplate(self) -> None:
        """Choose the segmentation that was drawn on the template, unless the user has chosen another one, or none."""
        parameters, (former, formerly_chosen) = self.panel.parameters, self._followed
        template, chosen = parameters.template, parameters.templateSegmentation
        if template is not former:
            self._declined = False
            if former and chosen and chosen is find_segmentation(former):
                chosen = None
                if not template:
                    parameters.templateSegmentation = None
        elif formerly_chosen and not chosen:
            self._declined = True
        self._followed = template, chosen
        if template and not chosen and not self._declined:
            found = find_segmentation(template)
            self._followed = template, found
            parameters.templateSegmentation = found

    def _followTarget(self) -> None:
        """A segmentation that was drawn on the former target gives way to one of the new one with the same organs."""
        parameters, former = self.panel.parameters, self._formerTarget
        target, chosen = parameters.target, parameters.targetSegmentation
        self._formerTarget = target
        if target is not former and former and chosen and chosen is find_segmentation(former):
            template = parameters.templateSegmentation
            names = list_segment_names(template) if template else ()
            parameters.targetSegmentation = find_segmentation(target, names) if target else None

    def findMissing(self) -> str:
        """A sentence that says what must still be chosen; "" if nothing."""
        parameters = self.panel.parameters
        if missing := self._findMissingTemplate():
            return missing
        if not parameters.target:
            return _("Choose a target volume.")
        if parameters.template == parameters.target:
            return _("Template and target are the same volume; choose two different ones.")
        if parameters.template and parameters.targetSegmentation and not parameters.templateSegmentation:
            return _("Choose a template segmentation as well, or no target segmentation: Dice and HD95 need both.")
        if not parameters.model:
            return _("Choose a model.")
        if self.ui.modelComboBox.currentIndex < 0:
            return _("The model {model} is not on this computer. Choose another one.").format(model=parameters.model)
        return ""

    def _findMissingTemplate(self) -> str:
        """As `findMissing`, of the template alone."""
        parameters, models = self.panel.parameters, self.panel.models
        if parameters.template:
            return ""
        if models.find_selected() and not models.holdsTemplate():
            return _("The model {model} holds no template of its own. Choose a template volume.").format(
                model=parameters.model
            )
        if not models.holdsTemplate():
            return _("Choose a template volume.")
        if parameters.templateSegmentation:
            return _("The template segmentation belongs to a template volume. Choose that too, or no segmentation.")
        return ""

    def onSample(self, clicked=False) -> None:
        with DisplayErrors(), WaitCursor():
            nodes = sample.load()
        names = ("template", "templateSegmentation", "target", "targetSegmentation")
        for name, node in zip(names, nodes, strict=True):
            setattr(self.panel.parameters, name, node)

    def makeRequest(self) -> Request:
        """What is chosen, which stays as it is. New nodes replace outputs that hold the result of another pair."""
        parameters = self.panel.parameters
        values = {name: getattr(parameters, name) for name in (*INPUTS, *OUTPUTS, *OPTIONS)}
        for name in OUTPUTS:
            if belongs_to_other_scans(values[name], parameters.template, parameters.target):
                values[name] = None
        off = {name for name in OUTPUTS if not getattr(parameters, name_keeping(name))}
        return Request(
            model=self.logic.model(parameters.model),
            skipped=tuple(off - NEEDED_IN_VIEWS),
            hidden=tuple(off & NEEDED_IN_VIEWS),
            **values,
        )

    # ---- running

    def onApply(self, clicked=False) -> None:
        with DisplayErrors():
            # checked again, since the scene may have changed during the installation
            if not self.panel.ensureInstalled() or not self.panel.parameters or self.findMissing():
                return
            self.views.close(forGood=False)
            self._clearResult()
            self.run = self.logic.start(self.makeRequest())
            self.ui.cancelButton.enabled = True
            self.panel.showParameters()
            self._timer.start()

    def onCancel(self, clicked=False) -> None:
        if self.isRunning():
            self.run.cancel()
            self._end(_("Cancelled. The scene is unchanged."))
            self.logic.warmUp(self.panel.parameters.model)  # its process has ended with it

    def onTimer(self) -> None:
        if not self.panel.parameters:
            return  # a scene is being loaded
        state = self.run.poll()
        if state != "running":
            self._timer.stop()
        self._showLog()
        self._showProgress()
        if state == "finished":
            self._showOutputs(self.run.outputs)
        elif state == "failed":
            self._end(_("Failed: {reason}").format(reason=self.run.error))
            self._isUntold = True
            if self.panel.parent.isEntered:
                self._tellFailure()

    def _tellFailure(self) -> None:
        self._isUntold = False
        if self.run.nearest:
            self._offerNearest(self.run.nearest)
        else:
            slicer.util.errorDisplay(self.run.error)

    def _offerNearest(self, model: str) -> None:
        """No model knows the scans: register with the one that comes nearest, if the user wants that."""
        question = _("Do you want to register with {model} all the same?").format(model=model)
        if slicer.util.confirmYesNoDisplay(f"{self.run.error}\n\n{question}") and self.panel.parameters:
            self.panel.parameters.model = model
            self.onApply()

    def _end(self, text: str) -> None:
        self._timer.stop()
        self.ui.statusLabel.text = text
        self.ui.progressBar.value = self.ui.progressBar.maximum if self.run.state == "finished" else 0
        self._showLog()
        self.ui.cancelButton.enabled = False
        self.panel.showParameters()

    # ---- showing

    def _showLog(self) -> None:
        if self.run.log != self.ui.logText.plainText:
            self.ui.logText.plainText = self.run.log

    def _showProgress(self) -> None:
        run = self.run
        self.ui.progressBar.value = int(self.ui.progressBar.maximum * run.fraction)
        text = (
            _("{stage}: {percent:.0f} %")
            if run.remaining is None
            else _("{stage}: {percent:.0f} %, about {seconds:.0f} s left")
        )
        text = text.format(stage=run.message, percent=100 * run.fraction, seconds=run.remaining or 0)
        self.ui.statusLabel.text = "\n".join(filter(None, [text, run.model, run.device, run.warning]))

    def _showOutputs(self, outputs: Outputs) -> None:
        """The verdict, measures in words and as a table, the scans in the views, the nodes in the output selectors."""
        for name in OUTPUTS:  # so that the next run updates the same nodes
            if getattr(outputs, name) and getattr(self.panel.parameters, name_keeping(name)):
                setattr(self.panel.parameters, name, getattr(outputs, name))
        device = outputs.report["device_reason"]
        self._end(_("Done in {seconds:.1f} s on {device}.").format(seconds=self.run.seconds, device=device))
        warning = self.run.warning if outputs.verdict["sentence"] not in self.run.warning else ""
        self._showResult(self.run.request, outputs, warning)

    def showLoaded(self, request: Request, outputs: Outputs) -> None:
        """Show a result of the batch as one of this tab. What is chosen here stays as it is."""
        self.views.close(forGood=False)
        source = _("{target} of the batch, registered to {template}.").format(
            target=request.target.GetName(), template=request.template.GetName()
        )
        self._showResult(request, outputs, source)
        self.ui.tabs.setCurrentWidget(self.ui.registrationTab)

    def _showResult(self, request: Request, outputs: Outputs, first: str) -> None:
        """first: a sentence before those of the result; "" for none."""
        show_verdict(self.ui, outputs.verdict)
        self.ui.summaryLabel.text = "\n".join(filter(None, [first, *_summarise(outputs)]))
        self.table.show(outputs)
        # a result that comes while the user is in another module must not take over the views
        self.views.show(self.views.makeReview(request, outputs), now=bool(self.panel.parent.isEntered))

    def showPending(self) -> None:
        """The user comes back to the module: show the result or failure that came meanwhile, and what was loaded."""
        self._followTemplate()
        self.views.enter()
        if self._isUntold:
            self._tellFailure()

    def _clearResult(self) -> None:
        show_verdict(self.ui, None)
        self.ui.summaryLabel.text = ""
        self.ui.logText.plainText = ""
        self.table.clear()


def _summarise(outputs: Outputs) -> list[str]:
    """Sentences on how good a registration is, and what was noted on reading."""
    report = outputs.report
    folding = _("The transform folds in {percent:.2f} % of the template.").format(percent=report["folding_percent"])
    lines = [folding]
    if choice := report.get("model_choice"):
        lines.insert(0, _("Model: {reason}").format(reason=choice["reason"]))
    if "after" in report:
        lines.append(
            _("Mean Dice {before:.3f} before, {after:.3f} after.").format(
                before=report["before"]["mean_dice"], after=report["after"]["mean_dice"]
            )
        )
    elif least_sure := describe_least_sure_segments(outputs):
        lines.append(least_sure)
    if not report["own_template"]:
        lines.append(_("The template is not the model's own; its supervoxels were predicted as well."))
    return [*lines, *(_("Note: {note}").format(note=note) for note in report["notes"])]
