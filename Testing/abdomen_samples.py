"""Phantoms laid out as the paper's data set: names, numbers and label values; each trunk serves for several numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.volumes import Volume, save_volume
from SlicRegLib.phantoms.phantom import PhantomOptions, make_phantom

NUMBERS = (*range(1, 11), *range(21, 41))
TRAINING = (2, 3, 5, 6, 8, 9, 21, 22, 24, 25, 27, 28, 30, 31, 33, 34, 36, 37, 39, 40)
COARSE = PhantomOptions(shape=(40, 34, 44), spacing_mm=10.0)
FINE = PhantomOptions(shape=(80, 68, 86), spacing_mm=5.0)


def write_abdomen(folder: Path, trunks: int = 3, options: PhantomOptions = COARSE) -> Path:
    """Write AbdomenIsoCrop/Training/img and label with 30 scans of ``trunks`` phantoms, and another one as #38."""
    training = folder / "AbdomenIsoCrop" / "Training"
    for kind in ("img", "label"):
        (training / kind).mkdir(parents=True)
    first: dict[int, int] = {}
    for index, number in enumerate(NUMBERS):
        seed = 0 if number == 38 else 1 + index % trunks
        paths = [training / kind / f"{kind}{number:04d}.nii.gz" for kind in ("img", "label")]
        if seed in first:
            for path in paths:
                shutil.copy(path.parent / path.name.replace(f"{number:04d}", f"{first[seed]:04d}"), path)
            continue
        first[seed] = number
        phantom = make_phantom(seed, options)
        grid = Grid(phantom.image.shape, phantom.affine)
        for path, data in zip(paths, (np.round(phantom.image).astype(np.int16), phantom.labels), strict=True):
            save_volume(path, Volume(data, grid))
    return folder
