"""The report's diagrams as PNG. They have white backgrounds and need no pyplot, so no backend is chosen or changed."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from ...cohort.names import shorten
from .content import ReportContent, average_labels, pair_similarities
from .words import name_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"  # distinct for colour-blind readers, too
LONGEST_NAME = 28  # characters beside an axis


def draw_loss(content: ReportContent) -> bytes:
    """Training and validation loss over the iterations."""
    figure, axes = _create_axes(5.2, 3.6)
    iteration, _, training, validation, _ = zip(*content.curve, strict=True)
    axes.plot(iteration, training, color=GREY, marker=".", label="training")
    name = "validation" if content.held_out else "training scans without augmentation"
    axes.plot(iteration, validation, color=BLUE, marker=".", label=name)
    axes.set(xlabel="iteration", ylabel="cross entropy", ylim=(0, None))
    axes.legend(frameon=False)
    return _encode(figure)


def draw_accuracy(content: ReportContent) -> bytes:
    """Validation accuracy over the iterations."""
    figure, axes = _create_axes(5.2, 3.6)
    axes.plot([row[0] for row in content.curve], [100 * row[4] for row in content.curve], color=BLUE, marker=".")
    axes.set(xlabel="iteration", ylabel="accuracy, %", ylim=(0, 100))
    return _encode(figure)


def draw_similarity(content: ReportContent) -> bytes:
    """A mark per scan: similarity before and after the teacher's registration. b"" if no scan has both."""
    pairs = pair_similarities(content)
    if not pairs:
        return b""
    figure, axes = _create_axes(5.2, 4.2)
    groups: tuple[tuple[set[str], dict[str, Any]], ...] = (
        (set(pairs) - set(content.excluded), dict(label="used", color=BLUE, alpha=0.7)),
        (set(pairs) & set(content.excluded), dict(label="excluded", color=ORANGE, marker="x")),
    )
    for names, style in groups:
        if names:
            before, after = zip(*(pairs[name] for name in sorted(names)), strict=True)
            axes.scatter(before, after, s=28, **style)
    ends = [min(min(pair) for pair in pairs.values()), max(max(pair) for pair in pairs.values())]
    axes.plot(ends, ends, color=GREY, linestyle="dashed", linewidth=1, label="no change")
    axes.set(xlabel="similarity before", ylabel="similarity after")
    axes.legend(frameon=False)
    return _encode(figure)


def draw_dice(content: ReportContent) -> bytes:
    """Mean Dice per label, a line from before to after registration."""
    rows = average_labels(content)
    figure, axes = _create_axes(6.4, 1.2 + 0.3 * len(rows))
    heights = range(len(rows))
    before = [math.nan if row.dice_before is None else row.dice_before for row in rows]
    after = [math.nan if row.dice_after is None else row.dice_after for row in rows]
    axes.hlines(heights, before, after, color="0.75", linewidth=3)
    axes.scatter(before, heights, color=GREY, s=36, label="before", zorder=3)
    axes.scatter(after, heights, color=BLUE, s=36, label="after", zorder=3)
    axes.set_yticks(heights, [shorten(name_label(content, row.label), LONGEST_NAME) for row in rows], parse_math=False)
    axes.set(xlabel="mean Dice", xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5))
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return _encode(figure)


def _create_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Empty axes; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _encode(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    return buffer.getvalue()
