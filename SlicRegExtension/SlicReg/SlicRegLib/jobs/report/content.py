"""The data of a training report, and the figures computed from them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

When = Literal["before", "after"]


@dataclass(frozen=True)
class ReportContent:
    """The data of a report. A section without data is omitted."""

    name: str
    """The model's name, as in job.json."""
    finished: str = ""
    """Date and time as text."""
    trained: Sequence[str] = ()
    """Names of the training scans."""
    held_out: Sequence[str] = ()
    """Names of the validation scans."""
    excluded: Mapping[str, str] = field(default_factory=dict)
    """Name of each scan that was neither trained nor validated on -> reason."""
    classes: int = 128
    """Supervoxels per layer of the template."""
    curve: Sequence[Sequence[float]] = ()
    """Rows of `History`: iteration, seconds, training loss, validation loss, validation accuracy (0 to 1)."""
    template: Mapping[str, Any] = field(default_factory=dict)
    """`ScanFacts` of the template, as a mapping."""
    cohort: Sequence[Mapping[str, Any]] = ()
    """`ScanFacts` of each scan, as mappings."""
    unusual_picture: bytes = b""
    """PNG of the unusual scans, as the cohort's check draws it."""
    teacher: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """Name of each scan -> `FieldQuality`, as a mapping."""
    overlays: Sequence[tuple[str, bytes]] = ()
    """(name of a scan, PNG that shows it registered to the template)."""
    dice: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of each labelled scan -> what `evaluate.compare` returns."""
    label_names: Mapping[str, str] = field(default_factory=dict)
    """Label number as text -> organ."""
    organs: Sequence[Mapping[str, Any]] = ()
    """Of the consensus of the scans' labels, as `describe_organs` returns them."""
    label_notes: Sequence[str] = ()
    """What the reader should know of the labels that were counted, in sentences."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    """As `describe_hardware` returns it."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage of `stages.LEARN` -> seconds, all runs of the job together."""
    waiting_share: float | None = None
    """Share of the training time spent waiting for samples, 0 to 1."""
    peak_memory_mb: Mapping[str, float] = field(default_factory=dict)
    """As `devices.peak_memory_mb` returns it."""
    versions: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What the model file says about its origin."""


@dataclass(frozen=True)
class LabelMeans:
    """Means of one label over the scans that have it; HD95 in mm. None if no scan has a value."""

    label: str
    scans: int
    dice_before: float | None
    dice_after: float | None
    hd95_before: float | None
    hd95_after: float | None

    @property
    def change(self) -> float | None:
        """Gain in mean Dice, negative for a loss; None if there is no Dice before or after."""
        if self.dice_before is None or self.dice_after is None:
            return None
        return self.dice_after - self.dice_before


def average_labels(content: ReportContent) -> list[LabelMeans]:
    """One entry per label, ordered by its number."""
    cases = content.dice.values()
    means = []
    for label in sorted({label for case in cases for label in case["after"]["dice"]}, key=int):
        having = [case for case in cases if label in case["after"]["dice"]]
        values = {
            f"{measure}_{when}": mean(case[when][key][label] for case in having)
            for measure, key in (("dice", "dice"), ("hd95", "hd95_mm"))
            for when in ("before", "after")
        }
        means.append(LabelMeans(label, len(having), **values))
    return means


def average_dice(content: ReportContent, when: When) -> float | None:
    """Mean over the labelled scans of their mean Dice before or after registration."""
    return mean(case[when].get("mean_dice") for case in content.dice.values())


def find_lowest_loss(content: ReportContent) -> Sequence[float] | None:
    """The row of the curve with the lowest validation loss; None if no loss is finite."""
    rows = [row for row in content.curve if is_number(row[3])]
    return min(rows, key=lambda row: row[3]) if rows else None


def pair_similarities(content: ReportContent) -> dict[str, tuple[float, float]]:
    """Similarity before and after the teacher's registration, of the scans that have both."""
    pairs = {}
    for name, quality in content.teacher.items():
        before, after = quality.get("similarity_before"), quality.get("similarity_after")
        if is_number(before) and is_number(after):
            pairs[name] = (before, after)
    return pairs


def sort_by_similarity(content: ReportContent) -> list[tuple[str, Mapping[str, float | None]]]:
    """(scan, quality of the teacher's field), the lowest similarity first and scans without one before all others."""

    def similarity(entry: tuple[str, Mapping[str, float | None]]) -> float:
        value = entry[1].get("similarity_after")
        return value if is_number(value) else -math.inf

    return sorted(content.teacher.items(), key=similarity)


def find_role(content: ReportContent, scan: str) -> str:
    """ "training", "held out", "excluded", or "" for a scan that is unknown."""
    roles = {"training": content.trained, "held out": content.held_out, "excluded": content.excluded}
    return next((role for role, names in roles.items() if scan in names), "")


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether ``value`` is there and finite."""
    return value is not None and math.isfinite(value)


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the finite values; None if there are none."""
    finite = [value for value in values if is_number(value)]
    return statistics.fmean(finite) if finite else None


def find_range(values: Iterable[float | None]) -> tuple[float, float, float] | None:
    """(lowest, median, highest) of the finite values; None if there are none."""
    finite = [value for value in values if is_number(value)]
    return (min(finite), statistics.median(finite), max(finite)) if finite else None
