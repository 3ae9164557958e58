"""The report's numbers and sentences as text. Sentences that are the same in every report are in the template."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .content import ReportContent, average_dice, average_labels, find_lowest_loss, find_role, is_number

NOTHING = "–"
UNITS = {"mm": "mm", "gb": "GB", "mb": "MB", "hu": "HU", "percent": "%"}
TOLERANCE = 1.02
"""A final loss up to this many times the lowest one needs no remark."""


def format_number(value: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if is_number(value) else NOTHING


def format_percent(share: float | None) -> str:
    """0.344 -> "34.4 %"."""
    return f"{100 * share:.1f} %" if is_number(share) else NOTHING


def format_change(value: float | None, digits: int) -> str:
    """(0.344, 2) -> "+0.34"."""
    return f"{value:+.{digits}f}" if is_number(value) else NOTHING


def format_box(values: Sequence[float] | None, digits: int) -> str:
    """[1, 2, 3] -> "1 × 2 × 3"."""
    return " × ".join(format_number(value, digits) for value in values) if values else NOTHING


def format_box_range(boxes: Iterable[Sequence[float]], digits: int) -> str:
    """The lowest to the highest value along each axis; "" if there are no boxes."""
    ends = [(format_number(min(axis), digits), format_number(max(axis), digits)) for axis in zip(*boxes, strict=True)]
    return " × ".join(low if low == high else f"{low} to {high}" for low, high in ends)


def format_duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_count(number: int, noun: str) -> str:
    """(2, "scan") -> "2 scans"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_key(key: str) -> str:
    """spacing_mm -> "spacing, mm"."""
    words, _, unit = str(key).rpartition("_")
    if words and unit in UNITS:
        return f"{words.replace('_', ' ')}, {UNITS[unit]}"
    return "GPU" if key == "gpu" else str(key).replace("_", " ")


def format_value(value: Any) -> str:
    """Any JSON value as people write it."""
    if value is None or value in ("", [], (), {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        numbers = all(isinstance(one, int | float) for one in value)
        return (" × " if numbers else ", ").join(format_value(one) for one in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def flatten(values: Mapping[str, Any], outer: str = "") -> list[tuple[str, str]]:
    """(key, value) of every entry as text; the entries of an inner mapping have the key "outer: inner"."""
    rows = []
    for key, value in values.items():
        name = outer + format_key(key)
        if isinstance(value, Mapping) and value:
            rows += flatten(value, f"{name}: ")
        else:
            rows.append((name, format_value(value)))
    return rows


def write_title(content: ReportContent) -> str:
    return f"Training report: {content.name}"


def write_subtitle(content: ReportContent) -> str:
    return f"Written by SlicReg on {content.finished}" if content.finished else "Written by SlicReg"


def summarise_report(content: ReportContent) -> list[tuple[str, str]]:
    """(figure, its meaning) of the most important results."""
    figures = []
    if content.curve:
        first, last = content.curve[0], content.curve[-1]
        figures += [
            (
                format_percent(last[4]),
                f"of voxels classified correctly in validation; {format_percent(first[4])} at iteration {first[0]}",
            ),
            (format_number(last[3], 3), f"validation loss; {format_number(first[3], 3)} at iteration {first[0]}"),
        ]
    if content.trained:
        noun = "training scan" if len(content.trained) == 1 else "training scans"
        others = f"{len(content.held_out)} held out for validation, {len(content.excluded)} excluded"
        figures.append((str(len(content.trained)), f"{noun}; {others}"))
    if content.dice:
        before, after = average_dice(content, "before"), average_dice(content, "after")
        scans = format_count(len(content.dice), "labelled scan")
        figures.append(
            (format_number(after, 3), f"mean Dice of {scans} after registration; {format_number(before, 3)} before")
        )
    return figures


def explain_accuracy(content: ReportContent) -> str:
    """What follows the words "Validation accuracy" in the report."""
    held_out = len(content.held_out)
    scans = format_count(held_out, "held-out scan") if held_out else "the training scans"
    return (
        f"is the share of body voxels of {scans} that the network assigns to the correct supervoxel, one of the "
        f"{content.classes} regions into which the template is divided. Random guessing reaches "
        f"{format_percent(1 / content.classes)}. The teacher's registration defines which supervoxel is correct. "
        "100 % is neither possible nor necessary: a voxel at a border may equally well belong to the next supervoxel."
    )


def explain_loss(content: ReportContent) -> str:
    """What follows the words "Validation loss" in the report."""
    return (
        "(cross entropy) measures whether the predictions are both correct and confident: 0 is perfect, random "
        f"guessing gives {math.log(content.classes):.2f}. Lower is better."
    )


def list_remarks(content: ReportContent) -> list[str]:
    """What a reader must know to judge the figures, one or two sentences each."""
    remarks = []
    if content.trained and not content.held_out:
        remarks.append(
            "No scan was held out, because that takes a cohort of at least five scans. The validation figures were "
            "measured on training scans and are too optimistic."
        )
    lowest = find_lowest_loss(content)
    if lowest is not None and not content.curve[-1][3] <= TOLERANCE * lowest[3]:
        remarks.append(
            f"The validation loss was lowest ({format_number(lowest[3], 3)}) at iteration {lowest[0]} and was "
            f"{format_number(content.curve[-1][3], 3)} at the end: the iterations in between did not help."
        )
    worse = [name_label(content, row.label) for row in average_labels(content) if (row.change or 0) < 0]
    if worse:
        remarks.append(f"Registration lowered the mean Dice of: {', '.join(worse)}.")
    return remarks


def describe_labelled(content: ReportContent) -> str:
    """Which scans were labelled and what the labels were used for."""
    unseen = sum(name not in content.trained for name in content.dice)
    taught = any(organ.get("correction") for organ in content.organs)
    return (
        f"Overlap of the organ labels of {format_count(len(content.dice), 'scan')} with those of the template, "
        f"before and after registration by the model. Scans not used for training: {unseen}. "
        + (
            "They taught the borders of organs, so that other scans may have less."
            if taught
            else "Labels are never used for training."
        )
    )


def describe_waiting(share: float) -> str:
    return (
        f"{format_percent(share)} of the training time was spent waiting for training samples. On a GPU, threads "
        "prepare the samples in advance. Their number is chosen from the number of CPU cores (in Python: "
        "TrainingOptions.loaders). On a CPU, the samples are prepared between the training steps."
    )


def list_findings(scan: Mapping[str, Any]) -> list[str]:
    """What a person should check in a scan of the cohort, a sentence each."""
    problem, original = scan.get("problem"), scan.get("same_as")
    return [
        *([problem] if problem else []),
        *([f"Copy of {original}."] if original else []),
        *(scan.get("unusual") or ()),
        *(scan.get("notes") or ()),
    ]


def count_findings(content: ReportContent) -> str:
    number = sum(bool(list_findings(scan)) for scan in content.cohort)
    return f"{format_count(number, 'scan')} to check"


def describe_excluded(content: ReportContent) -> str:
    number = len(content.excluded)
    return (
        f"{format_count(number, 'scan')} {'was' if number == 1 else 'were'} used for neither training nor validation."
    )


def name_label(content: ReportContent, label: str) -> str:
    """The organ, or the label's number."""
    return content.label_names.get(label) or f"label {label}"


def name_role(content: ReportContent, scan: str) -> str:
    """How the training used a scan."""
    return find_role(content, scan) or NOTHING


def caption_overlays(content: ReportContent) -> list[tuple[str, bytes]]:
    """(caption, PNG) of each registered scan."""
    return [(f"{scan} ({name_role(content, scan)})", png) for scan, png in content.overlays]
