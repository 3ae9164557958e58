"""Images that a review adds to the scene for the views: hidden from the user's lists, not saved, removed at its end."""

from __future__ import annotations

from functools import partial

import numpy as np
import slicer
import slicer.util

from . import colours, maps
from .result_nodes import VOLUME, ResultNodes, hide, remove
from .spaces import get_normal_axis
from .translation import _

CHECKERBOARD = "SlicReg.checkerboard"  # attribute of the volume that is made for the views and hidden from the user
MAP, GRID = "SlicReg.map", "SlicReg.grid"
MAP_MM = 4.0
"""Largest voxels of a map."""
GRID_SPACING_MM = 20.0
GRID_STEP_MM = 6.0
GRID_COLOUR = (1.0, 0.85, 0.2)
INSIDE = (maps.OUTSIDE + 1, 1e9)
"""Thresholds between which a map is drawn."""


class ReviewImages:
    """Makes each image when it is first asked for. The functions return (volume node, title of its colours)."""

    def __init__(self, template, outputs):
        self.template, self.outputs = template, outputs
        self._maps: dict[str, object] = {}
        self._sheets: list = []  # models, one per world axis
        self._board = None

    def make_checkerboard(self, fields: int):
        """Template and warped target in turn; the volume node alone."""
        template, warped = (slicer.util.arrayFromVolume(v) for v in (self.template, self.outputs.warpedTarget))
        index = [np.arange(n) * fields // n for n in template.shape]
        odd = (index[0][:, None, None] + index[1][None, :, None] + index[2][None, None, :]) % 2 == 1
        if not self._board or not slicer.mrmlScene.IsNodePresent(self._board):
            self._board = self._add_volume(CHECKERBOARD, "SlicReg checkerboard")
        # the warped target's grid lies in the world, unlike that of a template under a parent transform
        slicer.util.updateVolumeFromArray(self._board, np.where(odd, warped, template).astype(np.float32))
        self._board.SetIJKToRASMatrix(_get_matrix(self.outputs.warpedTarget))
        shown, display = self.template.GetDisplayNode(), self._board.GetDisplayNode()
        if shown:
            display.AutoWindowLevelOff()
            display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())
        return self._board

    def make_confidence(self):
        title = _("Confidence")
        return self._make_map(
            title, lambda: maps.view_confidence(self.outputs.confidence), colours.CONFIDENCE, (0.0, 1.0)
        )

    def make_displacement(self):
        """From the least to the greatest displacement inside the body; a shift of the whole scan counts as well."""
        return self._make_map(_("Displacement (mm)"), partial(self._measure, maps.measure_displacement), colours.AMOUNT)

    def make_volume_change(self):
        measure = partial(self._measure, maps.measure_volume_change)
        return self._make_map(_("Jacobian determinant"), measure, colours.VOLUME_CHANGE, (0.0, 2.0))

    def make_difference(self):
        title = _("Template - target (HU)")
        if not self._has(title):
            volume = self._add_volume(MAP, title)
            arrays = (slicer.util.arrayFromVolume(v) for v in (self.template, self.outputs.warpedTarget))
            slicer.util.updateVolumeFromArray(volume, maps.subtract(*arrays))
            volume.SetIJKToRASMatrix(_get_matrix(self.outputs.warpedTarget))
            display = self.template.GetDisplayNode()
            limit = max(1.0, display.GetWindow() / 2) if display else 250.0
            colours.colour(volume, colours.DEVIATION, -limit, limit)
            self._maps[title] = volume
        return self._maps[title], title

    def show_legend(self, volume, title: str, view_ids: list[str]) -> None:
        colours.show_legend(volume, title, view_ids)

    def hide_legends(self) -> None:
        for volume in self._maps.values():
            if volume and slicer.mrmlScene.IsNodePresent(volume):
                colours.hide_legend(volume)

    # ---- grid

    def show_grid(self, on: bool, views: list) -> None:
        """The sheets of the deformed grid in these slice views."""
        if on and not all(map(slicer.mrmlScene.IsNodePresent, self._sheets or [None])):
            self._sheets = self._make_sheets()
        for sheet in filter(slicer.mrmlScene.IsNodePresent, self._sheets):
            sheet.GetDisplayNode().SetVisibility(on)
        self.place_grid(views)

    def place_grid(self, views: list) -> None:
        """A sheet is drawn where a view cuts it: not in those that look along its axis, where it would be a blot."""
        for axis, sheet in enumerate(self._sheets):
            if slicer.mrmlScene.IsNodePresent(sheet):
                ids = [view.GetID() for view in views if get_normal_axis(view) != axis]
                display = sheet.GetDisplayNode()
                display.SetViewNodeIDs(ids)
                display.SetVisibility2D(bool(ids))

    def _make_sheets(self) -> list:
        field = maps.view_field(self.outputs.transform)
        sheets = []
        for sheet in maps.make_grid_sheets(field, self.outputs.confidence, GRID_SPACING_MM, GRID_STEP_MM):
            model = self._hide(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "SlicReg grid"), GRID)
            model.SetAndObservePolyData(sheet)
            display = model.GetDisplayNode()
            display.SetColor(*GRID_COLOUR)
            display.SetVisibility2D(True)
            display.SetSliceIntersectionThickness(1)
            display.SetSliceIntersectionOpacity(0.7)  # the anatomy below stays visible
            display.SetVisibility3D(False)
            sheets.append(model)
        return sheets

    # ---- nodes

    def close(self) -> None:
        """Remove the images and the legends."""
        self.hide_legends()
        for node in (self._board, *self._maps.values(), *self._sheets):
            if node and slicer.mrmlScene.IsNodePresent(node):
                remove(node)
        self._board, self._maps, self._sheets = None, {}, []

    def _make_map(self, title: str, make, table: str, limits: tuple[float, float] | None = None):
        """A map inside the body. make: its (values, matrix). ``limits`` of the colours, None: its own."""
        if not self._has(title):
            values, matrix = maps.refine(*make(), MAP_MM)
            body = maps.find_body(self.outputs.confidence, values.shape, matrix)
            limits = limits or (tuple(np.percentile(values[body], (1, 99))) if body.any() else (0.0, 1.0))
            volume = self._add_volume(MAP, title)
            slicer.util.updateVolumeFromArray(volume, np.where(body, values, maps.OUTSIDE).astype(np.float32))
            volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
            colours.colour(volume, table, *limits, threshold=INSIDE)
            volume.GetDisplayNode().SetInterpolate(False)  # across the border it would mix with the values outside
            self._maps[title] = volume
        return self._maps[title], title

    def _measure(self, measure):
        field = maps.view_field(self.outputs.transform)
        return measure(field), field.matrix

    def _has(self, title: str) -> bool:
        return title in self._maps and bool(slicer.mrmlScene.IsNodePresent(self._maps[title]))

    def _add_volume(self, attribute: str, name: str):
        return self._hide(ResultNodes().reuse_or_add(None, VOLUME, name), attribute)

    def _hide(self, node, attribute: str):
        node.SetAttribute(attribute, "1")
        node.CreateDefaultDisplayNodes()
        hide(node)
        return node


def _get_matrix(volume):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix
