"""report.html: how good a trained model is and what it was made from, as one file without scripts, links or network."""

from __future__ import annotations

import base64
import io
import json
import math
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import joblib
import numpy as np
import psutil
import torch

from ...images.files import atomic
from ...registration.result import Registration
from ...results.overview import draw_overview

LONG_TABLE = 12  # rows: longer tables of single scans are folded up, except in print
NOTHING = "–"
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"  # told apart by the colour-blind, too


@dataclass(frozen=True)
class ReportContent:
    """What a report tells; a section whose data is empty is left out.

    trained, held_out: names of scans. left_out: name -> reason. classes: supervoxels of a layer. curve: rows as `History` has
    them, accuracy 0 to 1. template, cohort: that and the scans of `cohort.json`; unusual_picture: the PNG beside it. teacher:
    name -> `FieldQuality` as a mapping. overlays: (scan, PNG). dice: the "cases" of `evaluation.evaluate`, label_names: its
    label -> name. seconds: per stage. waiting_share: of the training's time, 0 to 1. peak_memory_mb: as
    `devices.peak_memory_mb` gives it.
    """

    name: str
    finished: str = ""
    trained: Sequence[str] = ()
    held_out: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    classes: int = 128
    curve: Sequence[Sequence[float]] = ()
    template: Mapping = field(default_factory=dict)
    cohort: Sequence[Mapping] = ()
    unusual_picture: bytes = b""
    teacher: Mapping[str, Mapping] = field(default_factory=dict)
    overlays: Sequence[tuple[str, bytes]] = ()
    dice: Mapping[str, Mapping] = field(default_factory=dict)
    label_names: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping = field(default_factory=dict)
    hardware: Mapping = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    waiting_share: float | None = None
    peak_memory_mb: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping = field(default_factory=dict)


def validation_overlay(path: Path, result: Registration) -> None:
    """Draw one held-out scan (template, scan, scan on the template; three planes) as PNG, whole or not at all."""
    draw_overview(path, result)


def write_report(path: Path, content: ReportContent) -> None:
    """Write ``content`` as one HTML file, whole or not at all."""
    text = _page(content)
    with atomic(path) as part:
        part.write_bytes(text.encode("utf-8", "replace"))  # names of files may hold bytes that are no text


def hardware() -> dict:
    """{"processor", "cores" this process may use, "memory_gb", "gpu": name and memory of each, or "none"}."""
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": _processor(),
        "cores": joblib.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GB)" for gpu in gpus) or "none",
    }


def _processor() -> str:
    try:  # on Linux `platform` knows the architecture only
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _page(content: ReportContent) -> str:
    sections = [(title, parts) for title, make in SECTIONS if (parts := make(content))]
    title = f"Training of {content.name}"
    subtitle = ", ".join(text for text in ("SlicReg training report", content.finished) if text)
    links = [_tag("a", name, href=f"#{_anchor(name)}") for name, _ in sections]
    head = _tag(
        "head",
        _tag("meta", charset="utf-8"),
        _tag("title", title),
        _tag("style", _Html(STYLE)),
        _tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
    )
    body = _tag(
        "body",
        _tag("header", _tag("h1", title), _tag("p", subtitle, class_="quiet"), _tag("nav", *links)),
        *(_tag("section", _tag("h2", name), *parts, id=_anchor(name)) for name, parts in sections),
        _tag("footer", "This file holds names of scans and may hold pictures of patients: treat it as patient data."),
    )
    return "<!DOCTYPE html>\n" + _tag("html", head, body, lang="en") + "\n"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _summary(content: ReportContent) -> list[_Html]:
    parts = []
    cards = [_tag("div", _tag("b", figure), _tag("span", text)) for figure, text in _headline(content)]
    if cards:
        parts.append(_tag("div", *cards, class_="cards"))
    if content.curve:
        parts += [
            _tag("p", _tag("b", "Validation accuracy"), _accuracy_words(content)),
            _tag(
                "p",
                _tag("b", "Validation loss"),
                " (cross entropy) says how far the network's answers are from both "
                f"right and sure: 0 is perfect, guessing gives {math.log(content.classes):.2f}. Lower is better.",
            ),
        ]
    remarks = _remarks(content)
    if remarks:
        parts += [_tag("h3", "Worth knowing"), _tag("ul", *(_tag("li", remark) for remark in remarks))]
    return parts


def _headline(content: ReportContent) -> list[tuple[str, str]]:
    """(figure, what it is) of what matters most."""
    figures = []
    if content.curve:
        first, last = content.curve[0], content.curve[-1]
        figures += [
            (_percent(last[4]), f"validation accuracy; {_percent(first[4])} at iteration {first[0]}"),
            (_number(last[3], 3), f"validation loss; {_number(first[3], 3)} at iteration {first[0]}"),
        ]
    if content.trained:
        trained, held, left = (len(names) for names in (content.trained, content.held_out, content.left_out))
        figures.append((str(trained), f"{_noun(trained, 'scan')} trained on; {held} held out, {left} left out"))
    if content.dice:
        before, after = (
            _mean(case[when].get("mean_dice") for case in content.dice.values()) for when in ("before", "after")
        )
        figures.append(
            (
                _number(after, 3),
                f"mean Dice of {_count(len(content.dice), 'labelled scan')} after registration; "
                f"{_number(before, 3)} before",
            )
        )
    return figures


def _accuracy_words(content: ReportContent) -> str:
    held = len(content.held_out)
    where = f"on {_count(held, 'scan')} kept apart from training" if held else "on the scans trained on"
    return (
        f" is the share of body voxels, {where}, at which the network names the right supervoxel: one of {content.classes} "
        f"patches of the template. Guessing gets {100 / content.classes:.1f} %. Right is what the teacher's registration "
        "says. 100 % is neither reached nor needed, since a voxel at a border may well belong to the patch next to it."
    )


def _remarks(content: ReportContent) -> list[str]:
    """What a reader should know before trusting the figures, a sentence each."""
    remarks = []
    if content.trained and not content.held_out:
        remarks.append(
            "No scan was held out, which takes a cohort of at least five: the validation figures are those of scans "
            "trained on and flatter the model."
        )
    finite = [row for row in content.curve if math.isfinite(row[3])]
    if finite:
        best, last = min(finite, key=lambda row: row[3]), content.curve[-1]
        if not last[3] <= 1.02 * best[3]:
            remarks.append(
                f"The validation loss was lowest, {_number(best[3], 3)}, at iteration {best[0]} and is "
                f"{_number(last[3], 3)} at the end: what came in between did not help."
            )
    fallen = [_label(content, label) for label, _, before, after, *_ in _label_rows(content.dice) if after < before]
    if fallen:
        remarks.append(f"The mean Dice is lower after registration than before for: {', '.join(fallen)}.")
    return remarks


def _learning(content: ReportContent) -> list[_Html]:
    if not content.curve:
        return []
    rows = [
        (str(row[0]), _duration(row[1]), _number(row[2], 3), _number(row[3], 3), _percent(row[4]))
        for row in content.curve
    ]
    validated = "validation" if content.held_out else "training scans, without changes"
    return [
        _tag(
            "p",
            "How the network improved. Where the training loss goes on falling while the validation loss rises, it learns "
            "its own scans by heart. The two differ in level: training scans are turned, scaled and cut to make them "
            "harder, and their background, which is easy, counts as well.",
        ),
        _pictures(
            [
                ("Loss: lower is better", _loss_figure(content.curve, validated)),
                ("Accuracy: higher is better", _accuracy_figure(content.curve)),
            ]
        ),
        _table(
            ("iteration", "time", "training loss", "validation loss", "validation accuracy"),
            rows,
            (),
            "All validations",
        ),
    ]


def _overlays(content: ReportContent) -> list[_Html]:
    if not content.overlays:
        return []
    return [
        _tag(
            "p",
            "Each picture: the template, the scan as it is, and the scan laid on the template by the model, in three "
            "planes with the patient's right on the left. In the third column organs should lie as in the first.",
        ),
        _pictures([(f"{title}, {_role(content, title)}", png) for title, png in content.overlays], "wide"),
    ]


FOLDING = "where the deformation turns inside out, which tissue cannot do: 0 % is right."


def _dice(content: ReportContent) -> list[_Html]:
    if not content.dice:
        return []
    labels = _label_rows(content.dice)
    unseen = sum(name not in content.trained for name in content.dice)
    per_label = [
        (
            _label(content, label),
            str(count),
            _number(before, 3),
            _number(after, 3),
            f"{after - before:+.3f}",
            _number(far, 1),
            _number(near, 1),
        )
        for label, count, before, after, far, near in labels
    ]
    measures = (("mean_dice", 3), ("mean_hd95_mm", 1))
    per_scan = [
        (
            name,
            "yes" if name in content.trained else "no",
            *(_number(case[when].get(key), digits) for key, digits in measures for when in ("before", "after")),
            _number(case["after"].get("folding_percent"), 2),
        )
        for name, case in content.dice.items()
    ]
    return [
        _tag(
            "p",
            f"Overlap of the organs drawn on {_count(len(content.dice), 'scan')} with those drawn on the template, before "
            f"and after registration by the model. Scans not trained on: {unseen}. No drawing took part in the training.",
        ),
        _tag(
            "p",
            _tag("b", "Dice"),
            " is 1 where two outlines are the same and 0 where they do not overlap. ",
            _tag("b", "HD95"),
            " is the distance within which 95 % of the two outlines lie of each other. ",
            _tag("b", "Folding"),
            " is the share of the template ",
            FOLDING,
        ),
        _pictures(
            [("Mean Dice of each label", _dice_figure([(_label(content, row[0]), *row[2:4]) for row in labels]))]
        ),
        _table(
            ("label", "scans", "Dice before", "Dice after", "change", "HD95 before, mm", "HD95 after, mm"), per_label
        ),
        _table(
            ("scan", "trained on", "Dice before", "Dice after", "HD95 before, mm", "HD95 after, mm", "folding, %"),
            per_scan,
            (0, 1),
            "Each scan",
        ),
    ]


TEACHER_COLUMNS = (
    ("similarity before", "similarity_before", 3),
    ("similarity after", "similarity_after", 3),
    ("folding, %", "folding_percent", 2),
    ("stretch, low", "stretch_low", 2),
    ("stretch, high", "stretch_high", 2),
    ("mean displacement, mm", "mean_displacement_mm", 1),
)


def _teacher(content: ReportContent) -> list[_Html]:
    if not content.teacher:
        return []
    scans = sorted(
        content.teacher.items(), key=lambda item: _sortable(item[1].get("similarity_after"))
    )  # the worst first
    of_all = [
        (title, *_range([quality.get(key) for _, quality in scans], digits)) for title, key, digits in TEACHER_COLUMNS
    ]
    rows = [
        (name, *(_number(quality.get(key), digits) for _, key, digits in TEACHER_COLUMNS), _role(content, name))
        for name, quality in scans
    ]
    figure = _teacher_figure(content)
    return [
        _tag(
            "p",
            "A conventional registration, the teacher, laid the template on each scan, and the network learns from its "
            "results: where the teacher is wrong, so is what the network learns.",
        ),
        _tag(
            "p",
            _tag("b", "Similarity"),
            " is the correlation of the scan's soft tissue with the template's laid on it: 1 is "
            "the same, 0 unrelated. ",
            _tag("b", "Folding"),
            " is the share of the body ",
            FOLDING,
            " ",
            _tag("b", "Stretch"),
            " is the change of local volume (1 is none, 0.5 half, 2 double): all but 1 % of the body lies above the low figure, "
            "all but 1 % below the high one. ",
            _tag("b", "Displacement"),
            " is how far the body's points moved.",
        ),
        *(
            [_pictures([("Each mark is a scan; above the dashed line the teacher improved it", figure)])]
            if figure
            else []
        ),
        _table(("of all scans", "lowest", "median", "highest"), of_all),
        _table(
            ("scan", *(title for title, _, _ in TEACHER_COLUMNS), "use"),
            rows,
            (0, 7),
            "Each scan, the least similar first",
        ),
    ]


AXES = "Lengths go from right to left, from back to front and from foot to head, in this order."


def _cohort(content: ReportContent) -> list[_Html]:
    if not content.cohort:
        return []
    scans, template = content.cohort, content.template
    orientations = Counter(scan["orientation"] for scan in scans if scan.get("orientation"))
    facts = [
        ("scans", str(len(scans))),
        ("voxel size, mm", _box_range(filter(None, (_along_body(scan, "spacing_mm") for scan in scans)), 2)),
        ("body's extent, mm", _box_range((scan["body_extent_mm"] for scan in scans if scan.get("body_extent_mm")), 0)),
        ("orientation of the voxels", ", ".join(f"{name} ({count})" for name, count in orientations.most_common())),
    ]
    if template:
        facts.append(
            (
                "the template",
                f"{template['name']}: voxels of {_box(_along_body(template, 'spacing_mm'), 2)} mm, "
                f"body of {_box(template.get('body_extent_mm'), 0)} mm",
            )
        )
    parts = [
        _tag("p", f"The scans as they were found before the training. {AXES}"),
        _pairs(fact for fact in facts if fact[1]),
    ]
    odd = [(scan["name"], text) for scan in scans for text in _attention(scan)]
    if odd:
        parts += [
            _tag("h3", f"{_count(len(dict(odd)), 'scan')} to look at"),
            _table(("scan", "what was found"), odd, (0, 1)),
        ]
    if content.unusual_picture:
        parts.append(_pictures([("Unusual scans", content.unusual_picture)], "full"))
    head = (
        "scan",
        "voxels",
        "voxel size, mm",
        "orientation",
        "extent, mm",
        "body's extent, mm",
        "body, L",
        "mean, HU",
        "use",
    )
    rows = [
        (
            scan["name"],
            _box(_along_body(scan, "shape"), 0),
            _box(_along_body(scan, "spacing_mm"), 2),
            scan.get("orientation") or NOTHING,
            _box(scan.get("extent_mm"), 0),
            *_body(scan),
            _role(content, scan["name"]),
        )
        for scan in scans
    ]
    return [*parts, _table(head, rows, (0, 3, 8), "Each scan")]


def _attention(scan: Mapping) -> list[str]:
    problem, same = scan.get("problem"), scan.get("same_as")
    return [*([problem] if problem else []), *([f"The same as {same}."] if same else []), *(scan.get("unusual") or ())]


def _left_out(content: ReportContent) -> list[_Html]:
    if not content.left_out:
        return []
    return [
        _tag("p", f"{_count(len(content.left_out), 'scan')} took no part in the training."),
        _table(("scan", "reason"), sorted(content.left_out.items()), (0, 1)),
    ]


def _running(content: ReportContent) -> list[_Html]:
    total = sum(content.seconds.values())
    stages = [
        (stage, _duration(spent), _percent(spent / total if total else None))
        for stage, spent in content.seconds.items()
    ]
    facts = _flat(content.hardware)
    facts += [(f"peak memory, {_key(key)}", f"{value / 1024:.2f} GB") for key, value in content.peak_memory_mb.items()]
    parts = [_pairs(facts)] if facts else []
    if stages:
        parts.append(_table(("stage", "time", "share"), [*stages, ("together", _duration(total), "")]))
    if content.waiting_share is not None:
        parts.append(
            _tag(
                "p",
                f"The training spent {_percent(content.waiting_share)} of its time waiting for data. If that is "
                "much, more parallel processes (--jobs) make it faster.",
            )
        )
    return parts


def _configuration(content: ReportContent) -> list[_Html]:
    parts = [_pairs(_flat(content.configuration))] if content.configuration else []
    if content.versions:
        parts += [_tag("h3", "Versions"), _pairs(_flat(content.versions))]
    if content.provenance:
        parts += [_tag("h3", "Stored in the model"), _pairs(_flat(content.provenance))]
    return parts


SECTIONS = (
    ("Summary", _summary),
    ("Learning curve", _learning),
    ("Registered scans", _overlays),
    ("Organ overlap", _dice),
    ("Teacher", _teacher),
    ("Cohort", _cohort),
    ("Left out", _left_out),
    ("Time and hardware", _running),
    ("Configuration", _configuration),
)


def _label_rows(cases: Mapping[str, Mapping]) -> list[tuple]:
    """(label, scans, mean Dice before and after, mean HD95 before and after in mm or None) for each label, by number."""
    rows = []
    for label in sorted({label for case in cases.values() for label in case["after"]["dice"]}, key=int):
        having = [case for case in cases.values() if label in case["after"]["dice"]]
        means = (
            _mean(case[when][key][label] for case in having)
            for key in ("dice", "hd95_mm")
            for when in ("before", "after")
        )
        rows.append((label, len(having), *means))
    return rows


def _similarities(content: ReportContent) -> dict[str, tuple[float, float]]:
    """Similarity before and after the teacher, of the scans that have both."""
    pairs = {
        name: (scan.get("similarity_before"), scan.get("similarity_after")) for name, scan in content.teacher.items()
    }
    return {name: pair for name, pair in pairs.items() if all(map(_finite, pair))}


def _label(content: ReportContent, label: str) -> str:
    return content.label_names.get(label) or f"label {label}"


def _role(content: ReportContent, name: str) -> str:
    roles = {"training": content.trained, "held out": content.held_out, "left out": content.left_out}
    return next((role for role, names in roles.items() if name in names), NOTHING)


def _finite(value) -> bool:
    return value is not None and math.isfinite(value)


def _sortable(value) -> float:
    return value if _finite(value) else -math.inf


def _mean(values: Iterable) -> float | None:
    values = [value for value in values if _finite(value)]
    return float(np.mean(values)) if values else None


def _range(values: Iterable, digits: int) -> tuple[str, str, str]:
    values = [value for value in values if _finite(value)]
    return tuple(_number(of(values), digits) for of in (min, np.median, max)) if values else (NOTHING,) * 3


def _along_body(scan: Mapping, key: str) -> list[float]:
    """What is stored along the array's axes, along those of the patient (R, A, S); empty for a scan that was not read."""
    letters = scan.get("orientation") or ""
    return [scan[key][axis] for pair in ("RL", "AP", "SI") for axis, letter in enumerate(letters) if letter in pair]


def _body(scan: Mapping) -> tuple[str, str, str]:
    """Extent in mm, volume in litres and mean HU of the body, if there is one."""
    if not scan.get("body_extent_mm"):
        return (NOTHING,) * 3
    return _box(scan["body_extent_mm"], 0), _number(scan["body_ml"] / 1000, 1), _number(scan["mean_hu"], 0)


def _box_range(boxes: Iterable[Sequence[float]], digits: int) -> str:
    """The lowest to the highest value along each axis; empty without any."""
    ends = [(_number(min(axis), digits), _number(max(axis), digits)) for axis in zip(*boxes)]
    return " × ".join(low if low == high else f"{low} to {high}" for low, high in ends)


def _number(value, digits: int) -> str:
    return f"{value:.{digits}f}" if _finite(value) else NOTHING


def _percent(share) -> str:
    return f"{100 * share:.1f} %" if _finite(share) else NOTHING


def _box(values, digits: int) -> str:
    return " × ".join(_number(value, digits) for value in values) if values else NOTHING


def _noun(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"


def _count(number: int, noun: str) -> str:
    return f"{number} {_noun(number, noun)}"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


UNITS = {"mm": "mm", "gb": "GB", "mb": "MB", "hu": "HU", "percent": "%"}


def _key(key: str) -> str:
    """spacing_mm -> "spacing, mm"."""
    words, _, unit = str(key).rpartition("_")
    if words and unit in UNITS:
        return f"{words.replace('_', ' ')}, {UNITS[unit]}"
    return "GPU" if key == "gpu" else str(key).replace("_", " ")


def _plain(value) -> str:
    if value is None or value in ("", [], (), {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        numbers = all(isinstance(one, (int, float)) for one in value)
        return (" × " if numbers else ", ").join(_plain(one) for one in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _flat(content: Mapping, before: str = "") -> list[tuple[str, str]]:
    """(key, text) of all values, those of a mapping inside under "outer: inner"."""
    rows = []
    for key, value in content.items():
        name = before + _key(key)
        rows += _flat(value, f"{name}: ") if isinstance(value, Mapping) and value else [(name, _plain(value))]
    return rows


def _figure(width: float, height: float):
    """A figure that pyplot does not know of, and its axes; inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    return buffer.getvalue()


def _loss_figure(curve: Sequence[Sequence[float]], validated: str) -> bytes:
    figure, axes = _figure(5.2, 3.6)
    iteration, _, training, validation, _ = zip(*curve)
    axes.plot(iteration, training, color=GREY, marker=".", label="training")
    axes.plot(iteration, validation, color=BLUE, marker=".", label=validated)
    axes.set(xlabel="iteration", ylabel="cross entropy", ylim=(0, None))
    axes.legend(frameon=False)
    return _png(figure)


def _accuracy_figure(curve: Sequence[Sequence[float]]) -> bytes:
    figure, axes = _figure(5.2, 3.6)
    axes.plot([row[0] for row in curve], [100 * row[4] for row in curve], color=BLUE, marker=".")
    axes.set(xlabel="iteration", ylabel="accuracy, %", ylim=(0, 100))
    return _png(figure)


def _teacher_figure(content: ReportContent) -> bytes | None:
    pairs = _similarities(content)
    if not pairs:
        return None
    figure, axes = _figure(5.2, 4.2)
    for names, style in (
        (set(pairs) - set(content.left_out), dict(label="used", color=BLUE, alpha=0.7)),
        (set(pairs) & set(content.left_out), dict(label="left out", color=ORANGE, marker="x")),
    ):
        if names:
            axes.scatter(*zip(*(pairs[name] for name in sorted(names))), s=28, **style)
    ends = [min(min(pair) for pair in pairs.values()), max(max(pair) for pair in pairs.values())]
    axes.plot(ends, ends, color=GREY, linestyle="dashed", linewidth=1, label="as before")
    axes.set(xlabel="similarity before", ylabel="similarity after")
    axes.legend(frameon=False)
    return _png(figure)


def _dice_figure(rows: Sequence[tuple]) -> bytes:
    """rows: (name, mean Dice before, after); a line from one to the other for each."""
    figure, axes = _figure(6.4, 1.2 + 0.3 * len(rows))
    names, before, after = zip(*rows)
    heights = range(len(rows))
    axes.hlines(heights, before, after, color="0.75", linewidth=3)
    axes.scatter(before, heights, color=GREY, s=36, label="before", zorder=3)
    axes.scatter(after, heights, color=BLUE, s=36, label="after", zorder=3)
    axes.set_yticks(heights, [_short(name) for name in names], parse_math=False)
    axes.set(xlabel="mean Dice", xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5))
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return _png(figure)


def _short(name: str, length: int = 28) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


class _Html(str):
    """Markup that is whole; any other string is text that is yet to be escaped."""


def _tag(name: str, /, *content: str, **attributes: str) -> _Html:
    """An element. ``class_`` stands for the attribute class."""
    given = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    if name in ("meta", "img"):
        return _Html(f"<{name}{given}>")
    inside = "".join(part if isinstance(part, _Html) else escape(part) for part in content)
    return _Html(f"<{name}{given}>{inside}</{name}>{NEWLINE.get(name, '')}")


NEWLINE = dict.fromkeys(("section", "tr", "p", "h1", "h2", "h3", "li", "figure", "header"), "\n")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: Sequence[int] = (0,), fold: str = "") -> _Html:
    """A table; the columns ``texts`` hold words, the others numbers. fold: title under which a long one is folded up."""

    def row(cell, values):
        return _tag(
            "tr", *(_tag(cell, value, **({} if i in texts else {"class_": "n"})) for i, value in enumerate(values))
        )

    rows = list(rows)
    body = _tag("tbody", *(row("td", values) for values in rows))
    table = _tag("div", _tag("table", _tag("thead", row("th", head)), body), class_="scroll")
    if not fold:
        return table
    opened = {"open": ""} if len(rows) <= LONG_TABLE else {}
    return _tag("details", _tag("summary", f"{fold} ({len(rows)})"), table, **opened)


def _pairs(rows: Iterable[tuple[str, str]]) -> _Html:
    body = _tag("tbody", *(_tag("tr", _tag("th", key), _tag("td", value)) for key, value in rows))
    return _tag("div", _tag("table", body, class_="pairs"), class_="scroll")


def _pictures(pictures: Sequence[tuple[str, bytes]], class_: str = "") -> _Html:
    def figure(title, png):
        source = "data:image/png;base64," + base64.b64encode(png).decode()
        return _tag("figure", _tag("img", src=source, alt=title), _tag("figcaption", title))

    return _tag("div", *(figure(*picture) for picture in pictures), class_=f"pictures {class_}".strip())


STYLE = """
:root { color-scheme: light dark;
  --ink: #1c2430; --quiet: #5b6675; --page: #ffffff; --card: #f3f5f8; --line: #d8dee6; --mark: #0072b2; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --quiet: #9aa6b5; --page: #14181e; --card: #1f252e; --line: #36404d; --mark: #5db4ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 68rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p, ul { margin: .5rem 0; max-width: 46rem; }
ul { padding-left: 1.2rem; }
a, summary { color: var(--mark); }
summary { cursor: pointer; margin: .6rem 0; }
.quiet, footer, figcaption, .cards span { color: var(--quiet); }
footer, figcaption, .cards span { font-size: .85rem; }
footer { margin-top: 3rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.cards > div { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; break-inside: avoid; }
.cards b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.35; }
th, td { padding: .3rem .55rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  min-width: 5rem; max-width: 30rem; }
th:first-child, td:first-child { min-width: 7.5rem; }
th { font-weight: 600; color: var(--quiet); overflow-wrap: normal; }
thead th { vertical-align: bottom; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
.n, .n:first-child { min-width: 0; }
td.n { white-space: nowrap; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem; margin: 1rem 0; }
.pictures.wide, .pictures.full { grid-template-columns: minmax(0, 1fr); }
figure { margin: 0; max-width: 34rem; break-inside: avoid; }
.wide figure { max-width: 46rem; }
.full figure { max-width: 100%; }
img { display: block; max-width: 100%; height: auto; border-radius: .4rem; }
figcaption { margin-top: .3rem; }
@page { margin: 15mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  h2, h3, summary { break-after: avoid; }
  tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  th, td { padding: .2rem .4rem; }
  th, td, td:first-child { min-width: 0; }
  td.n { white-space: normal; }
  .cards > div { border: 1px solid var(--line); }
  img { max-height: 200mm; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
}
"""
