"""Names and colours of segments, from the headers of Slicer's segmentations (.seg.nrrd). Reads no voxels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError, show_name
from .label_names import MAX_VALUE, LabelName
from .names import MAX_NAME, tidy_name

MAX_HEADER = 1 << 20
_ENTRY = re.compile(r"^Segment(\d{1,6})_(Name|LabelValue|Color):=(.*)$", re.MULTILINE)


def agree_on_names(files: Iterable[Path]) -> dict[int, LabelName]:
    """Value -> name in all segmentations among the ``files``.

    Slicer numbers the segments of each file anew. Raises UserError where one number has different names in two files.
    """
    names: dict[int, LabelName] = {}
    named_in: dict[int, Path] = {}
    for path in files:
        for value, name in read_segment_names(path).items():
            known = names.setdefault(value, name)
            other = named_in.setdefault(value, path)
            if known.name.casefold() != name.name.casefold():
                raise UserError(
                    f'Label {value} is "{known.name}" in {show_name(other)}, but "{name.name}" in {show_name(path)}; '
                    "give each organ the same number in all files, or a table of names with --label-names."
                )
    return names


def read_segment_names(path: Path) -> dict[int, LabelName]:
    """Value -> name of a segmentation's segments; none for other files and for names that nobody could read."""
    if not path.name.lower().endswith(".nrrd"):
        return {}
    try:
        with open(path, "rb") as file:
            header = file.read(MAX_HEADER)
    except OSError:
        return {}  # whoever reads its voxels says why
    text = header.replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("utf-8", "replace")
    segments: dict[str, dict[str, str]] = {}
    for number, key, value in _ENTRY.findall(text):
        segments.setdefault(number, {})[key] = value
    names = {}
    for segment in segments.values():
        number, name = segment.get("LabelValue", ""), tidy_name(segment.get("Name", "").replace("\\n", " "))
        if re.fullmatch("[0-9]{1,5}", number) and 0 < int(number) <= MAX_VALUE and 0 < len(name) <= MAX_NAME:
            names[int(number)] = LabelName(name, _read_colour(segment.get("Color", "")))
    return names


def _read_colour(text: str) -> tuple[int, int, int] | None:
    """Of three numbers from 0 to 1; None for other texts."""
    try:
        red, green, blue = (float(part) for part in text.split())
    except ValueError:
        return None
    if not all(math.isfinite(channel) and 0 <= channel <= 1 for channel in (red, green, blue)):
        return None
    return round(255 * red), round(255 * green), round(255 * blue)
