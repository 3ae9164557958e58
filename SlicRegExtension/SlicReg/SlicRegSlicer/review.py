"""Ways to look at a registration in the slice views: blend, flicker, checkerboard, deformed grid, confidence, supervoxels."""

from __future__ import annotations

import numpy as np
import slicer

from .nodes import Results

CHECKERBOARD = "SlicReg.checkerboard"  # attribute of the volume that belongs to the view and not to the user
GRID_SPACING_MM = 12.0
CONFIDENCE_COLOURS = "vtkMRMLColorTableNodeRainbow"  # red: low, blue: high


class Review:
    """Shows one result; at most one picture of two scans (blend, flicker, checkerboard) and one overlay at a time."""

    def __init__(self, template, target, outputs):
        self.template, self.target, self.outputs = template, target, outputs
        self._board = None

    def alive(self) -> bool:
        """Whether all of its nodes are still in the scene."""
        shown = (
            self.template,
            self.target,
            self.outputs.warpedTarget,
            self.outputs.transform,
            self.outputs.confidence,
            self.outputs.supervoxels,
        )
        return all(slicer.mrmlScene.IsNodePresent(node) for node in shown)

    def blend(self, opacity: float = 0.5) -> None:
        """Template below, warped target above."""
        self._show(self.template, self.outputs.warpedTarget, opacity)

    def flick(self) -> None:
        """Change between template and warped target."""
        composite = next(iter(_composites()), None)
        above = (
            composite is not None
            and composite.GetForegroundVolumeID() == self.outputs.warpedTarget.GetID()
            and composite.GetForegroundOpacity() > 0.5
        )
        self.blend(0.0 if above else 1.0)

    def checkerboard(self, fields: int = 8) -> None:
        """Template and warped target in the fields of a three-dimensional chessboard."""
        template, warped = (slicer.util.arrayFromVolume(v) for v in (self.template, self.outputs.warpedTarget))
        index = [np.arange(n) * fields // n for n in template.shape]
        odd = (index[0][:, None, None] + index[1][None, :, None] + index[2][None, None, :]) % 2 == 1
        self._board = self._board if self._board and slicer.mrmlScene.IsNodePresent(self._board) else self._new_board()
        ijk_to_ras = _matrix(self.outputs.warpedTarget)  # in the world, unlike a template under a parent transform
        self._board.SetIJKToRASMatrix(ijk_to_ras)
        slicer.util.updateVolumeFromArray(self._board, np.where(odd, warped, template).astype(np.float32))
        _same_window(self.template, self._board)
        self._show(self._board, None, 0.0)

    def confidence(self, on: bool) -> None:
        """The confidence in colours over whatever is shown."""
        volume = self.outputs.confidence
        if on:
            volume.CreateDefaultDisplayNodes()
            display = volume.GetDisplayNode()
            display.SetAndObserveColorNodeID(CONFIDENCE_COLOURS)
            display.AutoWindowLevelOff()
            display.SetWindowLevelMinMax(0.0, 1.3)  # the end of the rainbow, violet, looks like its beginning
            display.SetThreshold(0.01, 1.0)
            display.SetApplyThreshold(True)
            self._show(self.template, volume, 0.4)
        else:
            self.blend()

    def supervoxels(self, on: bool) -> None:
        """The supervoxels that the network sees in the target, over the target."""
        for composite in _composites():
            if on:
                composite.SetBackgroundVolumeID(self.target.GetID())
                composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(self.outputs.supervoxels.GetID() if on else None)
            composite.SetLabelOpacity(0.4)
        if not on:
            self.blend()

    def grid(self, on: bool) -> None:
        """The transform as a deformed grid in the slice views."""
        transform = self.outputs.transform
        if not on and not transform.GetDisplayNode():
            return
        transform.CreateDefaultDisplayNodes()
        display = transform.GetDisplayNode()
        display.SetVisualizationMode(display.VIS_MODE_GRID)
        display.SetGridSpacingMm(GRID_SPACING_MM)
        display.SetGridLineDiameterMm(1.0)
        display.SetVisibility(on)
        display.SetVisibility2D(on)
        display.SetVisibility3D(False)

    def close(self) -> None:
        """Take away what belongs to the views alone; template and warped target stay."""
        self.grid(False)
        self.supervoxels(False)
        if self._board and slicer.mrmlScene.IsNodePresent(self._board):
            slicer.mrmlScene.RemoveNode(self._board)
        self._board = None

    def _new_board(self):
        board = Results(self.target).node(None, "vtkMRMLScalarVolumeNode", "SlicReg checkerboard")
        board.SetAttribute(CHECKERBOARD, "1")
        board.SetHideFromEditors(True)
        board.SetSaveWithScene(False)
        return board

    def _show(self, background, foreground, opacity: float) -> None:
        for composite in _composites():
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
            composite.SetForegroundOpacity(opacity)


def _composites() -> list:
    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))


def _matrix(volume):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def _same_window(source, volume) -> None:
    volume.CreateDefaultDisplayNodes()
    shown, display = source.GetDisplayNode(), volume.GetDisplayNode()
    if shown:
        display.AutoWindowLevelOff()
        display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())
