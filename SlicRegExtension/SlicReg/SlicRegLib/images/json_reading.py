"""Reading of JSON that anybody may have written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 26


def parse_json(content: str | bytes) -> dict[str, Any]:
    """A JSON object without NaN, infinities and numbers of hundreds of digits. Raises ValueError for anything else."""
    try:
        parsed = json.loads(content, parse_float=_parse_number, parse_int=_parse_int, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None
    if not isinstance(parsed, dict):
        raise ValueError("it is no JSON object")
    return parsed


def read_json(path: str | Path) -> dict[str, Any]:
    """`parse_json` of a UTF-8 file of at most 64 MiB. Raises ValueError for its content, OSError from the system."""
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError("it is too large")
    return parse_json(content.decode("utf-8"))  # UnicodeDecodeError is a ValueError


def make_finite(value: Any) -> Any:
    """The same content with None in place of numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: make_finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [make_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parse_number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _parse_int(text: str) -> int:
    return int(text) if len(text) <= 40 else _refuse(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"it holds the number {text[:20]}")
