"""The paper's data set: its layout, its split, the published figures, and what a folder lacks of it.

30 CT scans of the abdomen, resampled to 2 mm and cropped to 192 x 160 x 256 voxels:

    AbdomenIsoCrop/Training/img/img0001.nii.gz      numbers 1 to 10 and 21 to 40
    AbdomenIsoCrop/Training/label/label0001.nii.gz  0 background, 1 to 13 the organs
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cohort.label_files import find_labels_among, list_label_files
from ..errors import UserError
from ..images.reading import open_image
from ..images.volumes import load_labels, load_scan
from ..phantoms.phantom import ORGANS

DATA_SET = "AbdomenIsoCrop"
TRAINING = (2, 3, 5, 6, 8, 9, 21, 22, 24, 25, 27, 28, 30, 31, 33, 34, 36, 37, 39, 40)
TEST = (1, 4, 7, 10, 23, 26, 29, 32, 35)
TEMPLATE = 38
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


def find_abdomen(folder: Path) -> Abdomen:
    """The data set in ``folder``, which holds `DATA_SET` or is it. Raises UserError with one sentence, on a line of its
    own, for each thing that is missing or wrong."""
    training = next((f / "Training" for f in (folder / DATA_SET, folder) if (f / "Training").is_dir()), None)
    if training is None:
        reason = "holds no" if folder.is_dir() else "does not exist; give the folder that holds"
        raise UserError(f"{folder} {reason} {DATA_SET}/Training; {WHERE}.")
    files = {kind: list_label_files(training / kind) for kind in ("img", "label")}
    scans = {n: find_labels_among(files["img"], f"img{n:04d}") for n in (*TRAINING, *TEST, TEMPLATE)}
    labels = {n: find_labels_among(files["label"], f"label{n:04d}") for n in (*TEST, TEMPLATE)}
    problems = [*_find_missing("img", training, scans), *_find_missing("label", training, labels)]
    for number, path in scans.items():
        if path:
            problems += _check_scan(path, labels.get(number), all_organs=number == TEMPLATE)
    if problems:
        raise UserError("\n".join(problems))
    template_label = labels[TEMPLATE]
    found = {number: path for number, path in scans.items() if path}
    assert template_label
    return Abdomen(
        [found[n] for n in TRAINING], [found[n] for n in TEST], found[TEMPLATE], template_label, training / "label"
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


def _check_scan(path: Path, label: Path | None, all_organs: bool) -> list[str]:
    """What is wrong with a scan and its labels, which are needed of tests and template only."""
    try:
        if label is None:
            open_image(path)
            return []
        values = set(np.unique(load_labels(label, load_scan(path)).data).tolist()) - {0}
    except UserError as error:
        return [str(error)]
    if foreign := sorted(values - ORGANS.keys()):
        return [f"{label} holds the value {foreign[0]:g}, but the organs are 1 to {max(ORGANS)}; {WHERE}."]
    lacking = [ORGANS[value] for value in ORGANS if value not in values]
    if not values or (all_organs and lacking):
        return [f"{label} lacks {', '.join(lacking)}, without which nothing can be compared; {WHERE}."]
    return []
