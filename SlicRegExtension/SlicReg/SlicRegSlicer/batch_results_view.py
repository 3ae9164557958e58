"""The results on the Batch tab: the table of scans, and buttons that open or load what was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer

from SlicRegLib.jobs.batch import SHEET, Batch
from SlicRegLib.jobs.batch_rows import COLUMNS, DONE, WAITING, Row

from .batch_results import load_result
from .batch_words import DICE_COLUMN, VERDICT_COLUMN, make_table
from .request import Outputs, Request
from .scene_batch import find_segmentation
from .translation import _
from .verdict_view import COLOURS
from .widgets import DisplayErrors, Panel, WaitCursor, fill_table


class BatchResultsView:
    """Shows a batch; the buttons act on the row that is chosen, or on the output folder."""

    def __init__(self, panel: Panel, showResult: Callable[[Request, Outputs], None]):
        """showResult: shows a result that was loaded on the Registration tab and in the views."""
        self.panel, self.ui, self._showResult = panel, panel.ui, showResult
        self.batch: Batch | None = None
        self._template = self._segmentation = ""
        self._nodes: dict[str, str] = {}
        self._out = ""
        self._shown: list[Row] = []
        self._filling = False
        self._tips = [button.toolTip for button in self._buttons()]
        self.ui.batchSheetButton.connect("clicked(bool)", self.onSheet)
        self.ui.batchFolderButton.connect("clicked(bool)", self.onFolder)
        self.ui.batchLoadButton.connect("clicked(bool)", self.onLoad)
        self.ui.batchTable.connect("itemSelectionChanged()", self.onSelection)

    def _buttons(self) -> list:
        return [self.ui.batchSheetButton, self.ui.batchFolderButton, self.ui.batchLoadButton]

    def begin(self, request: Request, nodes: Mapping[str, Any]) -> None:
        """A batch begins. nodes: name of each scan -> its volume node, where the scans are in the scene."""
        # not the nodes themselves, which would stay in memory
        self.batch, self._template = None, request.template.GetID() if request.template else ""
        self._segmentation = request.templateSegmentation.GetID() if request.templateSegmentation else ""
        self._nodes = {name: node.GetID() for name, node in nodes.items()}

    def forget(self) -> None:
        """The scene was closed: its nodes' IDs will be those of other nodes."""
        self._template, self._segmentation, self._nodes = "", "", {}

    def showOutput(self, out: str) -> None:
        """The output folder that is chosen; "" if none is."""
        self._out = out
        self._enable()

    def show(self, batch: Batch) -> None:
        """Fill the table; the chosen row stays chosen."""
        self.batch = batch
        self._fill(batch.rows())

    def showWaiting(self, names: Sequence[str]) -> None:
        """The table of a batch that is being prepared."""
        self._fill([{**dict.fromkeys(COLUMNS), "name": name, "status": WAITING, "error": ""} for name in names])

    def _fill(self, rows: list[Row]) -> None:
        if rows != self._shown:
            name = self._findChosen()
            header, cells = make_table(rows)
            self._filling, self._shown = True, rows
            fill_table(self.ui.batchTable, header, cells, wide=len(header) - 1)
            if len(header) > DICE_COLUMN + 1:
                self.ui.batchTable.horizontalHeaderItem(DICE_COLUMN).setToolTip(_("Before → after the registration."))
            for number, row in enumerate(rows):
                if row["verdict"] in COLOURS:
                    text, ground = COLOURS[row["verdict"]]
                    item = self.ui.batchTable.item(number, VERDICT_COLUMN)
                    item.setForeground(qt.QBrush(qt.QColor(text)))
                    item.setBackground(qt.QBrush(qt.QColor(ground)))
                if row["name"] == name:
                    self.ui.batchTable.selectRow(number)
            self._filling = False
        self._enable()

    def onSelection(self) -> None:
        if not self._filling:
            self._enable()

    def _findChosen(self) -> str:
        """Name of the scan whose row is chosen; "" if none is."""
        number = self.ui.batchTable.currentRow()
        chosen = self.ui.batchTable.selectedItems()
        return self._shown[number]["name"] if chosen and 0 <= number < len(self._shown) else ""

    def _findRow(self) -> Row | None:
        return next((row for row in self._shown if row["name"] == self._findChosen()), None)

    def _enable(self) -> None:
        """Enable what can be opened or loaded; the other buttons' tool tips give the reason."""
        row = self._findRow()
        no_folder = "" if self._out and Path(self._out).is_dir() else _("The output folder does not exist yet.")
        no_sheet = "" if self._out and (Path(self._out) / SHEET).is_file() else _("No batch has run in this folder.")
        if not row:
            no_result = _("Choose a scan in the table.")
        else:
            no_result = "" if row["status"] == DONE else _("This scan has no result.")
        reasons = (no_sheet, no_folder, no_result)
        for button, reason, tip in zip(self._buttons(), reasons, self._tips, strict=True):
            button.enabled = not reason
            button.toolTip = reason or tip

    # ---- buttons

    def onSheet(self, clicked=False) -> None:
        self._open(Path(self._out) / SHEET)

    def onFolder(self, clicked=False) -> None:
        """The folder of the chosen scan, where it has one; otherwise that of all results."""
        out = Path(self._out)
        chosen = self._findChosen()
        own = self.batch.out / chosen if chosen and self.batch else out
        self._open(own if own.is_dir() else out)

    def onLoad(self, clicked=False) -> None:
        row = self._findRow()
        if not row or not self.batch:
            return
        with DisplayErrors(), WaitCursor():
            ids = (self._template, self._segmentation, self._nodes.get(row["name"]))
            template, organs, target = (slicer.mrmlScene.GetNodeByID(id_) if id_ else None for id_ in ids)
            target, outputs = load_result(row, self.batch.out, self.batch.targets[row["name"]], template, target)
            template = template or outputs.template
            if template and target and outputs.report.get("verdict"):  # which older versions did not write
                own, organs = find_segmentation(target), organs or outputs.templateSegmentation
                request = Request(template, target, "", templateSegmentation=organs, targetSegmentation=own)
                self._showResult(request, outputs)
                return
            warped = outputs.warpedTarget
            slicer.util.setSliceViewerLayers(
                background=template or warped, foreground=warped, label=None, foregroundOpacity=0.5, fit=True
            )

    @staticmethod
    def _open(path: Path) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))
