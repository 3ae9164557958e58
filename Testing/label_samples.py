"""A study whose scans are balls in their labels alone, written in a moment: what is counted is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.options import PreparationOptions
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.teaching.options import SupervoxelOptions
from SlicRegLib.teaching.packing import pack_field, pack_scan, save_arrays
from SlicRegLib.teaching.study import Study
from tiny import field_of

FRAME = Grid.centred((0, 0, 0), (32, 32, 32), 4.0)
"""Of the template and of each scan."""
SCAN = Grid.centred((1.0, -2.0, 3.0), (36, 34, 38), (3.0, 3.2, 2.8))
"""As it was loaded; labels lie on it."""


def draw_balls(balls: Mapping[int, tuple[tuple[float, float, float], float]], grid: Grid = SCAN) -> np.ndarray:
    """Labels (I, J, K), uint8, of balls: value -> centre and radius, mm."""
    labels, points = np.zeros(grid.shape, np.uint8), grid.points().numpy()
    for value, (centre, radius) in balls.items():
        labels[np.linalg.norm(points - np.array(centre), axis=-1) < radius] = value
    return labels


def save_label(folder: Path, name: str, labels: np.ndarray, grid: Grid = SCAN) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_volume(folder / f"{name}.nii.gz", Volume(labels, grid))


def write_study(folder: Path, scans: int, bend_mm: float = 0.0) -> Study:
    """A finished study of scans called a, b, ...; each field to the template is a wave of another height, at most
    ``bend_mm``."""
    study = Study(
        folder,
        "average",
        "0" * 64,
        "refinement",
        PreparationOptions(spacing_mm=4.0, shape=FRAME.shape),
        SupervoxelOptions(),
        [chr(ord("a") + n) for n in range(scans)],
    )
    (folder / "scans").mkdir(parents=True)
    scan = PreparedScan("", torch.zeros(FRAME.shape), FRAME, original=SCAN)
    save_arrays(folder / "template.npz", pack_scan(scan))
    for number, name in enumerate(study.scans):
        height = bend_mm * (2 * number / max(1, scans - 1) - 1)
        field = field_of(FRAME.pooled(2), lambda points, height=height: height * torch.cos(points.roll(1, -1) / 25))
        save_arrays(study.scan_path(name), pack_scan(scan) | pack_field(field))
    return study
