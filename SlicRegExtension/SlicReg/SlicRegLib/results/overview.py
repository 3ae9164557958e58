"""The overview picture of a registration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..geometry.field import DisplacementField
from ..geometry.grid import Grid, bounding_grid
from ..geometry.label_maps import LabelMap, cut_labels
from ..geometry.resampling import resample
from ..geometry.threads import one_thread
from ..images.volumes import Volume
from ..registration.result import Registration
from ..registration.verdict import Verdict
from ..registration.verdict_text import describe_verdict
from .drawing import Panel, draw_panels

PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))
"""Names of the planes, and the world axis that each is normal to."""
VERDICT_COLOURS = {"good": "#7fd98b", "doubtful": "#ffb000", "failed": "#ff5c5c"}
"""Colours of the title; the word is written out for those who cannot tell them apart."""


@one_thread()
def draw_overview(
    path: Path,
    result: Registration,
    template_labels: Volume | None = None,
    target_labels: Volume | None = None,
    spacing_mm: float = 2.0,
    verdict: Verdict | None = None,
) -> None:
    """Draw template, target and warped target side by side in three planes, with label contours, as PNG; atomic.

    All are shown along the patient's axes, cropped to what is not air, the patient's right on the left, those of a row
    to one scale; images are sampled every ``spacing_mm``, labels at half of it. Solid contours are the template's
    labels (on the target carried over by the inverse field), dotted ones the target's own. The planes pass through the
    labels' median, or the template's middle if there are none. The verdict is written above.
    """
    fixed, moving = (surround(scan, spacing_mm) for scan in (result.template, result.target))
    template, target = result.template.tensor, result.target.tensor
    solid, dotted = (cut_labels(v.data, v.grid) if v else None for v in (template_labels, target_labels))
    focus = _focus(template_labels, fixed)
    focus_on_target = result.dense(torch.tensor(focus, dtype=torch.float32)[None])[0].double().numpy()
    rows = []
    for plane, axis in PLANES:
        on_fixed, on_moving = _Plane(fixed, axis, focus), _Plane(moving, axis, focus_on_target)
        template_contours = on_fixed.labels(solid)
        panels = [
            on_fixed.panel(on_fixed.image(template, result.template.grid), template_contours, None),
            on_moving.panel(
                on_moving.image(target, result.target.grid),
                on_moving.labels(solid, result.inverse if solid else None),
                on_moving.labels(dotted),
            ),
            on_fixed.panel(
                on_fixed.image(target, result.target.grid, result.field),
                template_contours,
                on_fixed.labels(dotted, result.field),
            ),
        ]
        rows.append((plane, panels))
    title = describe_verdict(verdict.word, verdict.sentence) if verdict else ""
    colour = VERDICT_COLOURS[verdict.word] if verdict else "white"
    draw_panels(path, rows, ["template", "target", "target on template"], title, colour)


@one_thread()
def draw_growth(path: Path, atlas: Volume, z: Volume, labels: Volume | None = None, largest: float = 3.0) -> None:
    """Draw how unusual a patient is, three planes a row through the place of the largest deviation in the body, as PNG;
    atomic. z: as `compare_growth` gives it; full colours are at ``largest`` standard deviations. labels: on the atlas,
    drawn as contours."""
    around = surround(atlas, 2.0)
    contours, image = cut_labels(labels.data, labels.grid) if labels else None, atlas.tensor
    body = resample(image, atlas.grid, z.grid, fill=-1000.0)[0].numpy() > -500
    peak = np.unravel_index(np.argmax(np.abs(z.data) * body), z.data.shape)
    focus = z.grid.to_world(np.array([float(n) for n in peak]))
    planes = [_Plane(around, axis, focus) for _, axis in PLANES]
    panels = [
        replace(
            plane.panel(plane.image(image, atlas.grid), plane.labels(contours), None),
            tint=plane.values(z) / largest,
        )
        for plane in planes
    ]
    title = f"Red: larger than in the cohort, blue: smaller; full colour at {largest:g} standard deviations"
    draw_panels(path, [("", panels)], [plane for plane, _ in PLANES], title, "white")


class _Plane:
    """The plane across ``axis`` of a grid along the world axes, through a world ``point`` (3,) mm."""

    def __init__(self, grid: Grid, axis: int, point: np.ndarray):
        self.axis = axis
        self.grid = _slice(grid, axis, point)
        self.fine = _slice(grid.halved(), axis, self.grid.to_world(np.zeros(3)))

    def image(self, values: torch.Tensor, grid: Grid, field: DisplacementField | None = None) -> np.ndarray:
        """Values (1, I, J, K) on ``grid``, as (rows, columns)."""
        return self._turn(resample(values, grid, self.grid, field, fill=-1000.0)[0].numpy())

    def values(self, volume: Volume) -> np.ndarray:
        """Any values, 0 outside, as (rows, columns)."""
        return self._turn(resample(volume.tensor, volume.grid, self.grid, fill=0.0)[0].numpy())

    def labels(self, labels: LabelMap | None, field: DisplacementField | None = None) -> np.ndarray | None:
        """(rows, columns), twice as many as of the image."""
        return self._turn(labels.on(self.fine, field)) if labels else None

    def panel(self, image: np.ndarray, solid: np.ndarray | None, dotted: np.ndarray | None) -> Panel:
        width, height = np.delete(self.grid.shape * self.grid.spacing, self.axis)
        return Panel(image=image, solid=solid, dotted=dotted, size_mm=(float(height), float(width)))

    def _turn(self, array: np.ndarray) -> np.ndarray:
        """The patient's right on the left, front or top up."""
        rows = array.squeeze(self.axis).T[::-1]
        return rows if self.axis == 0 else rows[:, ::-1]


def surround(scan: Volume, spacing_mm: float, margin_mm: float = 10.0) -> Grid:
    """The grid along the patient's axes around the voxels that are not air."""
    body = scan.data > -500
    columns = np.argwhere(body.any(2))
    if not len(columns):
        return bounding_grid([scan.grid], spacing_mm)
    inside = body[columns[:, 0], columns[:, 1]]
    ends = inside.argmax(1), body.shape[2] - 1 - inside[:, ::-1].argmax(1)  # the outermost voxels are among them
    points = scan.grid.to_world(np.concatenate([np.column_stack([columns, end]) for end in ends]).astype(float))
    half = np.abs(scan.grid.affine[:3, :3]).sum(1) / 2  # of a voxel
    low, high = points.min(0) - half, points.max(0) + half
    box = Grid.centred((low + high) / 2, (1, 1, 1), high - low)
    return bounding_grid([box], spacing_mm, margin_mm)


def _slice(grid: Grid, axis: int, point: np.ndarray) -> Grid:
    """The slice of ``grid`` across ``axis`` through a world ``point`` (3,) mm, or the nearest one."""
    first = np.zeros(3)
    first[axis] = np.clip(grid.to_voxel(point)[axis], 0, grid.shape[axis] - 1)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(first)
    i, j, k = (1 if a == axis else n for a, n in enumerate(grid.shape))
    return Grid((i, j, k), affine)


def _focus(labels: Volume | None, grid: Grid) -> np.ndarray:
    """World point (3,) mm through which the planes pass."""
    if labels is None or not labels.data.any():
        return grid.centre
    counts = (np.count_nonzero(labels.data, axis=tuple({0, 1, 2} - {axis})) for axis in range(3))
    median = [float(np.median(np.repeat(np.arange(len(number)), number))) for number in counts]
    return labels.grid.to_world(np.array(median))
