"""The volumes of a cohort's organs in all scans of a batch, as a table for statistics."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..images.files import atomic

VOLUMES = "volumes.csv"
WHAT = ("volume_ml", "percentile")

Organs = Sequence[Mapping[str, Any]]
"""Under "organs" in a scan's report.json."""


def read_organs(report: Mapping[str, Any]) -> Organs:
    """Those of a scan's report; none where it has none, or was damaged."""
    organs, needed = report.get("organs"), {"name", "complete", *WHAT}
    if isinstance(organs, list) and all(isinstance(organ, dict) and needed <= set(organ) for organ in organs):
        return organs
    return ()


def write_volumes(path: Path, organs: Mapping[str, Organs], verdicts: Mapping[str, str | None]) -> None:
    """One row per scan: its verdict, the volume of each organ in ml, and the percentile of each in the cohort. What a
    scan does not show completely is left empty. organs, verdicts: by scan. Raises WriteError."""
    names = list(dict.fromkeys(organ["name"] for each in organs.values() for organ in each))
    header = ["name", "verdict", *(f"{name} (ml)" for name in names), *(f"{name} (percentile)" for name in names)]
    with atomic(path) as part, open(part, "w", newline="", encoding="utf-8-sig", errors="replace") as file:
        table = csv.writer(file)  # Excel needs the byte order mark
        table.writerow(header)
        for scan, each in organs.items():
            whole = {organ["name"]: organ for organ in each if organ["complete"]}
            cells = [whole[name][what] if name in whole else None for what in WHAT for name in names]
            table.writerow([scan, verdicts.get(scan), *cells])
