"""The overview picture of a registration."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid, bounding_grid
from ..geometry.label_maps import resample_labels
from ..geometry.resampling import resample
from ..images.figures import save_figure
from ..images.volumes import Volume
from ..registration.result import Registration
from ..registration.verdict import Verdict
from ..registration.verdict_text import describe_verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))
"""Names of the planes, and the world axis that each is normal to."""
WINDOW_HU = (-200, 300)
"""Intensities shown from black to white."""
COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#ffe119",
    "#4363d8",
    "#f58231",
    "#c07bf0",
    "#42d4f4",
    "#f032e6",
    "#bfef45",
    "#fabed4",
    "#469990",
    "#dcbeff",
    "#ff9a56",
    "#fffac8",
)
"""Contour colours: label n has the n-th; after the last they begin again."""


VERDICT_COLOURS = {"good": "#7fd98b", "doubtful": "#ffb000", "failed": "#ff5c5c"}
"""Colours of the title; the word is written out for those who cannot tell them apart."""
TITLE_CHARACTERS = 92
"""Length of a line of the title, which is as wide as the picture."""


def draw_overview(
    path: Path,
    result: Registration,
    template_labels: Volume | None = None,
    target_labels: Volume | None = None,
    spacing_mm: float = 2.0,
    verdict: Verdict | None = None,
) -> None:
    """Draw template, target and warped target side by side in three planes, with label contours, as PNG; atomic.

    All are shown along the patient's axes on voxels of ``spacing_mm``, cropped to what is not air, the patient's right
    on the left. Solid contours are the template's labels (on the target carried over by the inverse field), dotted ones
    the target's own. The planes pass through the labels' median, or the template's middle if there are none. The
    verdict is written above.
    """
    from matplotlib.figure import Figure  # pyplot would change the caller's backend

    fixed, moving = (_around(scan, spacing_mm) for scan in (result.template, result.target))
    focus = _focus(template_labels, fixed)
    columns = [  # title, grid, point, then (volume, field) of the image and of the labels in both styles
        ("template", fixed, focus, (result.template, None), (template_labels, None), (None, None)),
        (
            "target",
            moving,
            result.dense(torch.tensor(focus, dtype=torch.float32)[None])[0].numpy(),
            (result.target, None),
            (template_labels, result.inverse if template_labels else None),
            (target_labels, None),
        ),
        (
            "target on template",
            fixed,
            focus,
            (result.target, result.field),
            (template_labels, None),
            (target_labels, result.field),
        ),
    ]
    figure = Figure(figsize=(12, 11.5), layout="constrained", facecolor="black")
    axes = figure.subplots(3, 3)
    if verdict:
        text = textwrap.fill(describe_verdict(verdict.word, verdict.sentence), TITLE_CHARACTERS)
        figure.suptitle(text, color=VERDICT_COLOURS[verdict.word], fontsize=14, fontweight="bold")
    for column, (title, grid, point, scan, solid, dotted) in enumerate(columns):
        for row, (plane, axis) in enumerate(PLANES):
            seen = _slice(grid, axis, point)
            _draw_panel(axes[row, column], plane, _image(*scan, seen), _labels(*solid, seen), _labels(*dotted, seen))
        axes[0, column].set_title(title, color="white", fontsize=13)
    save_figure(path, figure, 90, "black")


def _around(scan: Volume, spacing_mm: float, margin_mm: float = 10.0) -> Grid:
    """The grid along the patient's axes around the voxels that are not air."""
    inside = np.argwhere(scan.data > -500)
    if not len(inside):
        return bounding_grid([scan.grid], spacing_mm)
    affine = scan.grid.affine.copy()
    affine[:3, 3] = scan.grid.to_world(inside.min(0))
    i, j, k = np.ptp(inside, axis=0) + 1
    return bounding_grid([Grid((i, j, k), affine)], spacing_mm, margin_mm)


def _slice(grid: Grid, axis: int, point: np.ndarray) -> Grid:
    """The slice of ``grid`` across ``axis`` that is nearest to a world ``point`` (3,) mm."""
    first = np.zeros(3)
    first[axis] = np.clip(np.round(grid.to_voxel(point)[axis]), 0, grid.shape[axis] - 1)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(first)
    i, j, k = (1 if a == axis else n for a, n in enumerate(grid.shape))
    return Grid((i, j, k), affine)


def _image(volume: Volume, field: DisplacementField | None, grid: Grid) -> np.ndarray:
    return resample(volume.tensor, volume.grid, grid, field, fill=-1000.0)[0].numpy().squeeze()


def _labels(volume: Volume | None, field: DisplacementField | None, grid: Grid) -> np.ndarray | None:
    return resample_labels(volume.data, volume.grid, grid, field).squeeze() if volume else None


def _focus(labels: Volume | None, grid: Grid) -> np.ndarray:
    """World point (3,) mm through which the planes pass."""
    if labels is None or not labels.data.any():
        return grid.centre
    return labels.grid.to_world(np.median(np.argwhere(labels.data > 0), axis=0))


def _draw_panel(axes: Axes, plane: str, image: np.ndarray, solid: np.ndarray | None, dotted: np.ndarray | None) -> None:
    def view(array: np.ndarray) -> np.ndarray:  # patient's right on the left, front or top up
        return array.T[::-1, ::-1] if plane != "sagittal" else array.T[::-1]

    axes.imshow(view(image), cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], interpolation="bilinear")
    for labels, style in ((solid, "solid"), (dotted, "dotted")):
        if labels is None:
            continue
        shown = view(labels)
        for value in np.unique(shown[shown > 0]):
            axes.contour(
                shown == value,
                [0.5],
                colors=[COLOURS[(int(value) - 1) % len(COLOURS)]],
                linewidths=1.1,
                linestyles=style,
            )
    axes.set_axis_off()
    axes.text(0.02, 0.02, plane, color="0.7", transform=axes.transAxes, fontsize=9)
