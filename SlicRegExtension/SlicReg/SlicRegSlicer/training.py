"""A training that goes on in the background: what is asked for, how far it is in people's words, its curves as nodes.

The training itself is a process of its own that works in a folder and outlives Slicer (`SlicRegLib.jobfolder`).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import slicer

from SlicRegLib.errors import UserError
from SlicRegLib.images.files import list_images
from SlicRegLib.jobs import options, status
from SlicRegLib.jobs.command_process import LogLine
from SlicRegLib.jobs.options import JobOptions
from SlicRegLib.jobs.status import JobState

from .translation import _

WORKING = ("running", "paused")
STAGES = {
    "starting": _("starting"),
    "check": _("checking the scans"),
    "supervoxels": _("cutting the template into supervoxels"),
    "teacher": _("registering the scans"),
    "training": _("training"),
    "report": _("writing the report"),
}
PATHS = ("template", "images", "labels", "template_label", "start")  # fields of JobOptions that a user chooses
CHECKED = (
    "template",
    "images",
    "preset",
    "iterations",
    "batch",
    "device",
    "workers",
    "spacing_mm",
    "shape",
)  # by a check
WORDS = {"workers": "--jobs", "start": "--from", "spacing_mm": "--spacing"}  # where a field is called otherwise
CURVES = "SlicReg.trainingCurves"  # attribute of the chart that shows a training


# ---- what is asked for ----------------------------------------------------------------------------------------------


def missing(template: str, images: str, name: str, folder: str) -> str:
    """A sentence on what is still to be chosen, or an empty text."""
    return next(
        (
            text
            for value, text in (
                (template, _("Choose the template: the scan that all others are brought to.")),
                (images, _("Choose the folder of scans.")),
                (folder, _("Choose a folder for the job.")),
                (name, _("Give the model a name.")),
            )
            if not value
        ),
        "",
    )


def asked(**values) -> JobOptions:
    """The options of a training, with absolute paths. Raises UserError for what does not exist or cannot be used."""
    paths = {name: str(Path(values[name]).absolute()) for name in PATHS if values.get(name)}
    options = JobOptions(**{**values, **paths})
    for folder in (options.images, options.labels):
        if folder and not Path(folder).is_file():  # else it is a list of scans
            list_images(folder)
    return options


def words_to_check(options: JobOptions, folder: str | Path) -> list[str]:
    """The words after ``slicreg`` that look at the scans and write what they find to ``folder``."""
    return ["check", "--out", str(folder), *_words({name: getattr(options, name) for name in CHECKED})]


def words_to_learn(options: JobOptions) -> list[str]:
    """The words after ``slicreg learn --out FOLDER``."""
    return _words(asdict(options))


def _words(values: dict) -> list[str]:
    words = []
    for name, value in values.items():
        if value not in (None, "", False):
            values_of_it = [] if value is True else value if isinstance(value, (tuple, list)) else [value]
            words += [WORDS.get(name, "--" + name.replace("_", "-")), *map(str, values_of_it)]
    return words


# ---- what stands in a folder ----------------------------------------------------------------------------------------


def look(folder: str) -> tuple[JobState, dict]:
    """The state of a folder's job and its configuration, empty where there is none. Never raises."""
    try:
        state = status.read_state(folder) if folder else JobState()
        return state, {} if state.state == "absent" else options.read_config(folder)
    except ImportError:  # the Python packages are not installed: nothing can run either
        return JobState(), {}
    except UserError as error:
        return JobState("failed", error=str(error)), {}


def picture(folder: str, state: JobState) -> Path | None:
    """The newest validation of a job; without a job, the unusual scans."""
    path = Path(folder) / ("cohort_unusual.png" if state.state == "absent" else "validation.png")
    return path if folder and path.is_file() else None


def report(folder: str) -> Path | None:
    path = Path(folder) / "report.html"
    return path if folder and path.is_file() else None


def check_in_words(folder: str) -> str:
    """What the check of a folder's scans found, empty where there was none."""
    try:
        return json.loads((Path(folder) / "cohort.json").read_text(encoding="utf-8"))["summary"] if folder else ""
    except (OSError, ValueError, KeyError):
        return ""


def estimates(folder: str, events: list) -> str:
    """What a check said besides what stands in the folder. events: all of its job."""
    said, found = "\n".join(event.text for event in events if isinstance(event, LogLine)), check_in_words(folder)
    return said.partition(found)[2].strip() if found else ""


# ---- words ----------------------------------------------------------------------------------------------------------


def time_in_words(seconds: float) -> str:
    """As exact as people need it: "40 s", "12 min", "3 h 20 min", "2 days 4 h"."""
    if seconds < 59.5:
        return _("{n} s").format(n=round(seconds))
    minutes = round(seconds / 60)
    if minutes < 60:
        return _("{n} min").format(n=minutes)
    if minutes < 24 * 60:
        return _two(_("{n} h").format(n=minutes // 60), minutes % 60, _("min"))
    days, hours = divmod(round(seconds / 3600), 24)
    return _two(_("1 day") if days == 1 else _("{n} days").format(n=days), hours, _("h"))


def _two(text: str, rest: int, unit: str) -> str:
    return f"{text} {rest} {unit}" if rest else text


def stage_in_words(state: JobState, config: dict) -> str:
    """Such as "registering scan 12 of 80"."""
    counting = {"check": _("checking scan {n} of {all}"), "teacher": _("registering scan {n} of {all}")}
    if state.stage in counting and (counted := re.match(r"(\d+) of (\d+)", state.message)):
        return counting[state.stage].format(n=max(1, int(counted[1])), all=counted[2])
    if state.stage == "training" and (steps := re.match(r"iteration (\d+), loss ([\d.]+)", state.message)):
        of_all = _(" of {all}").format(all=config["iterations"]) if config.get("iterations") else ""
        return _("training, iteration {n}{of_all}, loss {loss}").format(n=steps[1], of_all=of_all, loss=steps[2])
    return STAGES.get(state.stage, state.stage)


def state_in_words(state: JobState, config: dict, curve: list) -> str:
    """A few lines: what goes on, for how long still, and how good it is so far."""
    words = {
        "percent": f"{100 * state.fraction:.0f} %",
        "stage": stage_in_words(state, config),
        "name": config.get("name", ""),
        "error": state.error or _("no reason is known; job.log in the folder shows what it did last."),
    }
    texts = {
        "running": _("Running, {percent}: {stage}."),
        "paused": _("Paused at {percent}: {stage}."),
        "stopped": _("Stopped at {percent}; Start goes on."),
        "interrupted": _("Interrupted at {percent}: the process or the computer was ended; Start goes on."),
        "failed": _("Failed: {error}"),
        "finished": _("Finished: the model {name} is in the list of the first tab.")
        if config.get("models")
        else _("Finished: the model {name} stands in the job's folder; add it in the first tab."),
    }
    lines = [texts[state.state].format(**words)] if state.state in texts else []
    if state.state == "running" and state.remaining is not None:
        lines[0] += " " + _("About {time} left.").format(time=time_in_words(state.remaining))
    if curve:
        iteration, _seconds, training, validation, accuracy = curve[-1]
        lines.append(
            _(
                "Last validation, at iteration {n}: loss {training:.3f} in training and {validation:.3f} in validation, "
                "{accuracy:.1%} of the classes right."
            ).format(n=int(iteration), training=training, validation=validation, accuracy=accuracy)
        )
    return "\n".join(lines)


# ---- curves ---------------------------------------------------------------------------------------------------------


class Curves:
    """Training and validation loss over the iterations: a table, two series and a chart, made once and updated in place."""

    COLUMNS = (_("Iteration"), _("Training loss"), _("Validation loss"))
    COLOURS = ((0.12, 0.47, 0.71), (0.84, 0.15, 0.16))

    def show(self, rows: list, name: str) -> None:
        """Fill the nodes, make them where they are not there, and bring the chart to a view."""
        if not self.chart():
            self._make()
        self.update(rows, name)
        slicer.modules.plots.logic().ShowChartInLayout(self.chart())

    def update(self, rows: list, name: str) -> None:
        """Put other rows of (iteration, seconds, training, validation, accuracy) into the nodes, if there are any."""
        chart = self.chart()
        if not chart:
            return
        columns = [np.array([row[n] for row in rows], float) for n in (0, 2, 3)]
        table = chart.GetNthPlotSeriesNode(0).GetTableNode()
        with slicer.util.NodeModify(table):
            slicer.util.updateTableFromArray(table, columns, self.COLUMNS)
        chart.SetTitle(name)

    def chart(self):
        """The scene's chart, whole with series and table, or None; what is left of one that is not whole is removed."""
        for chart in slicer.util.getNodesByClass("vtkMRMLPlotChartNode"):
            if chart.GetAttribute(CURVES):
                series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
                if len(series) == 2 and all(one and one.GetTableNode() for one in series):
                    return chart
                for node in {one.GetTableNode() for one in series if one} | {*series, chart}:
                    slicer.mrmlScene.RemoveNode(node)
        return None

    def _make(self) -> None:
        table = self._node("vtkMRMLTableNode", _("SlicReg training"))
        chart = self._node("vtkMRMLPlotChartNode", _("SlicReg training"))
        chart.SetAttribute(CURVES, "1")
        chart.SetXAxisTitle(self.COLUMNS[0])
        chart.SetYAxisTitle(_("Cross entropy"))
        for column, colour in zip(self.COLUMNS[1:], self.COLOURS):
            series = self._node("vtkMRMLPlotSeriesNode", column)
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetXColumnName(self.COLUMNS[0])
            series.SetYColumnName(column)
            series.SetPlotType(series.PlotTypeScatter)
            series.SetMarkerStyle(series.MarkerStyleCircle)
            series.SetColor(colour)
            chart.AddAndObservePlotSeriesNodeID(series.GetID())

    @staticmethod
    def _node(kind: str, name: str):
        node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
        node.SetSaveWithScene(False)  # the folder keeps the curves
        return node
