"""The extension's screenshots, from the real nodes and the real panel, on the phantom pair.

    VTK_DEFAULT_OPENGL_WINDOW=vtkEGLRenderWindow python Testing/screenshots.py [training]

Writes panel.png, views.png and surfaces.png to SlicRegExtension/Resources/Screenshots; with the word, training.png, which takes
the minutes of a training until its first validation. The views are drawn by Slicer's own displayable managers, the panel by Qt.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # draws without a screen

from host import start

HOST = start()

import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
import vtk  # noqa: E402
import vtkmodules.vtkInteractionStyle  # noqa: E402
import vtkmodules.vtkRenderingOpenGL2  # noqa: E402, F401
from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402

OUT = Path(__file__).resolve().parents[1] / "SlicRegExtension" / "Resources" / "Screenshots"
SIZE = 420
FOCUS = (0.0, 0.0, -20.0)  # RAS mm: through liver and kidneys
SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLTransformsDisplayableManager2D",
)
VIEW_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    panel = HOST.load_module()
    HOST.enter(panel)
    from SlicRegSlicer import sample

    template, organs, target, target_organs = sample.load()
    ui = panel.ui
    for selector, node in (
        (ui.templateSelector, template),
        (ui.templateSegmentationSelector, organs),
        (ui.targetSelector, target),
        (ui.targetSegmentationSelector, target_organs),
    ):
        HOST.choose(selector, node)
    HOST.choose(ui.modelComboBox, "trunk-phantom")
    HOST.click(ui.applyButton)
    HOST.wait(lambda: not panel.running(), 300)
    assert panel.run.state == "finished", panel.run.log
    save_panel(panel, OUT / "panel.png")

    outputs = panel.run.outputs
    view = SliceView(template)
    show_only(organs, target_organs, outputs.warpedSegmentation, visible=organs)
    pictures = []
    pictures.append(view.picture(lambda: show(view, target), "target where it lay, template's organs"))
    pictures.append(view.picture(lambda: show(view, outputs.warpedTarget), "target on the template"))
    pictures.append(view.picture(lambda: panel.review.checkerboard(), "checkerboard"))
    panel.review.grid(True)
    pictures.append(view.picture(lambda: show(view, outputs.warpedTarget), "deformed grid"))
    panel.review.grid(False)
    show_only(organs, target_organs, outputs.warpedSegmentation, visible=None)
    pictures.append(view.picture(lambda: panel.review.confidence(True), "confidence"))
    pictures.append(view.picture(lambda: panel.review.supervoxels(True), "supervoxels in the target"))
    panel.review.supervoxels(False)
    save_montage(pictures, 3, OUT / "views.png")

    pictures = []
    for segmentation, title in (
        (organs, "template"),
        (outputs.warpedSegmentation, "template's segments on the target"),
        (target_organs, "target's own"),
    ):
        segmentation.CreateClosedSurfaceRepresentation()
        show_only(organs, target_organs, outputs.warpedSegmentation, visible=segmentation)
        pictures.append((surfaces(), title))
    save_montage(pictures, 3, OUT / "surfaces.png")
    HOST.unload_module()


def training():
    """The tab "Training" after the first validation of a training on coarse phantoms."""
    from tiny import write_cohort

    from SlicRegLib.jobs import control, ownership

    with tempfile.TemporaryDirectory(prefix="SlicReg-") as scratch:
        cohort, folder = write_cohort(Path(scratch) / "phantoms"), Path(scratch) / "job"
        panel = HOST.load_module()
        HOST.enter(panel)
        ui, tab = panel.ui, panel.training
        ui.tabs.setCurrentWidget(ui.trainingTab)
        tab.further = {"spacing_mm": 8.0, "shape": (48, 32, 48)}
        for path, value in (
            (ui.trainingTemplatePath, cohort / "template.nii.gz"),
            (ui.trainingImagesPath, cohort / "img"),
            (ui.trainingFolderPath, folder),
        ):
            path.currentPath = str(value)
        ui.trainingNameEdit.text = "trunk"
        ui.trainingIterationsSpinBox.value = 400
        HOST.click(ui.trainingStartButton)
        try:
            HOST.wait(lambda: ui.trainingPictureLabel.visible or tab.state.state != "running", 1800)
            assert tab.state.state == "running", tab.state
            tab.close()  # what is shown now stays: names instead of this computer's paths
            for path in (ui.trainingTemplatePath, ui.trainingImagesPath, ui.trainingFolderPath):
                path.blockSignals(True)
                path.currentPath = str(Path(path.currentPath).relative_to(scratch))
            save_panel(panel, OUT / "training.png", ui.trainingReportButton)
        finally:
            if ownership.find_owner(folder):
                control.stop(folder)
            HOST.unload_module()


def show(view, volume):
    view.composite.SetBackgroundVolumeID(volume.GetID())
    view.composite.SetForegroundVolumeID(None)


def show_only(*segmentations, visible):
    for node in segmentations:
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetVisibility(node is visible)
        display.SetOpacity2DFill(0.15)


def save_panel(panel, path, last=None):
    """The panel at its full height, or down to the widget ``last``."""
    widget = panel.parent
    widget.resize(560, 10)
    slicer.app.processEvents()
    height = widget.sizeHint.height() if not callable(widget.sizeHint) else widget.sizeHint().height()
    widget.resize(560, height)
    slicer.app.processEvents()
    if last:
        height = last.mapTo(widget, qt.QPoint(0, 0)).y() + last.height + 14
    widget.grab(qt.QRect(0, 0, 560, height)).save(str(path))


class SliceView:
    """One coronal slice view without a window."""

    def __init__(self, volume):
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode("Picture")
        self.node.SetOrientation("Coronal")
        self.node.SetDimensions(SIZE, SIZE, 1)
        self.composite = self.logic.GetSliceCompositeNode()
        self.composite.SetBackgroundVolumeID(volume.GetID())
        self.logic.FitSliceToBackground(SIZE, SIZE)
        self.node.JumpSliceByCentering(*FOCUS)
        self.window, renderer, self.interactor = _window()
        renderer.GetActiveCamera().ParallelProjectionOn()
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(self.logic.GetImageDataConnection())
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)
        self.group = _managers(slicer.vtkMRMLSliceViewDisplayableManagerFactory, renderer, self.node, SLICE_MANAGERS)

    def picture(self, change, title):
        change()
        self.logic.UpdatePipeline()
        for _ in range(2):
            self.interactor.Render()
        return _pixels(self.window), title


def surfaces():
    """The visible segmentation in 3-D, seen from the front."""
    logic = slicer.vtkMRMLViewLogic()
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(slicer.mrmlScene)
    node = logic.AddViewNode(slicer.mrmlScene.GenerateUniqueName("View"))
    window, renderer, interactor = _window()
    renderer.SetBackground(0.07, 0.09, 0.16)
    group = _managers(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, renderer, node, VIEW_MANAGERS)
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)
    interactor.Render()
    camera = renderer.GetActiveCamera()
    camera.SetPosition(0, 700, 60)
    camera.SetFocalPoint(0, 0, 0)
    camera.SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    renderer.ResetCameraClippingRange()
    interactor.Render()
    pixels = _pixels(window)
    del group
    slicer.mrmlScene.RemoveNode(node)
    return pixels


def _window():
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(SIZE, SIZE)
    window.SetMultiSamples(0)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    interactor.Initialize()
    return window, renderer, interactor


def _managers(factory, renderer, node, names):
    factory = factory.GetInstance()
    factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for name in names:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderer)
    group.Initialize(factory, renderer)
    group.SetMRMLDisplayableNode(node)
    return group


def _pixels(window) -> np.ndarray:
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


def save_montage(pictures, columns, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4 * columns, 4.25 * rows), layout="constrained", facecolor="black", squeeze=False
    )
    for axis, (pixels, title) in zip(axes.flat, pictures):
        axis.imshow(pixels)
        axis.set_title(title, color="white", fontsize=12)
        axis.set_axis_off()
    figure.savefig(path, dpi=90, facecolor="black")
    plt.close(figure)


if __name__ == "__main__":
    training() if "training" in sys.argv[1:] else main()
