"""The labels of one scan, carried to the template: its votes, in a file until those of all scans are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..geometry.grid import Grid
from ..geometry.inverse import invert
from ..geometry.label_maps import Box, cut_labels, find_boxes, measure_volumes
from ..images.volumes import Volume, load_labels
from ..registration.image_features import CELL
from .packing import load_arrays, save_arrays
from .study import Study


class LabelledScan(NamedTuple):
    """A scan of the study by name, the file of its labels, and of which organs it is a rater."""

    name: str
    path: Path
    organs: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Vote:
    """What a scan says of one organ.

    volume_ml: in the scan. complete: whether the scan shows all of it, which it may not where the organ reaches the
    scan's border. box: part of the consensus' grid that holds it there; None where it lies outside. packed: uint8, the
    bits of its mask in the box.
    """

    volume_ml: float
    complete: bool
    box: Box | None
    packed: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Bool (i, j, k), of the box."""
        assert self.box is not None
        shape = [side.stop - side.start for side in self.box]
        return np.unpackbits(self.packed, count=int(np.prod(shape))).astype(bool).reshape(shape)


def carry_votes(study: Study, grid: Grid, folder: Path, labelled: LabelledScan) -> None:
    """Write the votes of a scan on the consensus' ``grid`` to its file in ``folder``, unless they are there.

    Raises UserError for labels that cannot be counted.
    """
    stamp = _stamp(study, labelled)
    if np.array_equal(load_arrays(votes_path(folder, labelled.name), "stamp").get("stamp", ()), stamp):
        return
    scan, to_template = study.scan(labelled.name)
    own = load_whole(labelled.path, scan.original)
    carried = cut_labels(own.data, own.grid).on(grid, invert(to_template, study.template().grid.pooled(CELL)))
    reached, measured = find_boxes(carried), measure_volumes(own.data, own.grid)
    bits = [np.packbits(carried[reached[value]] == value) if value in reached else EMPTY for value in measured]
    content = {
        "stamp": stamp,
        "values": np.array(list(measured), np.int32),
        "volumes_ml": np.array([volume for volume, _ in measured.values()]),
        "complete": np.array([complete for _, complete in measured.values()], np.uint8),
        "boxes": np.array([_list_ends(reached.get(value)) for value in measured], np.int32).reshape(-1, 6),
        "sizes": np.array([len(each) for each in bits], np.int32),
        "bits": np.concatenate([EMPTY, *bits]),
    }
    save_arrays(votes_path(folder, labelled.name), content)


def read_votes(folder: Path, name: str) -> dict[int, Vote]:
    """Those that `carry_votes` wrote, by organ."""
    content = load_arrays(votes_path(folder, name))
    if not content:
        raise UserError(f"{votes_path(folder, name)} was changed while it was in use; run the same command again.")
    bits = np.split(content["bits"], content["sizes"].cumsum()[:-1]) if len(content["sizes"]) else []
    rows = zip(
        *(content[key].tolist() for key in ("values", "volumes_ml", "complete", "boxes")),
        bits,
        strict=True,
    )
    return {value: Vote(volume, bool(complete), _as_box(ends), part) for value, volume, complete, ends, part in rows}


def votes_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.npz"


def load_whole(path: Path, scan: Grid | None) -> Volume:
    """The label map in a file, with background where it shows less than its scan, as Slicer crops it. A label that
    reaches the border is then cut by the scan, not by its file.

    scan: grid of the scan; None where it is not known. Raises UserError where labels reach beyond their scan: they
    would be counted in a wrong place.
    """
    labels = load_labels(path)
    if scan is None:
        return labels
    corners, most = scan.to_voxel(labels.grid.corners()), np.array(scan.shape)
    if (corners < -1.5).any() or (corners > most + 0.5).any():
        raise UserError(
            f"{path} (shape {labels.grid.shape}) reaches beyond its scan (shape {scan.shape}); resample the labels to "
            "the scan's grid."
        )
    ends = labels.grid.to_voxel(scan.corners())  # the voxels whose middles lie in the scan are shown
    before = np.floor(-ends.min(0)).astype(int)
    after = np.floor(ends.max(0)).astype(int) + 1 - np.array(labels.grid.shape)
    if not before.any() and not after.any():
        return labels
    shape = np.array(labels.grid.shape)
    whole = np.zeros(shape + before + after, labels.data.dtype)
    inside = labels.data[tuple(slice(max(0, -b), n + min(0, a)) for b, a, n in zip(before, after, shape, strict=True))]
    place = tuple(slice(max(0, b), max(0, b) + n) for b, n in zip(before, inside.shape, strict=True))
    whole[place] = inside
    return Volume(whole, labels.grid.cropped((-before).tolist(), whole.shape), labels.notes)


EMPTY = np.zeros(0, np.uint8)


def _stamp(study: Study, labelled: LabelledScan) -> np.ndarray:
    """Changes with what the votes are made from."""
    stats = [path.stat() for path in (labelled.path, study.scan_path(labelled.name), study.folder / "template.npz")]
    return np.array([number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)], np.int64)


def _list_ends(box: Box | None) -> list[int]:
    return [end for side in box for end in (side.start, side.stop)] if box else [0] * 6


def _as_box(ends: list[int]) -> Box | None:
    i, j, k = (slice(*ends[n : n + 2]) for n in (0, 2, 4))
    return (i, j, k) if ends[1] else None


def join_boxes(boxes: Mapping[str, Box]) -> Box:
    """The box around all of them."""
    low = np.min([[side.start for side in box] for box in boxes.values()], 0).tolist()
    high = np.max([[side.stop for side in box] for box in boxes.values()], 0).tolist()
    i, j, k = (slice(*ends) for ends in zip(low, high, strict=True))
    return i, j, k
