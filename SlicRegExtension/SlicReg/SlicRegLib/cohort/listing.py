"""The scans of a cohort: those in a folder, or those that a CSV file names."""

from __future__ import annotations

import csv
from pathlib import Path

from ..errors import UserError, show_name
from ..images.dicom_series import choose_each_series
from ..images.files import list_images, split_series, stem
from ..images.inputs import check_file


def list_cohort(images: Path, series: str = "") -> list[Path]:
    """The scans of a folder, sorted by name, or those that a CSV file names, in its order.

    series: number or UID of the DICOM series where folders hold several; they are listed as ``folder#3``.

    The CSV file has one scan per row, in the column headed `path` or `image`; without such a heading, in the first
    column. Paths are relative to its folder. Raises UserError if a scan is missing or two have the same name.
    """
    images = Path(images)
    table = not images.is_dir() and (images.exists() or images.suffix.lower() == ".csv")
    paths = choose_each_series(_read_table(images) if table else list_images(images), series)
    first: dict[str, Path] = {}
    for path in paths:
        name = stem(path)
        if first.setdefault(name, path) is not path:
            raise UserError(f"{images} has two scans called {name}, {first[name]} and {path}; rename or remove one.")
    return paths


def list_cohort_inputs(images: Path, series: str = "") -> list[Path]:
    """All that a cohort is read from, and that must not be overwritten: its scans, and the CSV file if there is one."""
    return [Path(images), *list_cohort(images, series)]


def _read_table(path: Path) -> list[Path]:
    check_file(path, "give a folder of scans or a CSV file with one path per row")
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without the byte order mark of spreadsheets
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not a text file; give a folder of scans or a CSV file with one path per row."
        ) from error
    head = text.partition("\n")[0]
    separator = next((s for s in ",;\t" if s in head), ",")
    reader = csv.reader(text.splitlines(), delimiter=separator)
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    titles = [cell.lower() for cell in rows[0][1]] if rows else []
    column = next((titles.index(title) for title in ("path", "image") if title in titles), None)
    rows, column = (rows, 0) if column is None else (rows[1:], column)
    if not rows:
        raise UserError(f"{path} names no scan; write one path per row, below the heading `path`.")
    paths = []
    for number, row in rows:
        name = row[column] if column < len(row) else ""
        if not name:
            raise UserError(f"Row {number} of {path} names no scan; fill it in or delete the row.")
        if not split_series(path.parent / name)[0].exists():
            raise UserError(
                f"Row {number} of {path} names {show_name(name)}, but {show_name(path.parent / name)} does not exist; "
                "correct the path, or change it to `path` if it is the heading."
            )
        paths.append(path.parent / name)
    return paths
