"""The picture that shows a registration, and what went into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .geometry import Grid, bounding_grid
from .registration import Registration
from .volumes import Volume, atomic
from .warping import resample, resample_labels

PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))
WINDOW = (-200, 300)  # HU shown from black to white


def overview(path: Path, result: Registration, template_labels: Volume | None = None, target_labels: Volume | None = None,
             spacing_mm: float = 2.0) -> None:
    """Draw template, target and warped target side by side in three planes, with label contours, as PNG.

    All three are shown on one grid along the patient's axes that covers the template, patient's right on the
    left. Solid contours: the template's labels (on the target: carried over by the inverse field); dotted:
    the target's own. The planes pass through the labels' centre, without labels through the template's middle.
    """
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    grid = bounding_grid([result.template.grid], spacing_mm)
    target_grid = bounding_grid([result.target.grid], spacing_mm)
    template = _image(result.template, grid)
    labels = resample_labels(template_labels.data, template_labels.grid, grid) if template_labels else None
    focus = _focus(labels, grid)
    target_focus = result.dense(_as_tensor(focus))[0].numpy()
    columns = [
        ("template", template, labels, None, grid, focus),
        ("target", _image(result.target, target_grid),
         _on_target(result, template_labels, target_grid), _own(target_labels, target_grid), target_grid, target_focus),
        ("target on template", resample(result.target.tensor, result.target.grid, grid, result.field, fill=-1000.0)[0].numpy(),
         labels, resample_labels(target_labels.data, target_labels.grid, grid, result.field) if target_labels else None, grid, focus),
    ]
    figure, axes = plt.subplots(3, 3, figsize=(12, 11.5), layout="constrained", facecolor="black")
    for column, (title, image, solid, dotted, where, point) in enumerate(columns):
        box = _content(image)
        for row, (plane, axis) in enumerate(PLANES):
            index = int(np.clip(np.round(where.to_voxel(point)[axis]), box[axis].start, box[axis].stop - 1)) - box[axis].start
            _panel(axes[row, column], plane, axis, index, *(None if a is None else a[box] for a in (image, solid, dotted)))
        axes[0, column].set_title(title, color="white", fontsize=13)
    with atomic(path) as part:
        figure.savefig(part, dpi=90, format="png", facecolor="black")
    plt.close(figure)


def _as_tensor(point: np.ndarray):
    import torch
    return torch.tensor(point, dtype=torch.float32)[None]


def _image(volume: Volume, grid: Grid) -> np.ndarray:
    return resample(volume.tensor, volume.grid, grid, fill=-1000.0)[0].numpy()


def _content(image: np.ndarray, margin: int = 5) -> tuple[slice, ...]:
    """The box around what is not air, a few voxels wider."""
    inside = np.argwhere(image > -500)
    if not len(inside):
        return tuple(slice(0, n) for n in image.shape)
    low, high = inside.min(0) - margin, inside.max(0) + 1 + margin
    return tuple(slice(max(0, int(a)), min(n, int(b))) for a, b, n in zip(low, high, image.shape))


def _own(labels: Volume | None, grid: Grid) -> np.ndarray | None:
    return resample_labels(labels.data, labels.grid, grid) if labels else None


def _on_target(result: Registration, labels: Volume | None, grid: Grid) -> np.ndarray | None:
    return resample_labels(labels.data, labels.grid, grid, result.inverse) if labels else None


def _focus(labels: np.ndarray | None, grid: Grid) -> np.ndarray:
    """World point (3,) mm through which the planes pass."""
    if labels is None or not labels.any():
        return grid.centre
    return grid.to_world(np.median(np.argwhere(labels > 0), axis=0))


def _panel(axes, plane: str, axis: int, index: int, image, solid, dotted) -> None:
    def view(array):  # patient's right on the left, front or top up
        return np.take(array, index, axis).T[::-1, ::-1] if plane != "sagittal" else np.take(array, index, axis).T[::-1]

    axes.imshow(view(image), cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], interpolation="bilinear")
    for labels, style in ((solid, "solid"), (dotted, "dotted")):
        if labels is None:
            continue
        shown = view(labels)
        for value in np.unique(shown[shown > 0]):
            axes.contour(shown == value, [0.5], colors=[COLOURS[(int(value) - 1) % len(COLOURS)]], linewidths=1.1, linestyles=style)
    axes.set_axis_off()
    axes.text(0.02, 0.02, plane, color="0.7", transform=axes.transAxes, fontsize=9)


COLOURS = ("#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#c07bf0", "#42d4f4", "#f032e6", "#bfef45",
           "#fabed4", "#469990", "#dcbeff", "#ff9a56", "#fffac8")
