"""Shows a registration in the slice views: blend, flicker, checkerboard, deformed grid, confidence, supervoxels."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk

from .result_nodes import VOLUME, ResultNodes

CHECKERBOARD = "SlicReg.checkerboard"  # attribute of the volume that is made for the views and hidden from the user
GRID_SPACING_MM = 12.0
CONFIDENCE_COLOURS = "vtkMRMLColorTableNodeRainbow"  # red: low, blue: high
CONFIDENCE_MAX = 1.3  # above 1: violet, the end of the rainbow, looks like its beginning


class Review:
    """Shows one result: at most one comparison (blend, flicker, checkerboard) and one overlay at a time."""

    def __init__(self, template, target, outputs):
        """template, target: the registered volume nodes. outputs: `SlicRegSlicer.request.Outputs`."""
        self.template, self.target, self.outputs = template, target, outputs
        self._board = None

    def is_alive(self) -> bool:
        """Whether all nodes that are shown are still in the scene."""
        outputs = self.outputs
        needed = (outputs.warpedTarget, outputs.transform, outputs.confidence, outputs.supervoxels)
        return all(slicer.mrmlScene.IsNodePresent(node) for node in (self.template, self.target, *needed))

    def blend(self, opacity: float = 0.5) -> None:
        """The template below, the warped target above with this opacity."""
        self._show(self.template, self.outputs.warpedTarget, opacity)

    def flick(self) -> None:
        """Switch from the template to the warped target, or back."""
        composite = next(iter(_list_composites()), None)
        above = (
            composite is not None
            and composite.GetForegroundVolumeID() == self.outputs.warpedTarget.GetID()
            and composite.GetForegroundOpacity() > 0.5
        )
        self.blend(0.0 if above else 1.0)

    def show_checkerboard(self, fields: int = 8) -> None:
        """Template and warped target alternate in the fields of a 3-D checkerboard, ``fields`` along each axis."""
        template, warped = (slicer.util.arrayFromVolume(v) for v in (self.template, self.outputs.warpedTarget))
        index = [np.arange(n) * fields // n for n in template.shape]
        odd = (index[0][:, None, None] + index[1][None, :, None] + index[2][None, None, :]) % 2 == 1
        if not self._board or not slicer.mrmlScene.IsNodePresent(self._board):
            self._board = self._add_board()
        matrix = vtk.vtkMatrix4x4()
        self.outputs.warpedTarget.GetIJKToRASMatrix(matrix)  # in the world, unlike a template under a parent transform
        self._board.SetIJKToRASMatrix(matrix)
        slicer.util.updateVolumeFromArray(self._board, np.where(odd, warped, template).astype(np.float32))
        _copy_window(self.template, self._board)
        self._show(self._board, None, 0.0)

    def show_confidence(self, on: bool) -> None:
        """The confidence in colours over the template; off: the blend."""
        if not on:
            self.blend()
            return
        volume = self.outputs.confidence
        volume.CreateDefaultDisplayNodes()
        display = volume.GetDisplayNode()
        display.SetAndObserveColorNodeID(CONFIDENCE_COLOURS)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0.0, CONFIDENCE_MAX)
        display.SetThreshold(0.01, 1.0)
        display.SetApplyThreshold(True)
        self._show(self.template, volume, 0.4)

    def show_supervoxels(self, on: bool) -> None:
        """The supervoxels that the network predicts in the target, over the target; off: the blend."""
        for composite in _list_composites():
            if on:
                composite.SetBackgroundVolumeID(self.target.GetID())
                composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(self.outputs.supervoxels.GetID() if on else None)
            composite.SetLabelOpacity(0.4)
        if not on:
            self.blend()

    def show_grid(self, on: bool) -> None:
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

    def find_least_sure(self) -> list[tuple[float, float, float, float]]:
        """Places on the template where the transform agrees least with the network: (R, A, S mm, confidence)."""
        return [tuple(place) for place in self.outputs.verdict["least_sure"]]

    def centre(self, r: float, a: float, s: float) -> None:
        """Centre all slice views on a point of the world."""
        slice_node = slicer.vtkMRMLSliceNode
        slice_node.JumpAllSlices(slicer.mrmlScene, r, a, s, slice_node.CenteredJumpSlice)

    def close(self) -> None:
        """Remove grid, overlays and checkerboard from the views; template and warped target stay."""
        self.show_grid(False)
        self.show_supervoxels(False)
        if self._board and slicer.mrmlScene.IsNodePresent(self._board):
            slicer.mrmlScene.RemoveNode(self._board)
        self._board = None

    def _add_board(self):
        board = ResultNodes(self.target).reuse_or_add(None, VOLUME, "SlicReg checkerboard")
        board.SetAttribute(CHECKERBOARD, "1")
        board.SetHideFromEditors(True)
        board.SetSaveWithScene(False)
        return board

    def _show(self, background, foreground, opacity: float) -> None:
        for composite in _list_composites():
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
            composite.SetForegroundOpacity(opacity)


def _list_composites() -> list:
    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))


def _copy_window(source, volume) -> None:
    """Give a volume the window and level of another one."""
    volume.CreateDefaultDisplayNodes()
    shown, display = source.GetDisplayNode(), volume.GetDisplayNode()
    if shown:
        display.AutoWindowLevelOff()
        display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())
