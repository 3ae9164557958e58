"""The template that a model holds, as plain arrays, with its labels, their names and colours. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cohort.names import MAX_NAME, tidy_name
from ..errors import UserError
from ..images.archive import ArchiveError
from ..images.arrays import read_arrays, take, take_affine
from ..images.differences import take_differences
from ..images.segment_defaults import Colour, invent_colour
from .model_parts import read_parts
from .organs import count_votes, unpack_organs


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


def read_own_template(path: str | Path) -> OwnTemplate:
    """Raises UserError where the model holds no template or is damaged."""
    try:
        about, parts = read_parts(Path(path))
        return _read(about, parts, str(path))
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"The model {path} cannot be read ({error.strerror or error}).") from error
    except (ArchiveError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise UserError(f"The template in the model {path} is damaged; copy or download the model again.") from error


def _read(about: dict[str, Any], parts: dict[str, bytes], path: str) -> OwnTemplate:
    if "atlas.npz" in parts:
        arrays = read_arrays(parts["atlas.npz"], "hu", "hu_differences", "hu_affine")
        affine = take_affine(arrays, "hu_affine")
    elif "template.npz" in parts:
        arrays = read_arrays(parts["template.npz"], "hu", "affine", "labels")
        affine = take_affine(arrays)
    else:
        raise UserError(f"The model {path} holds no template of its own; choose a template scan or another model.")
    hu = take_differences(arrays, "hu", "i2", (None, None, None))
    if "consensus.npz" in parts:
        organs = _read_organs(about.get("organs"))
        votes = read_arrays(parts["consensus.npz"])
        labels, labels_affine = count_votes(*unpack_organs(votes, about.get("organs"))), take_affine(votes)
    elif "labels" in arrays:
        labels, labels_affine = take(arrays, "labels", "u1 u2", hu.shape), affine
        organs = tuple(_name(value) for value in np.unique(labels).tolist() if value)
    else:
        return OwnTemplate(hu, affine, None, affine, ())
    return OwnTemplate(hu, affine, labels, labels_affine, organs)


def list_organs(about: dict[str, Any]) -> tuple[OwnOrgan, ...]:
    """The organs of the consensus that bundle.json describes; none where there is none, or the file is damaged."""
    try:
        return _read_organs(about.get("organs"))
    except (ArchiveError, TypeError, KeyError, ValueError, OverflowError):
        return ()


def _read_organs(organs: Any) -> tuple[OwnOrgan, ...]:
    """Raises ArchiveError, TypeError, KeyError, ValueError or OverflowError for anything else."""
    if not isinstance(organs, list):
        return ()
    found = tuple(
        OwnOrgan(int(o["value"]), tidy_name(str(o["name"]))[:MAX_NAME], _read_colour(o["colour"], int(o["value"])))
        for o in organs
    )
    values = {organ.value for organ in found}
    if len(values) < len(found) or not all(0 < value < 65536 for value in values):
        raise ArchiveError("the description of its organs is damaged")
    return found


def _read_colour(colour: Any, value: int) -> Colour:
    if not colour:
        return invent_colour(value)
    red, green, blue = (min(255, max(0, int(channel))) for channel in colour)
    return red, green, blue


def _name(value: int) -> OwnOrgan:
    return OwnOrgan(value, f"Label {value}", invent_colour(value))
