"""The table of a batch: one row for each scan, made of its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from ..images.json_reading import read_json
from ..images.options import TransformFormat
from ..results.result_folder import REPORT_FILE

RESULTS = ("transform.h5", "transform_inverse.h5", "warped_target.nii.gz", "report.json")
"""Files that every registration writes, the transforms perhaps in another format."""
COLUMNS = (
    "name",
    "status",
    "verdict",
    "seconds",
    "folding_percent",
    "dice_before",
    "dice_after",
    "hd95_before_mm",
    "hd95_after_mm",
    "verdict_reason",
    "notes",
    "error",
)
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"

Row = dict[str, Any]
"""A row of the table: a value for each of `COLUMNS`, None if it is unknown, as the verdicts of older versions are."""


def read_done_report(folder: Path) -> dict[str, Any] | None:
    """The report of a registration, if its folder is complete."""
    try:
        report = read_json(folder / REPORT_FILE)
        complete = isinstance(report["seconds"]["total"], (int, float)) and "folding_percent" in report
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found = any(
        all((folder / name.replace(".h5", f".{ending}")).is_file() for name in RESULTS)
        for ending in get_args(TransformFormat)
    )
    return report if complete and found else None


def make_empty_row(name: str, status: str) -> Row:
    return {**dict.fromkeys(COLUMNS), "name": name, "status": status, "error": ""}


def make_done_row(name: str, report: Mapping[str, Any]) -> Row:
    parts = (report.get(name) for name in ("before", "after", "verdict"))
    before, after, verdict = (part if isinstance(part, dict) else {} for part in parts)
    return make_empty_row(name, DONE) | {
        "seconds": report["seconds"]["total"],
        "folding_percent": report["folding_percent"],
        "dice_before": before.get("mean_dice"),
        "dice_after": after.get("mean_dice"),
        "hd95_before_mm": before.get("mean_hd95_mm"),
        "hd95_after_mm": after.get("mean_hd95_mm"),
        "verdict": verdict.get("word"),
        "verdict_reason": verdict.get("sentence"),
        "notes": " ".join(map(str, notes)) if isinstance(notes := report.get("notes"), list) else None,
    }
