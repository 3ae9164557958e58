"""The extension's screenshots: the real panel and the real nodes, on phantoms.

    python Testing/screenshots.py            panel.png, views.png and surfaces.png; about a minute
    python Testing/screenshots.py training   training.png; some minutes, until the first validation of a training

They go to SlicRegExtension/Resources/Screenshots. Slicer's own displayable managers draw the views, Qt draws the panel.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # draws without a screen

from panel_samples import HOST, choose_inputs, wait_for_end  # isort: skip

import numpy as np
import qt
import slicer
import vtk
import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
from vtk.util.numpy_support import vtk_to_numpy

from SlicRegLib.jobs import control, lock
from SlicRegSlicer import sample
from tiny import write_cohort

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


def draw_registration():
    """The Registration tab after a registration, the slice views and the surfaces."""
    panel = HOST.load_module()
    HOST.enter(panel)
    pair = sample.load()
    choose_inputs(panel, pair)
    HOST.click(panel.ui.applyButton)
    wait_for_end(panel, 300)
    run = panel.registration.run
    assert run.state == "finished", run.log
    save_panel(panel, OUT / "panel.png")
    save_montage(draw_views(pair, run.outputs, panel.registration.views.review), OUT / "views.png")
    save_montage(draw_surfaces(pair, run.outputs), OUT / "surfaces.png")
    HOST.unload_module()


def draw_views(pair, outputs, review) -> list:
    """[(pixels, title), ...] of a coronal slice."""
    template, organs, target, target_organs = pair
    segmentations = (organs, target_organs, outputs.warpedSegmentation)
    view = SliceView(template)
    show_only(segmentations, organs)
    pictures = [
        view.picture(lambda: show(view, target), "target before, organs of the template"),
        view.picture(lambda: show(view, outputs.warpedTarget), "target after, organs of the template"),
        view.picture(review.show_checkerboard, "checkerboard"),
    ]
    review.show_grid(True)
    pictures.append(view.picture(lambda: show(view, outputs.warpedTarget), "deformed grid"))
    review.show_grid(False)
    show_only(segmentations, None)
    pictures.append(view.picture(lambda: review.show_confidence(True), "confidence"))
    pictures.append(view.picture(lambda: review.show_supervoxels(True), "supervoxels in the target"))
    review.show_supervoxels(False)
    return pictures


def draw_surfaces(pair, outputs) -> list:
    """[(pixels, title), ...] of the organs in 3-D."""
    _, organs, _, target_organs = pair
    pictures = []
    for segmentation, title in (
        (organs, "organs of the template"),
        (outputs.warpedSegmentation, "transferred to the target"),
        (target_organs, "the target's own organs"),
    ):
        segmentation.CreateClosedSurfaceRepresentation()
        show_only((organs, target_organs, outputs.warpedSegmentation), segmentation)
        pictures.append((draw_3d(), title))
    return pictures


def draw_training():
    """The Training tab after the first validation of a training on coarse phantoms."""
    with tempfile.TemporaryDirectory(prefix="SlicReg-") as scratch:
        cohort, folder = write_cohort(Path(scratch) / "phantoms"), Path(scratch) / "job"
        panel = HOST.load_module()
        HOST.enter(panel)
        ui, tab = panel.ui, panel.training
        ui.tabs.setCurrentWidget(ui.trainingTab)
        tab.extraOptions = {"spacing_mm": 8.0, "shape": (48, 32, 48)}
        paths = {
            ui.trainingTemplatePath: cohort / "template.nii.gz",
            ui.trainingImagesPath: cohort / "img",
            ui.trainingFolderPath: folder,
        }
        for widget, path in paths.items():
            widget.currentPath = str(path)
        ui.trainingNameEdit.text = "trunk"
        ui.trainingIterationsSpinBox.value = 400
        HOST.click(ui.trainingStartButton)
        try:
            HOST.wait(lambda: ui.trainingPictureLabel.visible or not tab.job.is_active, 1800)
            assert tab.job.is_active, tab.job.state
            tab.close()  # what is shown now stays
            for widget, path in paths.items():  # names instead of this computer's paths
                widget.blockSignals(True)
                widget.currentPath = str(path.relative_to(scratch))
            save_panel(panel, OUT / "training.png", ui.trainingReportButton)
        finally:
            if lock.find_owner(folder):
                control.stop(folder)
            HOST.unload_module()


def show(view, volume):
    view.composite.SetBackgroundVolumeID(volume.GetID())
    view.composite.SetForegroundVolumeID(None)


def show_only(segmentations, visible):
    """Draw the outlines of one segmentation, or of none."""
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


def draw_3d() -> np.ndarray:
    """Pixels of the visible segmentation's surface, seen from the front."""
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


def save_montage(pictures, path, columns=3):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4 * columns, 4.4 * rows), layout="constrained", facecolor="black", squeeze=False
    )
    for axis, (pixels, title) in zip(axes.flat, pictures, strict=True):
        axis.imshow(pixels)
        axis.set_title(title, color="white", fontsize=12)
        axis.set_axis_off()
    figure.savefig(path, dpi=90, facecolor="black")
    plt.close(figure)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    draw_training() if "training" in sys.argv[1:] else draw_registration()
