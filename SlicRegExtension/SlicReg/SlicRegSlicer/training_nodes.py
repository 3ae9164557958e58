"""The loss curves of a training as nodes of the scene: a table, two series and a chart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer

from .translation import _

MARK = "SlicReg.trainingCurves"
"""Attribute of the chart by which it is found again, also after the panel was closed."""


class LossChart:
    """Training and validation loss over the iterations. The nodes are made once and then updated in place."""

    COLUMNS = (_("Iteration"), _("Training loss"), _("Validation loss"))
    COLOURS = ((0.12, 0.47, 0.71), (0.84, 0.15, 0.16))

    def show(self, rows: Sequence[tuple[float, ...]], title: str) -> None:
        """Make the nodes where they are missing, fill them and show the chart in a view. rows: as for `update`."""
        if not self.find():
            self._make()
        self.update(rows, title)
        slicer.modules.plots.logic().ShowChartInLayout(self.find())

    def update(self, rows: Sequence[tuple[float, ...]], title: str) -> None:
        """Replace the plotted values if the chart is in the scene.

        rows: (iteration, seconds, training loss, validation loss, accuracy).
        """
        chart = self.find()
        if not chart:
            return
        columns = [np.array([row[n] for row in rows], float) for n in (0, 2, 3)]
        table = chart.GetNthPlotSeriesNode(0).GetTableNode()
        with slicer.util.NodeModify(table):
            slicer.util.updateTableFromArray(table, columns, self.COLUMNS)
        chart.SetTitle(title)

    def find(self):
        """The scene's chart if its series and table are there, else None. Parts of an incomplete chart are removed."""
        for chart in slicer.util.getNodesByClass("vtkMRMLPlotChartNode"):
            if chart.GetAttribute(MARK):
                series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
                if len(series) == 2 and all(one and one.GetTableNode() for one in series):
                    return chart
                for node in {one.GetTableNode() for one in series if one} | {*series, chart}:
                    slicer.mrmlScene.RemoveNode(node)
        return None

    def _make(self) -> None:
        table = self._add_node("vtkMRMLTableNode", _("SlicReg training"))
        chart = self._add_node("vtkMRMLPlotChartNode", _("SlicReg training"))
        chart.SetAttribute(MARK, "1")
        chart.SetXAxisTitle(self.COLUMNS[0])
        chart.SetYAxisTitle(_("Cross entropy"))
        for column, colour in zip(self.COLUMNS[1:], self.COLOURS, strict=True):
            series = self._add_node("vtkMRMLPlotSeriesNode", column)
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetXColumnName(self.COLUMNS[0])
            series.SetYColumnName(column)
            series.SetPlotType(series.PlotTypeScatter)
            series.SetMarkerStyle(series.MarkerStyleCircle)
            series.SetColor(colour)
            chart.AddAndObservePlotSeriesNodeID(series.GetID())

    @staticmethod
    def _add_node(class_name: str, name: str):
        node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
        node.SetSaveWithScene(False)  # the job folder keeps the curves
        return node
