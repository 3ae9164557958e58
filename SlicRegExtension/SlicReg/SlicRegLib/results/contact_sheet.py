"""A page that shows the results of many registrations below each other, for a quick look at all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..images.files import atomic
from ..registration.verdict_text import GOOD, WORDS

if TYPE_CHECKING:
    import jinja2

PICTURE = "overview.png"
TEMPLATE = "contact_sheet.html.jinja"
STATES = ("failed", "done", "cancelled", "running", "waiting")
"""Of the scans, in the page's order."""


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """A scan on the page. What is unknown is None, or ""."""

    name: str
    """Of the scan and of its folder, beside the page."""
    state: str
    """One of `STATES`."""
    verdict: str = ""
    """One of `verdict_text.WORDS`."""
    look: str = ""
    """What to look at: why it failed, the verdict's sentence, notes."""
    dice_before: float | None = None
    dice_after: float | None = None
    folding_percent: float | None = None
    seconds: float | None = None


def write_contact_sheet(path: Path, title: str, rows: Sequence[SheetRow], left_out: Sequence[str] = ()) -> None:
    """Write the page; atomic. It refers to the scans' folders beside it, so all can be moved together.

    left_out: sentences about scans that are not among the ``rows``. Raises WriteError.
    """
    page = render_contact_sheet(path.parent, title, rows, left_out)
    with atomic(path) as part:
        # a file name may hold bytes that are not UTF-8; Python keeps them as surrogates
        part.write_bytes(page.encode("utf-8", "replace"))


def render_contact_sheet(folder: Path, title: str, rows: Sequence[SheetRow], left_out: Sequence[str] = ()) -> str:
    """The HTML text of a page in ``folder``, the worst scan first."""
    ordered = sorted(rows, key=_badness)
    counts = {state: sum(row.state == state for row in rows) for state in STATES}
    words = {word: sum(row.verdict == word for row in rows) for word in WORDS}
    return _load_template().render(
        title=title,
        rows=[(row, _find_picture(folder, row), quote(_as_bytes(row.name))) for row in ordered],
        total=len(rows),
        states={state: count for state, count in counts.items() if count},
        words=words if any(words.values()) else {},
        unfinished=counts["running"] + counts["waiting"],
        has_dice=any(row.dice_after is not None for row in rows),
        left_out=left_out,
    )


def _badness(row: SheetRow) -> tuple[int, int, float, str]:
    """Sort key: the failed, then by verdict, then by Dice, the lowest first."""
    order = WORDS.index(row.verdict) if row.verdict in WORDS else -1
    dice = 2.0 if row.dice_after is None else row.dice_after
    return STATES.index(row.state) if row.state in STATES else len(STATES), -order, dice, row.name


def _find_picture(folder: Path, row: SheetRow) -> str:
    """The link to the scan's overview; "" where there is none."""
    exists = row.state == "done" and (folder / row.name / PICTURE).is_file()
    return f"{quote(_as_bytes(row.name))}/{PICTURE}" if exists else ""


def _as_bytes(name: str) -> bytes:
    """The name as on the disk; bytes that are not UTF-8 are in it as surrogates."""
    return name.encode("utf-8", "surrogateescape")


@cache
def _load_template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = _format_number
    return environment.get_template(TEMPLATE)


def _format_number(value: Any, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def make_sheet_row(row: Mapping[str, Any]) -> SheetRow:
    """The row of a batch's table as a row of the page."""
    figures = ("dice_before", "dice_after", "folding_percent", "seconds")
    return SheetRow(
        name=row["name"],
        state=row["status"],
        verdict=row["verdict"] or "",
        look=explain_row(row),
        **{name: row[name] for name in figures},
    )


def explain_row(row: Mapping[str, Any]) -> str:
    """What to look at: why a scan failed, or the verdict's sentence unless it is good, and the notes."""
    reason = "" if row["verdict"] == GOOD else row["verdict_reason"]
    return row["error"] or " ".join(part for part in (reason, row["notes"]) if part)
