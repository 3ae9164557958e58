"""Names and colours of labels, from a table beside the label files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, explain_os_error
from ..images.json_reading import read_json

HELP = 'a CSV file with the columns value, name and, if you like, r, g, b, or a JSON file such as {"1": "Liver"}'


@dataclass(frozen=True)
class LabelName:
    """name: of one label. colour: RGB, 0 to 255; None if it is not given."""

    name: str
    colour: tuple[int, int, int] | None = None


def read_label_names(path: Path) -> dict[int, LabelName]:
    """Value -> name. Raises UserError for what is no such table."""
    try:
        rows = _read_rows(path)
        names = {int(value): LabelName(name.strip(), colour) for value, name, colour in rows}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {explain_os_error(error)}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(f"{path} is no table of label names; give {HELP}.") from error
    if not names or not all(0 < value < 65536 and name.name for value, name in names.items()):
        raise UserError(f"{path} is no table of label names; give {HELP}.")
    return names


def _read_rows(path: Path) -> list[tuple[Any, str, tuple[int, int, int] | None]]:
    if path.suffix.lower() == ".json":
        return [(value, name, None) for value, name in read_json(path).items()]
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [{key.strip().lower(): text for key, text in row.items()} for row in csv.DictReader(file)]
    return [(row["value"], row["name"], _read_colour(row)) for row in rows]


def _read_colour(row: dict[str, str]) -> tuple[int, int, int] | None:
    if not all(row.get(channel) for channel in "rgb"):
        return None
    red, green, blue = (min(255, max(0, int(row[channel]))) for channel in "rgb")
    return red, green, blue
