"""What ``peers.py`` shows: means over cases, a Markdown table, and a picture of Dice against seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from SlicRegLib.images.files import atomic


def average(cases: dict[str, dict]) -> dict[str, Any]:
    """The mean of every figure over the cases that have it."""

    def mean(*keys: str) -> float | None:
        figures = [case[keys[0]] if len(keys) == 1 else case[keys[0]].get(keys[1]) for case in cases.values()]
        values = [value for value in figures if value is not None]
        return float(np.mean(values)) if values else None

    labels = sorted({label for case in cases.values() for label in case["dice"]}, key=int)
    return {key: mean(key) for key in ("mean_dice", "mean_hd95_mm", "folding_percent", "seconds", "peak_memory_mb")} | {
        key: {label: mean(key, label) for label in labels} for key in ("dice", "hd95_mm")
    }


def format_table(results: dict, names: list[str]) -> str:
    """The rows as Markdown. names: of the labels, in the order of their values; columns show the values otherwise."""
    labels = sorted({label for row in results["rows"].values() for label in row["mean"]["dice"]}, key=int)
    columns = [
        "tool",
        "mean Dice",
        *(names if len(names) == len(labels) else [f"label {v}" for v in labels]),
        "HD95 mm",
        "folding %",
        "s / pair",
        "peak MB",
    ]
    lines = [columns, ["---"] * len(columns)]
    for row in results["rows"].values():
        mean, title = row["mean"], row["title"]
        if row["failed"]:
            title += f" ({len(row['cases'])} of {row['of']} scans: {next(iter(row['failed'].values()))})"
        figures = [
            (mean["mean_dice"], ".3f"),
            *((mean["dice"].get(v), ".3f") for v in labels),
            (mean["mean_hd95_mm"], ".1f"),
            (mean["folding_percent"], ".2f"),
            (mean["seconds"] or None, ".1f"),
            (mean["peak_memory_mb"], ".0f"),
        ]
        lines.append(
            [title.replace("|", "/"), *("-" if value is None else format(value, form) for value, form in figures)]
        )
    versions = "; ".join(f"{row['title']} {row['version']}" for row in results["rows"].values() if row["version"])
    setup, scans = results["setup"], max(row["of"] for row in results["rows"].values())
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nMeans; scans: {scans}; threads: {setup['threads']}; {setup['device']}; commit {results['commit']}. "
        f"{versions}.\n"
    )


def draw(path: Path, results: dict) -> None:
    """Draw Dice against seconds as PNG: each point has its name beside it, the Dice without registration is a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator
    from matplotlib.transforms import Bbox

    rows = {key: row for key, row in results["rows"].items() if row["cases"]}
    figure = Figure(figsize=(8, 5))
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    figure.subplots_adjust(0.09, 0.11, 0.98, 0.97)
    axes.set(
        xscale="log",
        xlabel=f"seconds per registration (CPU threads: {results['setup']['threads']})",
        ylabel="mean Dice",
    )
    axes.margins(0.15, 0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if "initial" in rows:
        start = rows.pop("initial")["mean"]["mean_dice"]
        axes.axhline(start, color="0.6", lw=1, ls="--")
        axes.annotate(
            "no registration",
            (0, start),
            (4, 3),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            color="0.4",
            size=9,
        )
    points = {key: (row["mean"]["seconds"], row["mean"]["mean_dice"]) for key, row in rows.items()}
    ours = {"slicreg": "tab:red", "slicreg-no-refinement": "tab:red", "refinement-alone": "tab:orange"}
    colours = {key: ours.get(key.partition(":")[0], "0.35") for key in rows}
    for key, point in points.items():
        axes.plot(*point, "o", ms=7, color=colours[key])
    canvas.draw()
    taken = [Bbox(axes.transData.transform(point) + [[-8], [8]]) for point in points.values()]
    places = [(x, y, side) for y in (0, 12, -12, 22, -22) for x, side in ((9, "left"), (-9, "right"), (0, "center"))]
    for key, point in points.items():
        label = axes.annotate(rows[key]["title"], point, (0, 0), textcoords="offset points", va="center", size=9)
        label.set_color(colours[key])

        def move_to(place: tuple[int, int, str], label: Any = label) -> int:
            """Move the label; returns with how many others it clashes there."""
            *label.xyann, side = place
            label.set_ha(side)
            box = label.get_window_extent()
            return sum(map(box.overlaps, taken)) + (box.x0 < axes.bbox.x0) + (box.x1 > figure.bbox.x1)

        move_to(min(places, key=move_to))  # the first of the places with the fewest clashes
        taken.append(label.get_window_extent())
    with atomic(path) as part:
        figure.savefig(part, dpi=130, format="png")
