"""Files of points: Slicer's markups (.mrk.json, .fcsv), tables (.csv) and surfaces. All but the positions is kept."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, show_name
from .inputs import check_file
from .itk import flip_vectors
from .json_reading import parse_json
from .surface_files import Map, Surface, parse_surface

SURFACES = (".vtk", ".ply", ".stl")
SUFFIXES = (".mrk.json", ".fcsv", ".csv", *SURFACES)
MAX_BYTES = 1 << 28
KINDS = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")
"""Markups that are points; planes and regions of interest would not keep their shape."""


@dataclass(frozen=True, eq=False)
class PointFile:
    """The points of a file, and how to write it with others in their place."""

    points: np.ndarray
    """(n, 3) float64, RAS mm."""
    replace: Callable[[np.ndarray], bytes]
    """Takes as many points, RAS mm; returns the file's content."""

    def rewrite(self, move: Map) -> bytes:
        """The file's content with ``move`` applied."""
        return self.replace(move(self.points))


def find_point_suffix(path: str | Path) -> str:
    """Of `SUFFIXES`. Raises UserError for any other file."""
    suffix = next((one for one in SUFFIXES if str(path).lower().endswith(one)), "")
    if not suffix:
        raise UserError(f"{show_name(path)} is no file of points; use {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    return suffix


def read_points(path: str | Path) -> PointFile | Surface:
    """Read a file of points. Raises UserError for what is none, or holds no point."""
    path = Path(path)
    suffix = find_point_suffix(path)
    check_file(path, "check the file name")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{show_name(path)} is too large for a file of points; check the file name.")
    try:
        found = _parse(path.read_bytes(), suffix)
    except UnicodeDecodeError as error:
        raise _refusal(path, "it is no text") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, csv.Error) as error:
        raise _refusal(path, str(error) if isinstance(error, ValueError) else "an entry is missing or wrong") from error
    if not len(found.points):
        raise _refusal(path, "it holds no point")
    if not np.isfinite(found.points).all():
        raise _refusal(path, "a coordinate is no number")
    return found


def _parse(content: bytes, suffix: str) -> PointFile | Surface:
    if suffix in SURFACES:
        return parse_surface(content, suffix)
    parse = {".mrk.json": _parse_markups, ".fcsv": _parse_fcsv, ".csv": _parse_table}[suffix]
    return parse(content.decode("utf-8-sig"))


def _refusal(path: Path, problem: str) -> UserError:
    return UserError(
        f"{show_name(path)} cannot be read as points ({' '.join(problem.split())}); correct or export it again."
    )


def _parse_markups(text: str) -> PointFile:
    content = parse_json(text)
    places: list[tuple[dict[str, Any], bool]] = []
    for markup in content["markups"]:
        if markup.get("type", "Fiducial") not in KINDS:
            raise ValueError(f"markups of the type {markup['type']} cannot be carried")
        is_lps, units = _is_lps(markup.get("coordinateSystem", "LPS")), markup.get("coordinateUnits", "mm")
        if any(unit != "mm" for unit in ([units] if isinstance(units, str) else units)):
            raise ValueError("its coordinates are not in mm")
        # points that were not placed yet have no position
        places += [(point, is_lps) for point in markup["controlPoints"] if point.get("position") is not None]
        markup.pop("measurements", None)  # of the old positions; Slicer measures again
    points = _to_array([point["position"] for point, _ in places])
    flips = np.array([is_lps for _, is_lps in places], bool)

    def replace(carried: np.ndarray) -> bytes:
        for (point, _), position in zip(places, _flip_some(carried, flips), strict=True):
            point["position"] = _round(position)
        return json.dumps(content, indent=1, ensure_ascii=False).encode()

    return PointFile(_flip_some(points, flips), replace)


def _parse_fcsv(text: str) -> PointFile:
    lines = text.splitlines()
    is_lps, rows = False, {}  # as Slicer reads files without the line
    for number, line in enumerate(lines):
        if line.startswith("#"):
            name, _, value = line.strip("# ").partition("=")
            is_lps = _is_lps(value.strip()) if name.strip() == "CoordinateSystem" else is_lps
        elif line.strip():
            rows[number] = next(csv.reader([line]))
    points = _to_array([row[1:4] for row in rows.values()])
    flips = np.full(len(points), is_lps)

    def replace(carried: np.ndarray) -> bytes:
        for (number, row), position in zip(rows.items(), _flip_some(carried, flips), strict=True):
            row[1:4] = map(str, _round(position))
            lines[number] = _write_rows([row], ",").rstrip("\n")
        return ("\n".join(lines) + "\n").encode()

    return PointFile(_flip_some(points, flips), replace)


def _parse_table(text: str) -> PointFile:
    separator = next((s for s in ",;\t" if s in text.partition("\n")[0]), ",")
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    titles = [title.strip().lower() for title in rows[0]] if rows else []
    axes = next((axes for axes in ("ras", "lps") if set(axes) <= set(titles)), "")
    if not axes:
        raise ValueError("its first row must name the columns r, a, s, or l, p, s, in mm")
    columns = [titles.index(axis) for axis in axes]
    cells = [[row[column] for column in columns] for row in rows[1:]]
    has_commas = separator != "," and any("," in cell for row in cells for cell in row)  # of a program in German
    points = _to_array([[cell.replace(",", ".") for cell in row] for row in cells])
    flips = np.full(len(points), axes == "lps")

    def replace(carried: np.ndarray) -> bytes:
        for row, position in zip(rows[1:], _flip_some(carried, flips), strict=True):
            for column, value in zip(columns, _round(position), strict=True):
                row[column] = str(value).replace(".", ",") if has_commas else str(value)
        return _write_rows(rows, separator).encode()

    return PointFile(_flip_some(points, flips), replace)


def _is_lps(name: Any) -> bool:
    """Slicer's names of coordinate systems, and the numbers of older versions."""
    if str(name) not in ("LPS", "1", "RAS", "0"):
        raise ValueError(f"the coordinate system {name} is unknown")
    return str(name) in ("LPS", "1")


def _to_array(positions: list[Any]) -> np.ndarray:
    """(n, 3) float64. Raises ValueError where a position has not three numbers."""
    try:
        return np.array([[float(value) for value in position] for position in positions], float).reshape(-1, 3)
    except ValueError as error:
        raise ValueError("a point has no three coordinates") from error


def _flip_some(points: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """LPS to RAS or back where ``flips``."""
    return np.where(flips[:, None], flip_vectors(points), points)


def _round(position: np.ndarray) -> list[float]:
    return [round(float(value), 6) + 0.0 for value in position]  # no negative zeros


def _write_rows(rows: list[list[str]], separator: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue()
