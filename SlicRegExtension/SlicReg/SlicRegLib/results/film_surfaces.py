"""Surfaces of bones or skin and of organs, drawn from all sides with VTK where it is installed.

VTK ends the process where it finds no way to draw, so this runs in a process of its own, for whose sake PyTorch is not
imported here. Only this file imports VTK, whose modules are `vtkmodules`, in Slicer as well.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .drawing import GROUND

SHELL_RGB = {"bones": (240, 228, 205), "skin": (224, 178, 150)}
SHELL_OPACITY = {"bones": 0.55, "skin": 0.3}
"""How much the shell hides of what is behind it."""
ELEVATION = 8.0
"""From how far above the scan is looked at, degrees."""
SMOOTHING = 0.7
"""Of the volumes before their surfaces are found, voxels."""
SHELL_LEVEL = 127.5


@dataclass(frozen=True, eq=False)
class Scene:
    """key: tells scenes apart. shell: (I, J, K) uint8, whose surface is at `SHELL_LEVEL`. numbers: (I, J, K) uint16 on
    the same lattice, n in the n-th organ. spacing: of both, mm; axes along the patient's. colours: of the organs, RGB 0
    to 255. size: (width, height) of a picture."""

    key: str
    kind: str
    shell: np.ndarray
    numbers: np.ndarray
    spacing: float
    colours: tuple[tuple[int, int, int], ...]
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Views:
    """Some of the views of a scene. angles: degrees around the long axis of the body; 0: from the front."""

    scene: Scene
    angles: tuple[float, ...]


def is_vtk_here() -> bool:
    """Whether VTK is installed. Whether it can draw is seen when it does."""
    try:
        return importlib.util.find_spec("vtkmodules") is not None
    except (ImportError, ValueError):
        return False


def draw_views(views: Views) -> list[np.ndarray]:
    """A picture (height, width, 3) uint8 for each angle.

    Two pictures without transparency are mixed, all surfaces and only the organs: then only the outermost shell is
    transparent, and no surfaces have to be sorted.
    """
    stage = _make_stage(views.scene.key, lambda: views.scene)
    share, frames = SHELL_OPACITY[views.scene.kind], []
    for angle in views.angles:
        stage.look_from(angle)
        whole, organs = (stage.draw(shell).astype(np.float32) for shell in (True, False))
        frames.append((organs + share * (whole - organs)).round().astype(np.uint8))
    return frames


class _Stage:
    """The renderer of one scene."""

    def __init__(self, scene: Scene):
        from vtkmodules import vtkRenderingOpenGL2  # noqa: F401  it makes the classes below draw
        from vtkmodules.vtkCommonCore import vtkLogger
        from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow

        vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)  # without a screen it says so, and draws all the same
        self._renderer, self._window = vtkRenderer(), vtkRenderWindow()
        self._renderer.SetBackground(*(channel / 255 for channel in GROUND))
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)  # three times as slow without a graphics card; instead:
        self._renderer.UseFXAAOn()
        self._window.SetSize(*scene.size)
        self._window.AddRenderer(self._renderer)
        self._shell = _make_actor(
            scene.shell.astype(np.float32), SHELL_LEVEL, scene.spacing, (0, 0, 0), SHELL_RGB[scene.kind]
        )
        self._renderer.AddActor(self._shell)
        for number, colour in enumerate(scene.colours, 1):
            if part := _cut_out(scene.numbers == number):
                values, first = part
                self._renderer.AddActor(_make_actor(values, 0.5, scene.spacing, first, colour))
        self._renderer.ResetCamera()
        self._centre = self._renderer.GetActiveCamera().GetFocalPoint()
        self._fill(scene)

    def _fill(self, scene: Scene) -> None:
        """Come so near that the body fills the picture from every side."""
        camera = self._renderer.GetActiveCamera()
        x, y, z = (n * scene.spacing for n in scene.shell.shape)
        width, height = scene.size
        camera.ParallelProjectionOn()
        camera.SetParallelScale(0.52 * max(z, np.hypot(x, y) * height / width))

    def look_from(self, angle: float) -> None:
        camera, (x, y, z) = self._renderer.GetActiveCamera(), self._centre
        around, above = np.radians(angle), np.radians(ELEVATION)
        away = np.array([np.sin(around) * np.cos(above), np.cos(around) * np.cos(above), np.sin(above)]) * 3000
        camera.SetPosition(x + away[0], y + away[1], z + away[2])
        camera.SetViewUp(0, 0, 1)
        self._renderer.ResetCameraClippingRange()

    def draw(self, shell: bool) -> np.ndarray:
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

        self._shell.SetVisibility(shell)
        self._window.Render()
        pixels = vtkUnsignedCharArray()
        width, height = self._window.GetSize()
        self._window.GetPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
        return vtk_to_numpy(pixels).reshape(height, width, 3)[::-1].copy()


@lru_cache(maxsize=1)
def _stage_of(key: str) -> dict[str, Any]:
    return {}


def _make_stage(key: str, scene: Any) -> _Stage:
    """That of the scene with this key, made at its first views."""
    kept = _stage_of(key)
    if "stage" not in kept:
        kept["stage"] = _Stage(scene())
    return kept["stage"]


def _cut_out(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]] | None:
    """The box around what is True with two voxels more, (i, j, k) float32, and its first voxel; None for nothing."""
    ends = [np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(ends[0]):
        return None
    box = tuple(slice(int(end[0]), int(end[-1]) + 1) for end in ends)
    i, j, k = (part.start - 2 for part in box)
    return np.pad(mask[box].astype(np.float32), 2), (i, j, k)


def _make_actor(values: np.ndarray, level: float, spacing: float, first: tuple[int, int, int], colour: Any) -> Any:
    """The surface at ``level`` of ``values`` (I, J, K), which begin at voxel ``first``."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D
    from vtkmodules.vtkImagingGeneral import vtkImageGaussianSmooth
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    image = vtkImageData()
    image.SetDimensions(*values.shape)
    image.SetSpacing(spacing, spacing, spacing)
    image.SetOrigin(*(n * spacing for n in first))
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(order="F"), deep=True))
    smooth = vtkImageGaussianSmooth()
    smooth.SetInputData(image)
    smooth.SetStandardDeviation(SMOOTHING)
    smooth.SetRadiusFactor(3)
    edges = vtkFlyingEdges3D()
    edges.SetInputConnection(smooth.GetOutputPort())
    edges.SetValue(0, level)
    edges.ComputeNormalsOn()
    mapper = vtkPolyDataMapper()
    mapper.SetInputConnection(edges.GetOutputPort())
    mapper.ScalarVisibilityOff()
    actor = vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*(channel / 255 for channel in colour))
    actor.GetProperty().SetSpecular(0.1)
    return actor
