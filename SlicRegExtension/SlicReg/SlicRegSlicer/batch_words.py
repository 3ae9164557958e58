"""What the Batch tab says: how many scans there are, how long they still take, and the table's cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from SlicRegLib.jobs.batch_rows import DONE, Row
from SlicRegLib.results.contact_sheet import explain_row
from SlicRegLib.results.result_folder import REPORT_FILE

from .training_words import describe_duration
from .translation import _
from .verdict_view import describe_word
from .widgets import format_cell

STATES = {
    "waiting": _("waiting"),
    "running": _("running"),
    "done": _("done"),
    "failed": _("failed"),
    "cancelled": _("cancelled"),
}
VERDICT_COLUMN, DICE_COLUMN = 2, 3
MAX_LINES = 8
"""Of what is said below the progress bar; the table says the rest."""


@dataclass(frozen=True)
class BatchCounts:
    """What a batch will find."""

    scans: int
    labelled: int = 0
    """Scans that have labels of their own."""
    done: int = 0
    """Scans that have a result in the output folder."""

    def describe(self, has_template_labels: bool) -> str:
        """Such as "12 scans, 3 with labels for Dice. Results in the output folder: 2; ..."."""
        first = _("1 scan") if self.scans == 1 else _("{n} scans").format(n=self.scans)
        if self.labelled and has_template_labels:
            first = _("{scans}, {n} with labels for Dice").format(scans=first, n=self.labelled)
        sentences = [f"{first}."]
        if self.labelled and not has_template_labels:
            sentences.append(_("Choose a template segmentation on the Registration tab to measure Dice."))
        if self.done:
            text = _("Results in the output folder: {n}; those whose scan and options are unchanged are kept.")
            sentences.append(text.format(n=self.done))
        return " ".join(sentences)


def count_results(names: Sequence[str], out: str) -> int:
    """How many scans have a result in the folder ``out``, which may be ""."""
    return sum((Path(out) / name / REPORT_FILE).is_file() for name in names) if out else 0


def estimate_remaining(ended: Sequence[float], waiting: int, elapsed: float, current: float | None) -> float | None:
    """Seconds to the end of a batch; None where too little is known.

    ended: seconds of each registration that has ended. waiting: how many have not begun. elapsed, current: seconds that
    the current one has taken, and those that it will still take; None if they are unknown.
    """
    if ended:
        each = sum(ended) / len(ended)
        current = max(0.0, each - elapsed) if current is None else current
    elif current is None:
        return None
    else:
        each = elapsed + current
    return current + waiting * each


def describe_running(rows: Sequence[Row], name: str, remaining: float | None) -> str:
    """Such as "3 of 12 scans are done; pt_4 is being registered. About 5 min left."."""
    done = sum(row["status"] == DONE for row in rows)
    text = _("{done} of {total} scans are done; {name} is being registered.").format(
        done=done, total=len(rows), name=name
    )
    if remaining is not None:
        text += " " + _("About {time} left.").format(time=describe_duration(remaining))
    return text


def shorten(lines: Sequence[str]) -> str:
    """The first lines as a text; a batch of a hundred scans would push the table out of the panel."""
    left = len(lines) - MAX_LINES
    more = [_("{n} more in the table.").format(n=left)] if left > 0 else []
    return "\n".join([*lines[:MAX_LINES], *more])


def make_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """(header, cells) of the table of scans, as much as the panel is wide; results.csv has all figures. Dice has a
    column only where it was measured."""
    measured = any(row["dice_after"] is not None for row in rows)
    header = [_("Scan"), _("State"), _("Verdict"), *([_("Dice")] if measured else []), _("What to look at")]
    return header, [_format_row(row, measured) for row in rows]


def _format_row(row: Row, measured: bool) -> list[str]:
    values = [format_cell(row[column], 2) for column in ("dice_before", "dice_after")]
    dice = [" → ".join(filter(None, values))] if measured else []
    state, verdict = STATES.get(row["status"], row["status"]), describe_word(row["verdict"])
    return [row["name"], state, verdict, *dice, explain_row(row)]
