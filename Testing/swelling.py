"""A cohort whose average is known: one body in which an organ swells by known amounts, in known poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, save_volume

GRID = Grid.centred((0.0, 0.0, 0.0), (40, 36, 44), 5.0)
ORGAN = np.array([15.0, 5.0, 10.0])
"""Its centre in the body, mm."""
RADIUS = 30.0
SPREAD = 35.0
"""How far around the organ its swelling is felt, mm."""
AMOUNTS = {"a": -0.25, "b": -0.1, "c": 0.0, "d": 0.1, "e": 0.25}
"""Name of each scan -> how much its organ is swollen. The mean is 0: the average is the body as it is drawn."""
TURNS = {"a": 6.0, "b": -6.0, "c": 0.0, "d": 4.0, "e": -4.0}


def draw_body(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HU and labels at points (..., 3) mm of the body as it is: fat, muscle, two bones and the organ, label 7."""
    distance = np.linalg.norm((points - (0, 0, 0)) / (80, 66, 95), axis=-1)
    hu = np.where(distance < 1, np.where(distance < 0.9, 50.0, -80.0), -1000.0)
    for x, y, radius in ((-40, -20, 12), (20, -40, 9)):
        bone = np.hypot(points[..., 0] - x, points[..., 1] - y) < radius + 2 * np.sin(points[..., 2] / 12)
        hu = np.where(bone & (distance < 0.9), 600.0, hu)
    organ = np.linalg.norm(points - ORGAN, axis=-1) < RADIUS
    return np.where(organ, 160.0, hu), np.where(organ, 7, 0).astype(np.uint8)


def write_scan(folder: Path, name: str) -> None:
    """img/NAME.nii.gz and label/NAME.nii.gz."""
    fine = Grid.centred((0, 0, 0), [4 * n for n in GRID.shape], 1.25)
    turn = Rotation.from_euler("z", TURNS[name], degrees=True).as_matrix()
    points = _undo_swelling(fine.points().numpy().astype(float) @ turn, AMOUNTS[name])
    hu, labels = (_average(values) for values in draw_body(points))
    noise = np.random.default_rng(ord(name)).normal(0, 8, GRID.shape)
    save_volume(folder / "img" / f"{name}.nii.gz", Volume((hu + noise).round().astype(np.int16), GRID))
    save_volume(folder / "label" / f"{name}.nii.gz", Volume((7 * (labels > 3.5)).astype(np.uint8), GRID))


def write_swelling_cohort(folder: Path) -> Path:
    for kind in ("img", "label"):
        (folder / kind).mkdir(parents=True)
    for name in AMOUNTS:
        write_scan(folder, name)
    return folder


def _average(values: np.ndarray) -> np.ndarray:
    i, j, k = GRID.shape
    return values.astype(float).reshape(i, 4, j, 4, k, 4).mean((1, 3, 5))


def _undo_swelling(points: np.ndarray, amount: float) -> np.ndarray:
    """Where points of the swollen body come from: the radius about the organ's centre, r (1 + amount g(r)), inverted by
    a table."""
    offset = points - ORGAN
    there = np.linalg.norm(offset, axis=-1)
    radii = np.linspace(0, 400, 4001)
    swollen = radii * (1 + amount * np.exp(-(radii**2) / (2 * SPREAD**2)))
    back = map_coordinates(np.interp(radii, swollen, radii), [there.ravel() * 10], order=1).reshape(there.shape)
    return ORGAN + offset * (back / np.maximum(there, 1e-9))[..., None]
