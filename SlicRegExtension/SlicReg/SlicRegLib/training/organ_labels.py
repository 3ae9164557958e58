"""Labels that teach: the organs that scans of a cohort have, as the network's organ head learns them.

Labels may be partial: a scan teaches only the organs that its label map has.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

from ..cohort.label_files import find_labels_among, list_label_files
from ..errors import UserError
from ..geometry.grid import Grid
from ..geometry.label_maps import cut_labels
from ..images.volumes import load_labels


class OrganLabels:
    """The label maps of a cohort on the canonical grids of its scans, read when they are needed and kept compressed."""

    def __init__(self, folder: Path, values: tuple[int, ...]):
        """folder: of label maps with the names of the scans. values: the label of each organ, in the order of the
        network's output."""
        self.values, self._files = values, list_label_files(folder)
        self._folder, self._kept = folder, dict[str, bytes]()

    def check(self, names: list[str]) -> None:
        """Raise UserError where no scan of ``names`` has labels."""
        if not any(find_labels_among(self._files, name) for name in names):
            raise UserError(
                f"No file in {self._folder} has the name of a scan of the cohort; labels are matched by name."
            )

    def on(self, name: str, grid: Grid) -> torch.Tensor:
        """Of the scan ``name`` on its canonical ``grid``: uint8 (I, J, K), 0 or the number of an organ, from 1."""
        if name not in self._kept:
            labels = np.zeros(grid.shape, np.uint8)
            if path := find_labels_among(self._files, name):
                own = load_labels(path)
                found = cut_labels(own.data, own.grid).on(grid)
                for number, value in enumerate(self.values, 1):
                    labels[found == value] = number
            self._kept[name] = zlib.compress(labels.tobytes(), 1)
        labels = np.frombuffer(zlib.decompress(self._kept[name]), np.uint8)
        return torch.from_numpy(labels.reshape(grid.shape).copy())
