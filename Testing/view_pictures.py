"""Pictures of the views as Slicer's own displayable managers draw them, without windows on a screen.

    views = Views()
    pixels = views.draw()             # all views of the current layout, in its rows
    views.draw_slice(slice_node)      # one

Import it before any window is made: VTK_DEFAULT_OPENGL_WINDOW chooses the drawing without a screen.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import numpy as np
import slicer
import slicer.util
import vtk
import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
from vtk.util.numpy_support import vtk_to_numpy

SIZE = 300
SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)
VIEW_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)


class Views:
    """The views of the layout manager; a window is made for each when it is first drawn."""

    def __init__(self, size: int = SIZE):
        self.size = size
        self._slices: dict[str, tuple] = {}
        self._threed: dict[str, tuple] = {}

    def draw(self) -> np.ndarray:
        """All views of the layout, one row of pixels under the other, (height, width, 3)."""
        layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        tree = ElementTree.fromstring(layout.GetCurrentLayoutDescription())
        views = [
            (view.get("class"), view.get("singletontag"))
            for view in tree.iter("view")
            if view.get("class") in ("vtkMRMLSliceNode", "vtkMRMLViewNode")
        ]
        pictures = [self._draw(*view) for view in views]
        columns = 2 if len(pictures) == 4 else 3 if len(pictures) == 6 else len(pictures)
        pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
        rows = [np.concatenate(pictures[n : n + columns], 1) for n in range(0, len(pictures), columns)]
        return np.concatenate(rows, 0)

    def draw_slice(self, node) -> np.ndarray:
        """Pixels of one slice view, (size, size, 3)."""
        logic, window, interactor, _keep = self._slices.get(node.GetID()) or self._add_slice(node)
        logic.UpdatePipeline()
        for _ in range(2):
            interactor.Render()
        return read_pixels(window)

    def draw_3d(self, node) -> np.ndarray:
        window, renderer, interactor, _keep = self._threed.get(node.GetID()) or self._add_3d(node)
        interactor.Render()
        camera = renderer.GetActiveCamera()
        camera.SetPosition(0, 700, 60)
        camera.SetFocalPoint(0, 0, 0)
        camera.SetViewUp(0, 0, 1)
        renderer.ResetCamera()
        renderer.ResetCameraClippingRange()
        interactor.Render()
        return read_pixels(window)

    def _draw(self, class_name: str, name: str) -> np.ndarray:
        node = slicer.mrmlScene.GetSingletonNode(name, class_name)
        return self.draw_slice(node) if class_name == "vtkMRMLSliceNode" else self.draw_3d(node)

    def _add_slice(self, node) -> tuple:
        logic = slicer.app.layoutManager().sliceWidget(node.GetLayoutName()).sliceLogic()
        logic.ResizeSliceNode(self.size, self.size)  # as the window does when it gets its size
        window, renderer, interactor = make_window(self.size)
        renderer.GetActiveCamera().ParallelProjectionOn()
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(logic.GetImageDataConnection())
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)
        group = make_managers(slicer.vtkMRMLSliceViewDisplayableManagerFactory, renderer, node, SLICE_MANAGERS)
        self._slices[node.GetID()] = logic, window, interactor, (renderer, group)
        return self._slices[node.GetID()]

    def _add_3d(self, node) -> tuple:
        window, renderer, interactor = make_window(self.size)
        renderer.SetBackground(0.07, 0.09, 0.16)
        group = make_managers(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, renderer, node, VIEW_MANAGERS)
        node.SetBoxVisible(False)
        node.SetAxisLabelsVisible(False)
        self._threed[node.GetID()] = window, renderer, interactor, group
        return self._threed[node.GetID()]


def make_window(size: int) -> tuple:
    """(window, renderer, interactor) that draw without a screen."""
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(size, size)
    window.SetMultiSamples(0)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    interactor.Initialize()
    return window, renderer, interactor


def make_managers(factory, renderer, node, names):
    """The displayable managers with these class names, which draw into ``renderer`` what ``node`` shows."""
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


def read_pixels(window) -> np.ndarray:
    """(height, width, 3) uint8, the first row above."""
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()
