"""The second part of a film: the scan's bones or skin with the organs, turning."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy import ndimage

from ..geometry.label_maps import resample_labels
from ..geometry.resampling import resample
from ..geometry.threads import one_thread
from ..workers import run_each
from .film_page import Page, paste
from .film_result import FilmResult
from .film_surfaces import SHELL_LEVEL, Scene, Views, draw_views
from .overview import surround

SPACING_MM = 3.0
"""Of the surfaces."""
VOXELS = 4_000_000
"""Most that a surface is looked for in; a larger scan gets larger ones."""
BONE_HU, SKIN_HU = 200.0, -300.0
BONE_ML = 20.0
"""Least bone that is shown; with less, the skin is."""
CHUNK = 6
"""Views that are drawn at a time; so often progress is told."""
PROCESSES = 2
_LOWEST, _HIGHEST = -1000.0, 1000.0  # of the values whose surface is looked for


@one_thread()
def make_scene(result: FilmResult, page: Page, surface: str) -> Scene:
    """surface: "bones", or "skin", which also takes the place of bones where there are hardly any."""
    grid = surround(result.target, SPACING_MM)
    if (voxels := int(np.prod(grid.shape))) > VOXELS:
        grid = surround(result.target, SPACING_MM * (voxels / VOXELS) ** (1 / 3))
    spacing = float(grid.spacing[0])
    values = resample(result.target.tensor, result.target.grid, grid, fill=-1000.0)[0].numpy()
    bones = _keep_large(values > BONE_HU, 1.0 / (spacing**3 / 1000))
    kind = surface if surface == "skin" or bones.sum() * spacing**3 / 1000 >= BONE_ML else "skin"
    level, body = (BONE_HU, bones) if kind == "bones" else (SKIN_HU, _fill_body(values > SKIN_HU))
    near = ndimage.binary_dilation(body, iterations=2)
    shell = np.where(near, values, _LOWEST) if kind == "bones" else np.where(body, 500.0, -1000.0)
    numbers = np.zeros(grid.shape, np.uint16)
    if result.labels:
        labels = resample_labels(result.labels.data, result.labels.grid, grid)
        for number, organ in enumerate(result.organs, 1):
            numbers[labels == organ.value] = number
    scaled = np.clip(SHELL_LEVEL + (shell - level) * (127 / 600), 0, 255).astype(np.uint8)
    scaled = _clear_border(scaled)
    colours = tuple(organ.colour for organ in result.organs)
    return Scene(uuid.uuid4().hex, kind, scaled, numbers, spacing, colours, (page.body.width, page.body.height))


def draw_turning(scene: Scene, page: Page, title: str, count: int) -> Iterator[Image.Image]:
    """``count`` pages, once around. Raises RuntimeError, before the first one, where VTK cannot draw."""
    angles = [360 * number / count for number in range(count)]
    chunks = [Views(scene, tuple(angles[start : start + CHUNK])) for start in range(0, count, CHUNK)]
    base, _ = page.begin(title)
    drawn: dict[float, list[np.ndarray]] = {}
    left: Iterator[Views] = iter(chunks)
    expected: Views | None = next(left)
    for done in run_each(draw_views, chunks, PROCESSES, isolate=True):
        if done.problem:
            raise RuntimeError(done.problem)
        drawn[done.item.angles[0]] = done.result
        while expected and expected.angles[0] in drawn:  # they come in any order
            for frame in drawn.pop(expected.angles[0]):
                picture = base.copy()
                paste(picture, frame, page.body.left, page.body.top)
                yield picture
            expected = next(left, None)


def _keep_large(mask: np.ndarray, voxels: float) -> np.ndarray:
    """Without the specks of fewer voxels."""
    parts, number = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=number + 1)
    sizes[0] = 0
    return (sizes >= voxels)[parts]


def _fill_body(mask: np.ndarray) -> np.ndarray:
    """The largest part, without the air inside."""
    parts, number = ndimage.label(mask)
    if not number:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(parts == sizes.argmax())


def _clear_border(values: np.ndarray) -> np.ndarray:
    """With nothing in the outermost voxels, so that every surface is closed."""
    cleared = np.zeros_like(values)
    cleared[1:-1, 1:-1, 1:-1] = values[1:-1, 1:-1, 1:-1]
    return cleared
