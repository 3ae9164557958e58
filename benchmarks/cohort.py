"""What the benchmarks share: labelled scans, measures, and what their figures depend on."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from SlicRegLib import __version__
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.label_maps import resample_labels
from SlicRegLib.images.files import list_images, stem
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.registration.options import MODES
from SlicRegLib.results.metrics import dice

AFFINE_START = replace(MODES["published"], alignment=replace(MODES["published"].alignment, affine_start=True))
"""The paper's way, but from the supervoxels' affine map."""


def load_labelled(images: Path, labels: Path) -> Iterator[tuple[str, Volume, Volume]]:
    """(name, scan, labels) of every scan in ``images`` that has labels of its name in ``labels``, read one by one."""
    files = {stem(path): path for path in list_images(labels)}
    paths = [path for path in list_images(images) if stem(path) in files]
    if not paths:
        raise UserError(f"No file of {labels} has the name of a scan in {images}; labels are matched to scans by name.")
    if left := sorted({stem(path) for path in list_images(images)} - set(files)):
        print(f"without labels, left out: {', '.join(left)}")
    for path in paths:
        scan = load_scan(path)
        yield stem(path), scan, load_labels(files[stem(path)], scan)


def mean_dice(fixed: Volume, moving: Volume, field: DisplacementField | None = None) -> float:
    """Mean Dice of the labels that both have, on the fixed grid; the moving labels are carried through ``field``."""
    values = sorted(set(np.unique(fixed.data)) & set(np.unique(moving.data)) - {0})
    carried = resample_labels(moving.data, moving.grid, fixed.grid, field)
    return float(np.mean([dice(fixed.data == value, carried == value) for value in values]))


def is_inside(grid: Grid, points: torch.Tensor) -> torch.Tensor:
    """Whether world points (..., 3) lie between the grid's first and last voxel centres, (...) bool."""
    voxel = grid.to_voxel(points)
    return ((voxel >= 0) & (voxel <= torch.tensor(grid.shape) - 1)).all(-1)


def find_commit() -> str:
    """The checkout's commit, with "-dirty" where files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe_circumstances(device: torch.device = torch.device("cpu")) -> dict:
    """Commit, device, threads and versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "commit": find_commit(),
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "versions": {"SlicReg": __version__, "python": platform.python_version(), "torch": torch.__version__},
    }
