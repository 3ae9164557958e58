"""The table of ``table1.py`` as text."""

from __future__ import annotations

from typing import Any

from table1_rows import ROWS


def list_lines(results: dict[str, Any], others: dict[str, Any]) -> list[dict[str, Any]]:
    """What the table shows, a dictionary per line: rows in the order of `ROWS`, other programs after "initial"."""
    lines = []
    for name, row in ((name, results[name]) for name in ROWS if name in results):
        for kind, (ending, _) in ROWS[name].kinds.items():
            mean, trained = row[kind]["mean"], row["training"] or {}
            line = {
                "title": ROWS[name].title + ending,
                "dice": mean["after_dice"],
                "labels": mean["after_dice_per_label"],
                "hd95": mean["after_hd95_mm"],
                "folding": mean["folding_percent"],
                "seconds": mean["seconds"],
                "scans": mean["cases"],
                "training": trained.get("seconds"),
            }
            lines.append(line | {key: trained.get(key) for key in ("iterations", "samples", "parameters")})
        if name == "initial":
            lines += [_describe_other(row) for row in others.values()]
    return lines


def _describe_other(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``peers.py``."""
    mean = row["mean"]
    return {
        "title": f"{row['title']} {row['version']}".strip(),
        "dice": mean["mean_dice"],
        "labels": mean["dice"],
        "hd95": mean["mean_hd95_mm"],
        "folding": mean["folding_percent"],
        "seconds": mean["seconds"],
        "scans": len(row["cases"]),
    }


def format_table(lines: list[dict[str, Any]], names: list[str]) -> str:
    """Markdown. names: of the labels, in the order of their values; columns show the values otherwise."""
    labels = sorted({label for line in lines for label in line["labels"]}, key=int)
    titles = names if len(names) == len(labels) else [f"label {label}" for label in labels]
    columns = {"HD95 mm": ("hd95", 1), "folding %": ("folding", 2), "s / scan": ("seconds", 1), "scans": ("scans", 0)}
    columns |= {"iterations": ("iterations", 0), "samples seen": ("samples", 0), "training s": ("training", 0)}
    columns |= {"parameters": ("parameters", 0)}
    text = [["row", "mean Dice", *titles, *columns]]
    text.append(["---"] * len(text[0]))
    for line in lines:
        dice = [line["dice"], *(line["labels"].get(label) for label in labels)]
        figures = [_format(line.get(key), digits) for key, digits in columns.values()]
        text.append([line["title"], *(_format(value, 3) for value in dice), *figures])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in text)


def _format(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def describe_setup(results: dict[str, Any], setup: dict[str, Any]) -> str:
    """Below the table."""
    plans = [row["plan"] for row in results.values() if row.get("plan")]
    lengths = {f"{plan['budget']:g} minutes" if plan["budget"] else f"{plan['iterations']} steps" for plan in plans}
    trained = sorted({commit for plan in plans for commit in plan["commits"]})
    measured = sorted({row["commit"] for row in results.values()})
    length = " or ".join(sorted(lengths)) or "-"
    return (
        f"\nEach network: {length}, batch {setup['batch']}, schedule of {setup['schedule']}, on {setup['device']}, "
        f"threads: {setup['threads']}. Trained at {', '.join(trained) or '-'}, measured at {', '.join(measured)}.\n"
    )
