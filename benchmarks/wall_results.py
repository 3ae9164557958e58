"""What ``wall.py`` shows: medians, a Markdown table, and a picture of the seconds."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from SlicRegLib.images.files import atomic

LEAST_DICE = 0.60
"""A program that registers worse is no one to be compared with."""


def summarise(measured: dict) -> dict:
    """``measured`` with the median unit, and with the medians of each row that ran: seconds, cpu_seconds, peak_mb,
    units, and ratio, to the fastest other program with a Dice above `LEAST_DICE` (None: there is none)."""
    unit = median(measured["unit_seconds"]) if measured["unit_seconds"] else float("nan")
    rows = {}
    for key, row in measured["rows"].items():
        figures = {}
        if row["runs"]:
            names = ("seconds", "cpu_seconds", "peak_mb")
            figures = {name: median(run[name] for run in row["runs"]) for name in names}
            figures["units"] = figures["seconds"] / unit
        rows[key] = {**row, **figures}
    rivals = {
        key: row["seconds"]
        for key, row in rows.items()
        if row["kind"] == "peer" and row["runs"] and (row["dice"] or 0) > LEAST_DICE
    }
    fastest = min(rivals, key=rivals.__getitem__, default=None)
    for row in rows.values():
        row["ratio"] = row["seconds"] / rivals[fastest] if fastest and row["runs"] else None
    return {**measured, "unit": unit, "fastest": fastest, "rows": rows}


def format_rows(results: dict) -> str:
    """The rows as Markdown, and what they depend on."""
    fastest = results["fastest"]
    ratio = f"x {results['rows'][fastest]['title']}" if fastest else "ratio"
    lines = [("program", "wall s", "units", "CPU s", "peak MB", "Dice", ratio)]
    lines.append(("---",) * len(lines[0]))
    for row in results["rows"].values():
        title = f"{row['title']} ({row['failed']})" if row["failed"] else row["title"]
        form = {"seconds": ".2f", "units": ".1f", "cpu_seconds": ".1f", "peak_mb": ".0f", "dice": ".3f", "ratio": ".2f"}
        values = ((row.get(name), code) for name, code in form.items())
        figures = ("-" if value is None else format(value, code) for value, code in values)
        lines.append((title.replace("|", "/"), *figures))
    setup = results["setup"]
    versions = "; ".join(f"{row['title']} {row['version']}" for row in results["rows"].values() if row["version"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nUnit: one product of two 4096 x 4096 fp32 matrices, {results['unit']:.2f} s in the median of "
        f"{len(results['unit_seconds'])} (from {min(results['unit_seconds'], default=0):.2f} to "
        f"{max(results['unit_seconds'], default=0):.2f}). Medians of {setup['rounds']} rounds; threads: "
        f"{setup['threads']}; {setup['device']}; commit {setup['commit']}. {versions}.\n"
    )


def draw_bars(path: Path, results: dict) -> None:
    """Draw the seconds of each program as PNG: bars are medians, dots are single runs, with the Dice beside them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in results["rows"].values() if row["runs"]]
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colours = {"ours": "tab:red", "peer": "0.6", "start": "0.82"}
    for place, row in enumerate(rows):
        axes.barh(place, row["seconds"], color=colours[row["kind"]], height=0.62)
        single = [run["seconds"] for run in row["runs"]]
        axes.plot(single, [place] * len(single), "o", ms=3, color="0.2")
        text = f"{row['seconds']:.1f} s" + (f", Dice {row['dice']:.3f}" if row["kind"] != "start" else "")
        axes.annotate(text, (max(single), place), (7, 0), textcoords="offset points", va="center", size=9, color="0.25")
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.22, y=0.03)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"seconds from files to files (CPU threads: {results['setup']['threads']})")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    with atomic(path) as part:
        figure.savefig(part, dpi=130, format="png")
