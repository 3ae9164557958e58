"""The table of a result: Dice and HD95 per segment, or where the target has none, the confidence per segment.

It can be copied and written as CSV.
"""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import qt

from .request import Outputs
from .translation import _
from .widgets import DisplayErrors, Panel, fill_table, first_path, format_cell


class ResultTable:
    """Shows the measures of one result; ``header`` and ``rows`` are what is copied and written."""

    def __init__(self, panel: Panel):
        self.panel, self.ui = panel, panel.ui
        self.header: list[str] = []
        self.rows: list[list[str]] = []
        self.ui.copyTableButton.connect("clicked(bool)", self.onCopy)
        self.ui.exportTableButton.connect("clicked(bool)", self.onExport)
        self.clear()

    def clear(self) -> None:
        self._fill([], [])

    def show(self, outputs: Outputs) -> None:
        self._fill(*make_rows(outputs))

    def onCopy(self, clicked=False) -> None:
        """Copy the table, columns separated by tabs, as spreadsheets take it."""
        qt.QApplication.clipboard().setText(self._write("\t"))

    def onExport(self, clicked=False) -> None:
        path = first_path(
            qt.QFileDialog.getSaveFileName(self.panel.parent, _("Export table"), "SlicReg.csv", _("Tables (*.csv)"))
        )
        if path:
            with DisplayErrors():
                pathlib.Path(path).write_text(self._write(","), encoding="utf-8", newline="")

    def _fill(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.header, self.rows = list(header), [list(row) for row in rows]
        table = self.ui.resultsTable
        fill_table(table, self.header, self.rows, wide=0)
        table.visible = bool(rows)
        for button in (self.ui.copyTableButton, self.ui.exportTableButton):
            button.visible = bool(rows)

    def _write(self, separator: str) -> str:
        text = io.StringIO()
        csv.writer(text, delimiter=separator, lineterminator="\n").writerows(
            [[title.replace("\n", " ") for title in self.header], *self.rows]
        )
        return text.getvalue()


def make_rows(outputs: Outputs) -> tuple[list[str], list[list[str]]]:
    """(header, rows) as text. The organs of a cohort with their volumes; else the segments of both segmentations with
    Dice; without any, all of the template's with their confidence."""
    confidence = outputs.report.get("segment_confidence", {})
    measured = outputs.rows()
    if organs := outputs.report.get("organs"):
        return _make_organ_rows(outputs, organs)
    if measured:
        header = [_("Segment"), _("Dice before"), _("Dice after"), _("HD95 before\n(mm)"), _("HD95 after\n(mm)")]
        return header, [
            [name, *(format_cell(dice) for dice in row[:2]), *(format_cell(hd95, 1) for hd95 in row[2:])]
            for name, *row in measured
        ]
    if not confidence:
        return [], []
    return [_("Segment"), _("Mean confidence"), _("10th percentile")], [
        [name, *(format_cell(value, 2) for value in confidence.get(label, (None, None)))]
        for label, name in outputs.report["segments"].items()
    ]


def _make_organ_rows(outputs: Outputs, organs: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Volumes, their percentiles in the cohort, and Dice, or where the target has no segments, the confidence."""
    dice = {name: (before, after) for name, before, after, *_hd95 in outputs.rows()}
    confidence = outputs.report.get("segment_confidence", {})
    last = [_("Dice before"), _("Dice after")] if dice else [_("Mean confidence")]
    rows = []
    for organ in organs:
        found = confidence.get(str(organ["value"])) or (None, None)
        values = dice.get(organ["name"], (None, None)) if dice else found[:1]
        digits = 3 if dice else 2
        rows.append(
            [
                organ["name"],
                format_cell(float(organ["volume_ml"]), 1),
                _format_percentile(organ),
                *(format_cell(value, digits) for value in values),
            ]
        )
    return [_("Organ"), _("Volume (ml)"), _("Percentile\nin the cohort"), *last], rows


def _format_percentile(organ: Mapping[str, Any]) -> str:
    """Of an organ's volume; that of a part says nothing."""
    if organ["volume_ml"] and not organ["complete"]:
        return _("cut off")
    return "" if organ["percentile"] is None else f"{organ['percentile']:.0f}"


def describe_least_sure_segments(outputs: Outputs, number: int = 3) -> str:
    """A sentence that names the segments with the least mean confidence; "" where none is known."""
    confidence = outputs.report.get("segment_confidence", {})
    known = [(values[0], outputs.report["segments"][label]) for label, values in confidence.items() if values[0]]
    if len(known) < 2:
        return ""
    worst = [f"{name} ({mean:.2f})" for mean, name in sorted(known)[:number]]
    return _("Least sure segments, mean confidence: {segments}.").format(segments=", ".join(worst))
