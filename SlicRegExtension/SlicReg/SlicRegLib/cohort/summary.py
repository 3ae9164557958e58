"""The check of a cohort in a few lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .facts import Cohort
from .orientation import order_by_axis


def summarise(cohort: Cohort) -> str:
    """Counts, ranges, and one line for each scan that a person should check."""
    readable = [scan for scan in cohort.scans if not scan.problem]
    usable, template = set(cohort.usable), cohort.template
    lines = [
        f"{len(cohort.scans)} scans, {len(usable)} usable; template {template.name}, "
        f"{' x '.join(map(str, template.shape))} voxels, {template.orientation}"
    ]
    if readable:
        edges = np.array([order_by_axis(scan.orientation, scan.spacing_mm) for scan in readable])
        ranges = ", ".join(f"{name} {_format_range(edge, '.3g')}" for name, edge in zip("RAS", edges.T, strict=True))
        orientations = Counter(scan.orientation for scan in readable).most_common()
        views = [_format_range([scan.extent_mm[axis] for scan in readable], ".0f") for axis in range(3)]
        lines += [
            f"Voxel size in mm: {ranges}",
            f"Orientations: {', '.join(f'{name} ({count})' for name, count in orientations)}",
            f"Fields of view in mm: R {views[0]}, A {views[1]}, S {views[2]}",
            f"Length of the body in mm: {_format_range([scan.body_extent_mm[2] for scan in readable], '.0f')}; "
            f"of the template {template.body_extent_mm[2]:.0f}",
        ]
    for title, texts in (
        ("Cannot be used", [(scan, scan.problem) for scan in cohort.scans if scan.problem]),
        ("Copies, excluded", [(scan, f"same voxels as {scan.same_as}") for scan in readable if scan.same_as]),
        ("Noted on reading", [(scan, " ".join(scan.notes)) for scan in [template, *readable] if scan.notes]),
        ("Unusual, but used", [(scan, " ".join(scan.unusual)) for scan in readable if scan.unusual]),
    ):
        if texts:
            lines += [f"{title}: {len(texts)}", *(f"  {scan.name}: {text}" for scan, text in texts)]
    return "\n".join(lines)


def _format_range(values: Sequence[float] | np.ndarray, style: str) -> str:
    low, high = format(min(values), style), format(max(values), style)
    return low if low == high else f"{low} to {high}"
