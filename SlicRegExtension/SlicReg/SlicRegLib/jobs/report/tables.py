"""The report's tables: heads and rows as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...cohort.orientation import order_by_axis
from .content import ReportContent, average_labels, find_range, sort_by_similarity
from .words import (
    NOTHING,
    flatten,
    format_box,
    format_box_range,
    format_change,
    format_duration,
    format_key,
    format_number,
    format_percent,
    list_findings,
    name_label,
    name_role,
)

TEACHER_COLUMNS = (
    ("similarity before", "similarity_before", 3),
    ("similarity after", "similarity_after", 3),
    ("folding, %", "folding_percent", 2),
    ("stretch, low", "stretch_low", 2),
    ("stretch, high", "stretch_high", 2),
    ("mean displacement, mm", "mean_displacement_mm", 1),
)
"""(head, key of `FieldQuality`, digits)."""


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Sequence[int] = (0,)
    """Columns of words, aligned to the left; the others hold numbers."""


def tabulate_validations(content: ReportContent) -> Table:
    head = ("iteration", "time", "training loss", "validation loss", "validation accuracy")
    rows = [
        (str(step), format_duration(time), format_number(loss, 3), format_number(held, 3), format_percent(accuracy))
        for step, time, loss, held, accuracy in content.curve
    ]
    return Table(head, rows, ())


def tabulate_labels(content: ReportContent) -> Table:
    head = ("label", "scans", "Dice before", "Dice after", "change", "HD95 before, mm", "HD95 after, mm")
    rows = [
        (
            name_label(content, row.label),
            str(row.scans),
            format_number(row.dice_before, 3),
            format_number(row.dice_after, 3),
            format_change(row.change, 3),
            format_number(row.hd95_before, 1),
            format_number(row.hd95_after, 1),
        )
        for row in average_labels(content)
    ]
    return Table(head, rows)


def tabulate_labelled_scans(content: ReportContent) -> Table:
    head = ("scan", "trained on", "Dice before", "Dice after", "HD95 before, mm", "HD95 after, mm", "folding, %")
    measures = (("mean_dice", 3), ("mean_hd95_mm", 1))
    rows = [
        (
            name,
            "yes" if name in content.trained else "no",
            *(format_number(case[when].get(key), digits) for key, digits in measures for when in ("before", "after")),
            format_number(case["after"].get("folding_percent"), 2),
        )
        for name, case in content.dice.items()
    ]
    return Table(head, rows, (0, 1))


def tabulate_organs(content: ReportContent) -> Table:
    taught = any(organ.get("correction") for organ in content.organs)
    borders = ("borders learned: Dice before", "after") if taught else ()
    head = ("organ", "scans", "agreement (Dice)", "share of votes needed", "volume, ml: 5 %", "50 %", "95 %", *borders)
    rows = []
    for organ in content.organs:
        volumes, learned = organ["volumes_ml"] or [None], organ.get("correction") or {}
        rows.append(
            (
                organ["name"],
                str(organ["raters"]),
                format_number(organ["agreement"] if organ["raters"] > 1 else None, 3),
                format_percent(organ["threshold"]),
                *(format_number(volumes[place], 1) for place in (0, len(volumes) // 2, -1)),
                *(format_number(learned.get(key), 3) for key in ("before", "agreement")[: len(borders)]),
            )
        )
    return Table(head, rows)


def tabulate_teacher_ranges(content: ReportContent) -> Table:
    rows = []
    for title, key, digits in TEACHER_COLUMNS:
        values = find_range(quality.get(key) for quality in content.teacher.values())
        rows.append((title, *(format_number(value, digits) for value in values or (None,) * 3)))
    return Table(("all scans", "lowest", "median", "highest"), rows)


def tabulate_teacher_scans(content: ReportContent) -> Table:
    """One row per scan, the lowest similarity first."""
    rows = [
        (
            name,
            *(format_number(quality.get(key), digits) for _, key, digits in TEACHER_COLUMNS),
            name_role(content, name),
        )
        for name, quality in sort_by_similarity(content)
    ]
    head = ("scan", *(title for title, _, _ in TEACHER_COLUMNS), "use")
    return Table(head, rows, (0, len(head) - 1))


def list_cohort_facts(content: ReportContent) -> list[tuple[str, str]]:
    """(property, value) of the whole cohort and of the template; properties without a value are omitted."""
    scans, template = content.cohort, content.template
    spacings = [_order_values(scan, "spacing_mm") for scan in scans if scan.get("orientation")]
    bodies = [scan["body_extent_mm"] for scan in scans if scan.get("body_extent_mm")]
    orientations = Counter(scan["orientation"] for scan in scans if scan.get("orientation"))
    facts = [
        ("scans", str(len(scans))),
        ("voxel size, mm", format_box_range(spacings, 2)),
        ("body size, mm", format_box_range(bodies, 0)),
        ("voxel orientation", ", ".join(f"{name} ({count})" for name, count in orientations.most_common())),
    ]
    if template:
        spacing = format_box(_order_values(template, "spacing_mm"), 2)
        body = format_box(template.get("body_extent_mm"), 0)
        facts.append(("template", f"{template['name']}: voxel size {spacing} mm, body size {body} mm"))
    return [fact for fact in facts if fact[1]]


def tabulate_findings(content: ReportContent) -> Table:
    """What a person should check; a scan may have several rows."""
    rows = [(scan["name"], text) for scan in content.cohort for text in list_findings(scan)]
    return Table(("scan", "finding"), rows, (0, 1))


def tabulate_cohort(content: ReportContent) -> Table:
    head = (
        "scan",
        "voxels",
        "voxel size, mm",
        "orientation",
        "scan size, mm",
        "body size, mm",
        "body volume, L",
        "mean HU",
        "use",
    )
    rows = [
        (
            scan["name"],
            format_box(_order_values(scan, "shape"), 0),
            format_box(_order_values(scan, "spacing_mm"), 2),
            scan.get("orientation") or NOTHING,
            format_box(scan.get("extent_mm"), 0),
            *_describe_body(scan),
            name_role(content, scan["name"]),
        )
        for scan in content.cohort
    ]
    return Table(head, rows, (0, 3, 8))


def _order_values(scan: Mapping[str, Any], key: str) -> list[float]:
    """Values along R, A and S, as `order_by_axis` of `ScanFacts` as a mapping."""
    return order_by_axis(scan.get("orientation") or "", scan.get(key, ()))


def _describe_body(scan: Mapping[str, Any]) -> tuple[str, str, str]:
    """Size in mm, volume in litres and mean HU; dashes for a scan without a body."""
    if not scan.get("body_extent_mm"):
        return (NOTHING,) * 3
    return (
        format_box(scan["body_extent_mm"], 0),
        format_number(scan["body_ml"] / 1000, 1),
        format_number(scan["mean_hu"], 0),
    )


def tabulate_excluded(content: ReportContent) -> Table:
    return Table(("scan", "reason"), sorted(content.excluded.items()), (0, 1))


def list_hardware_facts(content: ReportContent) -> list[tuple[str, str]]:
    memory = content.peak_memory_mb.items()
    return [
        *flatten(content.hardware),
        *((f"peak memory, {format_key(key)}", f"{value / 1024:.2f} GB") for key, value in memory),
    ]


def tabulate_stages(content: ReportContent) -> Table:
    total = sum(content.seconds.values())
    rows = [
        (stage, format_duration(seconds), format_percent(seconds / total if total else None))
        for stage, seconds in content.seconds.items()
    ]
    return Table(("stage", "time", "share"), [*rows, ("total", format_duration(total), "")])
