"""The template that a model holds, as plain arrays, with its labels, their names and colours. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..images.archive import ArchiveError
from ..images.arrays import Arrays, read_arrays, take, take_affine
from ..images.segment_colours import Colour, invent_colour
from .model_header import AUTO, list_installed_models, read_model
from .model_parts import read_parts


@dataclass(frozen=True)
class OwnOrgan:
    """A label of a model's template. colour: RGB, 0 to 255."""

    value: int
    name: str
    colour: Colour


@dataclass(frozen=True, eq=False)
class OwnTemplate:
    """hu: int16 (I, J, K). affine: (4, 4) from its voxels to RAS mm. labels: whole numbers (I, J, K); None where the
    model holds none. labels_affine: of their own grid, not always that of the image. organs: one for each label."""

    hu: np.ndarray
    affine: np.ndarray
    labels: np.ndarray | None
    labels_affine: np.ndarray
    organs: tuple[OwnOrgan, ...]


def check_own_template(model: Path, models: str | Path | None = None, labelled: bool = False) -> None:
    """Raise UserError unless scans can be registered without a template: the model holds one; if it is `AUTO`, one of
    the installed ones and of the folder ``models``. labelled: whether it must hold labels, too."""
    headers = list_installed_models(models) if model == AUTO else [read_model(model)]
    if model != AUTO and headers[0].problem:
        raise UserError(f"The model {model} cannot be used: {headers[0].problem}")
    start = "No installed model holds a" if model == AUTO else f"The model {headers[0].name} holds no"
    able = [header for header in headers if header.holds_template]
    if not able:
        raise UserError(f"{start} template of its own; choose a template scan.")
    if labelled and not any(h.about.get("organs") or h.about.get("template_labels_included") for h in able):
        raise UserError(f"{start} label of its template, with which those of the scans could be compared.")


def read_own_template(path: str | Path) -> OwnTemplate:
    """Raises UserError where the model holds no template or is damaged."""
    try:
        about, parts = read_parts(Path(path))
        return _read(about, parts, str(path))
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"The model {path} cannot be read ({error.strerror or error}).") from error
    except (ArchiveError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"The template in the model {path} is damaged; copy or download the model again.") from error


def _read(about: dict[str, Any], parts: dict[str, bytes], path: str) -> OwnTemplate:
    if "atlas.npz" in parts:
        arrays = read_arrays(parts["atlas.npz"], "hu", "hu_affine")
        affine = take_affine(arrays, "hu_affine")
    elif "template.npz" in parts:
        arrays = read_arrays(parts["template.npz"], "hu", "affine", "labels")
        affine = take_affine(arrays)
    else:
        raise UserError(f"The model {path} holds no template of its own; choose a template scan or another model.")
    hu = take(arrays, "hu", "i2", (None, None, None))
    if "consensus.npz" in parts:
        organs = list_organs(about)
        labels, labels_affine = _count_votes(read_arrays(parts["consensus.npz"]), about["organs"])
    elif "labels" in arrays:
        labels, labels_affine = take(arrays, "labels", "u1 u2", hu.shape), affine
        organs = tuple(_name(value) for value in np.unique(labels).tolist() if value)
    else:
        return OwnTemplate(hu, affine, None, affine, ())
    return OwnTemplate(hu, affine, labels, labels_affine, organs)


def list_organs(about: dict[str, Any]) -> tuple[OwnOrgan, ...]:
    """The organs of the consensus that bundle.json describes; none where there is none, or the file is damaged."""
    organs = about.get("organs")
    try:
        return tuple(
            OwnOrgan(int(o["value"]), str(o["name"]), _read_colour(o["colour"]) or invent_colour(int(o["value"])))
            for o in (organs if isinstance(organs, list) else ())
        )
    except (TypeError, KeyError, ValueError):
        return ()


def _read_colour(colour: Any) -> Colour | None:
    if not colour:
        return None
    red, green, blue = (min(255, max(0, int(channel))) for channel in colour)
    return red, green, blue


def _name(value: int) -> OwnOrgan:
    return OwnOrgan(value, f"Label {value}", invent_colour(value))


def _count_votes(arrays: Arrays, organs: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The labels of a consensus on its own grid, as `Consensus.labels` has them, and the grid's matrix."""
    shape = [int(n) for n in take(arrays, "shape", "i4", (3,))]
    boxes = take(arrays, "boxes", "i4", (len(organs), 6)).astype(int)
    shares, start = take(arrays, "shares", "u1", (None,)), 0
    if min(shape) < 1 or int(np.prod(shape, dtype=object)) > 1 << 28:
        raise ArchiveError("its organs have a wrong size")
    best = np.ones(shape, np.float32)
    labels = np.zeros(shape, np.uint8 if max((int(o["value"]) for o in organs), default=0) < 256 else np.uint16)
    for organ, (*first, i, j, k) in zip(organs, boxes.tolist(), strict=True):
        low, size = np.array(first), np.array([i, j, k])
        if (low < 0).any() or (size < 1).any() or (low + size > shape).any() or start + size.prod() > len(shares):
            raise ArchiveError("its organs lie outside its grid")
        box = tuple(slice(a, a + n) for a, n in zip(low.tolist(), size.tolist(), strict=True))
        share = shares[start : start + size.prod()].reshape(size).astype(np.float32) / 255
        start += size.prod()
        share /= np.float32(organ["threshold"])
        wins = (share > best[box]) & (share > 1 + 1e-6)
        labels[box][wins], best[box][wins] = int(organ["value"]), share[wins]
    return labels, take_affine(arrays)
