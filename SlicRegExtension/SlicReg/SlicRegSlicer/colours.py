"""Colours of the maps over a scan, and their legend beside them in the views."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util

CONFIDENCE = "SlicReg confidence"  # red: low, blue: high
AMOUNT = "SlicReg amount"  # from dark to bright
DEVIATION = "SlicReg deviation"  # blue: less, white: as before, red: more
VOLUME_CHANGE = "SlicReg volume change"  # the same; magenta: folded

STOPS: dict[str, list[tuple[float, tuple[float, float, float]]]] = {
    CONFIDENCE: [(0, (0.70, 0.05, 0.10)), (0.35, (0.96, 0.60, 0.20)), (0.6, (1, 0.95, 0.55)), (1, (0.13, 0.40, 0.67))],
    AMOUNT: [(0, (0.10, 0.05, 0.35)), (0.4, (0.65, 0.15, 0.45)), (0.75, (0.97, 0.55, 0.15)), (1, (1, 1, 0.65))],
    DEVIATION: [(0, (0.10, 0.30, 0.65)), (0.5, (1, 1, 1)), (1, (0.70, 0.05, 0.15))],
    VOLUME_CHANGE: [(0, (1, 0, 1)), (0.01, (1, 0, 1)), (0.011, (0.10, 0.30, 0.65)), (0.5, (1, 1, 1)), (1, (0.7, 0, 0))],
}
"""Name -> (position from 0 to 1, red, green, blue). They can be told apart by those who confuse red and green."""

NUMBER = 256


def find_colours(name: str):
    """The colour table of the scene with one of the names in `STOPS`; made where there is none."""
    for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode"):
        if node.GetName() == name:
            return node
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    positions, colours = zip(*STOPS[name], strict=True)
    with slicer.util.NodeModify(node):
        node.SetTypeToUser()
        node.SetNumberOfColors(NUMBER)
        for n, position in enumerate(np.linspace(0, 1, NUMBER)):
            red, green, blue = (
                float(np.interp(position, positions, channel)) for channel in zip(*colours, strict=True)
            )
            node.SetColor(n, f"{position:.3f}", red, green, blue, 1.0)
    node.SetHideFromEditors(True)
    return node


def colour(volume, name: str, low: float, high: float, threshold: tuple[float, float] | None = None) -> None:
    """Show a volume node in colours from ``low`` to ``high``; only values within ``threshold`` are drawn."""
    if not volume.GetDisplayNode():
        volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID(find_colours(name).GetID())
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(low, high)
        if threshold:
            display.SetThreshold(*threshold)
        display.SetApplyThreshold(threshold is not None)


def show_legend(volume, title: str, view_ids: list[str]) -> None:
    """Draw the colours of a volume node with their values in these views."""
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume)
    with slicer.util.NodeModify(legend):
        legend.SetTitleText(title)
        legend.SetNumberOfLabels(6 if volume.GetDisplayNode().GetWindow() == 1 else 5)  # steps of one decimal
        legend.SetViewNodeIDs(view_ids)
        legend.SetVisibility(True)


def hide_legend(volume) -> None:
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(volume)
    if legend:
        legend.SetVisibility(False)
