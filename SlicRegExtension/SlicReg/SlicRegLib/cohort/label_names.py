"""Names and colours of labels, from a table beside the label files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, explain_os_error, show_name
from ..images.inputs import check_file
from ..images.json_reading import parse_json
from .names import MAX_NAME, tidy_name

HELP = 'a CSV file with the columns value, name and, if you like, r, g, b, or a JSON file such as {"1": "Liver"}'
MAX_BYTES = 1 << 23
MAX_VALUE = 65535
_WHOLE = re.compile(r"([0-9]{1,12})(\.0*)?", re.ASCII)

Row = tuple[Any, Any, tuple[int, int, int] | None]


@dataclass(frozen=True)
class LabelName:
    """name: of one label. colour: RGB, 0 to 255; None if it is not given."""

    name: str
    colour: tuple[int, int, int] | None = None


def read_label_names(path: Path) -> dict[int, LabelName]:
    """Value -> name, of a CSV file with commas, semicolons or tabs, or of a JSON file, in UTF-8. The value 0, which is
    background, is passed over. Raises UserError for what is no such table.
    """
    check_file(path, f"give {HELP}", "The table of label names")
    names: dict[int, LabelName] = {}
    try:
        text = _read_text(path)
        for value, name, colour in _read_json(text) if path.suffix.lower() == ".json" else _read_csv(text):
            number = _read_whole(value, MAX_VALUE, "value")
            if number in names:
                raise ValueError(f"it names the value {number} twice")
            if number:
                names[number] = LabelName(_read_name(name), colour)
        if not names:
            raise ValueError("it names no label")
    except OSError as error:
        raise UserError(f"{show_name(path)} cannot be read: {explain_os_error(error)}.") from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{show_name(path)} is no table of label names ({error}); give {HELP}.") from error
    return names


def check_label_names(path: str, labels: str) -> dict[int, LabelName]:
    """`read_label_names`; no names where no path is given. labels: the folder of what is named; raises UserError where
    none is given."""
    if path and not labels:
        raise UserError("Names of labels need the labels; give their folder with --labels, too.")
    return read_label_names(Path(path)) if path else {}


def _read_text(path: Path) -> str:
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not saved as UTF-8") from None


def _read_json(text: str) -> Iterator[Row]:
    parse_json(text)  # refuses what is no object of harmless size
    pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)  # with keys that occur twice
    return ((value, name, None) for value, name in pairs)


def _read_csv(text: str) -> Iterator[Row]:
    head = text.lstrip().partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    filled = ([cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row))
    columns = [cell.lower() for cell in next(filled, [])]
    if absent := [column for column in ("value", "name") if column not in columns]:
        raise ValueError(f"its first row has no column {' and no column '.join(absent)}")
    for cells in filled:
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise ValueError(f"the row of {_quote(cells[0])} has more cells than there are columns")
        row = dict(zip(columns, [*cells, *[""] * len(columns)], strict=False))
        yield row["value"], row["name"], _read_colour(row)


def _read_colour(row: dict[str, str]) -> tuple[int, int, int] | None:
    if not any(row.get(channel) for channel in "rgb"):
        return None
    red, green, blue = (_read_whole(row.get(channel, ""), 255, channel) for channel in "rgb")
    return red, green, blue


def _read_whole(text: Any, most: int, what: str) -> int:
    found = _WHOLE.fullmatch(text)
    if not found or int(found[1]) > most:
        raise ValueError(f"{_quote(text)} as {what} is no whole number from 0 to {most}")
    return int(found[1])


def _read_name(text: Any) -> str:
    name = tidy_name(text) if isinstance(text, str) else ""
    if not name or len(name) > MAX_NAME:
        raise ValueError(f"{_quote(text)} is no name of at most {MAX_NAME} characters")
    return name


def _quote(value: Any) -> str:
    """Its first characters, on one line."""
    text = tidy_name(str(value))
    return f'"{text[:20]}{"..." if len(text) > 20 else ""}"'
