"""The paper's data set: its layout, its split, the published figures, and what a folder lacks of it.

30 CT scans of the abdomen, resampled to 2 mm and cropped to 192 x 160 x 256 voxels:

    AbdomenIsoCrop/Training/img/img0001.nii.gz      numbers 1 to 10 and 21 to 40
    AbdomenIsoCrop/Training/label/label0001.nii.gz  0 background, 1 to 13 the organs
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cohort.label_files import find_labels_among, list_label_files
from ..errors import UserError
from ..geometry.grid import Grid
from ..images.volumes import load_labels, load_scan
from ..phantoms.phantom import ORGANS
from ..progress import Progress, silent
from ..stages import CHECK

DATA_SET = "AbdomenIsoCrop"
TRAINING = (2, 3, 5, 6, 8, 9, 21, 22, 24, 25, 27, 28, 30, 31, 33, 34, 36, 37, 39, 40)
TEST = (1, 4, 7, 10, 23, 26, 29, 32, 35)
TEMPLATE = 38
SHAPE, SPACING_MM = (192, 160, 256), 2.0
LARGE = (1, 2, 3, 6)
"""The organs of the published mean of four: spleen, kidneys, liver."""
WHERE = (
    "the data set is offered at https://cloud.imi.uni-luebeck.de/s/c9GapHY3cx9x82p, after registration at "
    "https://www.synapse.org/#!Synapse:syn3193805/wiki/89480"
)
PUBLISHED = {
    "initial": {1: 18.0, 2: 12.5, 3: 9.0, 6: 26.2, "avg 4": 16.4, "avg 13": 8.8},
    "PDD-Net": {1: 48.8, 2: 49.0, 3: 42.3, 6: 71.1, "avg 4": 50.1, "avg 13": 29.1},
    "regression": {1: 31.1, 2: 45.6, 3: 43.2, 6: 57.7, "avg 4": 44.4, "avg 13": 25.1},
    "Slic-UNet": {1: 57.1, 2: 38.4, 3: 41.8, 6: 71.8, "avg 4": 52.3, "avg 13": 30.0},
    "Slic-Reg": {1: 62.4, 2: 50.8, 3: 49.1, 6: 74.1, "avg 4": 59.1, "avg 13": 31.8},
}
"""Dice in percent: method -> organ or mean (Heinrich, MIDL 2021)."""


@dataclass(frozen=True)
class Abdomen:
    """The files of the data set that the experiment needs."""

    training: list[Path]
    test: list[Path]
    template: Path
    template_label: Path
    labels: Path
    """Folder; those of a scan are found by its name."""
    sha256: str
    """Of the content of all scans and labels that are used."""
    note: str
    """What keeps figures from being compared with the published ones; "" for the data set itself."""


def find_abdomen(folder: Path, progress: Progress = silent) -> Abdomen:
    """The data set in ``folder``, which holds `DATA_SET` or is it; all that is used of it is read.

    Raises UserError with one sentence, on a line of its own, for each thing that is missing or wrong.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file; give the folder that holds {DATA_SET}.")
    training = next((f / "Training" for f in (folder / DATA_SET, folder) if (f / "Training").is_dir()), None)
    if training is None:
        reason = "holds no" if folder.is_dir() else "does not exist; give the folder that holds"
        raise UserError(f"{folder} {reason} {DATA_SET}/Training; {WHERE}.")
    files = {kind: list_label_files(training / kind) for kind in ("img", "label")}
    scans = {n: find_labels_among(files["img"], f"img{n:04d}") for n in (*TRAINING, *TEST, TEMPLATE)}
    labels = {n: find_labels_among(files["label"], f"label{n:04d}") for n in (*TEST, TEMPLATE)}
    problems = [*_find_missing("img", training, scans), *_find_missing("label", training, labels)]
    digest, note, found = hashlib.sha256(), "", {number: path for number, path in scans.items() if path}
    for done, (number, path) in enumerate(found.items(), start=1):
        try:
            grid = _check_scan(path, labels.get(number), all_organs=number == TEMPLATE)
        except UserError as error:
            problems.append(str(error))
            continue
        note = note or _describe_difference(path, grid)
        for file in filter(None, (path, labels.get(number))):
            digest.update(file.read_bytes())
        progress(CHECK, done / len(found), path.name)
    if problems:
        raise UserError("\n".join(problems))
    template_label = labels[TEMPLATE]
    assert template_label
    return Abdomen(
        training=[found[n] for n in TRAINING],
        test=[found[n] for n in TEST],
        template=found[TEMPLATE],
        template_label=template_label,
        labels=training / "label",
        sha256=digest.hexdigest(),
        note=note,
    )


def _find_missing(kind: str, training: Path, found: dict[int, Path | None]) -> Iterator[str]:
    """A sentence if files are missing in ``training``/``kind``, with those of the template and of the tests apart."""
    missing = [number for number, path in found.items() if path is None]
    if len(missing) == len(found):
        reason = "holds none of" if (training / kind).is_dir() else "does not exist; it should hold"
        yield f"{training / kind} {reason} {kind}{missing[0]:04d}.nii.gz and the others; {WHERE}."
    elif missing:
        names = ", ".join(f"{kind}{number:04d}.nii.gz" for number in missing)
        yield f"{training / kind} lacks {len(missing)} of {len(found)} files ({names}); {WHERE}."


def _check_scan(path: Path, label: Path | None, all_organs: bool) -> Grid:
    """The grid of a scan. Raises UserError for what is wrong with it or its labels, which tests and template have."""
    scan = load_scan(path)
    if label is None:
        return scan.grid
    values = set(np.unique(load_labels(label, scan).data).tolist()) - {0}
    if foreign := sorted(values - ORGANS.keys()):
        raise UserError(f"{label} holds the value {foreign[0]:g}, but the organs are 1 to {max(ORGANS)}; {WHERE}.")
    lacking = [ORGANS[value] for value in ORGANS if value not in values]
    if not values or (all_organs and lacking):
        raise UserError(f"{label} lacks {', '.join(lacking)}, without which nothing can be compared; {WHERE}.")
    return scan.grid


def _describe_difference(path: Path, grid: Grid) -> str:
    """A sentence if a scan has not the data set's size."""
    if grid.shape == SHAPE and np.allclose(grid.spacing, SPACING_MM, atol=0.01):
        return ""
    size = f"{' x '.join(map(str, grid.shape))} voxels of {' x '.join(f'{mm:g}' for mm in grid.spacing)} mm"
    return (
        f"{path.name} has {size} and not {' x '.join(map(str, SHAPE))} of {SPACING_MM:g} mm: these are not the paper's "
        "files, and figures cannot be compared with the published ones."
    )
