"""Draws the library's folders as floors (architecture.svg) and writes the table of folders into architecture.md.

    python docs/architecture.py            write both
    python docs/architecture.py --check    exit code 1 if either is out of date

Arrows and counts are made from the source files, the floors are those that Testing/test_structure.py enforces.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "Testing"))

from imports import imported, modules  # noqa: E402  the import graph that the test of the structure uses as well

SOURCES = ROOT / "SlicRegExtension" / "SlicReg"
LIBRARY, MODULE = "SlicRegLib", "SlicRegSlicer"
BEGIN, END = "<!-- table: made by architecture.py -->", "<!-- end of table -->"
BASE = "errors, option, progress, stages, workers"
CONTENT = {
    BASE: "The one kind of error a user can cause; option docstrings; progress; names of stages; worker processes",
    "phantoms": "Synthetic CT scans with known anatomy, for demo and tests",
    "geometry": "Grids and frames, resampling, displacement fields, inverse, folding, spline",
    "images": "Reading and writing scans and transforms, LPS to RAS, the canonical frame, atomic files",
    "network": "The two networks, prediction of supervoxels, choice of device and precision",
    "cohort": "The check of a folder of scans before a training, and its cost",
    "registration": "`register`: the method on one screen; model files, alignment, refinement, confidence",
    "results": "From files to files, Dice and HD95, the picture of a result",
    "teaching": "Supervoxels, teachers and the study, which holds what a training reads",
    "training": "Samples, loss, loop, checkpoint, several processes",
    "jobs": "Trainings and batches that outlive their window: locks, states, child processes, the report",
    "cli": "The command line: one function per command",
    MODULE: "The 3D Slicer module: nodes in, nodes out, and the panel",
}
"""What each box holds. A folder that is missing here is an error."""


def box_of(module: str) -> str:
    """The box of a dotted module name: its folder; the single files at the top of the library share one."""
    package, _, rest = module.partition(".")
    if package != LIBRARY:
        return package
    folder = rest.partition(".")[0]
    return BASE if folder in BASE.split(", ") else folder


def read_sources() -> tuple[dict[str, list[Path]], dict[str, set[str]]]:
    """(files of each box, boxes that each box imports)."""
    files: dict[str, list[Path]] = {}
    edges: dict[str, set[str]] = {}
    found = {**modules(SOURCES / LIBRARY), **modules(SOURCES / MODULE)}
    for name, path in found.items():
        if name == LIBRARY or name == f"{LIBRARY}.__main__":
            continue  # the lazy public interface and the way into the command line
        box = box_of(name)
        files.setdefault(box, []).append(path)
        others = {box_of(other) for other in library_imports(name, path, set(found))}
        edges.setdefault(box, set()).update(others - {box, ""})
    if unknown := sorted(set(files) ^ set(CONTENT)):
        raise SystemExit(f"architecture.py: CONTENT and the folders differ: {', '.join(unknown)}")
    return files, edges


def library_imports(name: str, path: Path, known: set[str]) -> list[str]:
    """Dotted names of the library's modules that a module imports."""
    if box_of(name) == MODULE:  # it imports the packages that it checks by name, which `imported` refuses to follow
        return re.findall(rf"^ *(?:from|import) ({LIBRARY}[.\w]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [other for other in imported(name, path, known) if other.split(".")[0] == LIBRARY]


def floors() -> dict[str, int]:
    """The floor of each box: the rows of FLOORS in the test of the structure, from the ground up."""
    text = (ROOT / "Testing" / "test_structure.py").read_text(encoding="utf-8")
    rows = [row.split() for row in re.findall(r'FLOORS = """(.*?)"""', text, re.DOTALL)[0].strip().splitlines()]
    levels = {box_of(f"{LIBRARY}.{name}"): floor for floor, row in enumerate(rows) for name in row}
    del levels["__main__"]
    return levels | {MODULE: max(levels.values())}


def reduced(edges: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports without those that a chain of others implies."""

    def reachable(box: str) -> set[str]:
        return set().union(*({other} | reachable(other) for other in edges[box]))

    return [
        (box, other)
        for box, others in sorted(edges.items())
        for other in sorted(others)
        if not any(other in reachable(between) for between in others)
    ]


def table(files: dict[str, list[Path]], levels: dict[str, int]) -> str:
    """Markdown: the boxes from the top floor down. Lines are rounded to hundreds, so that the table seldom changes."""
    rows = ["| floor | folder | files | lines | what is there |", "|---|---|---|---|---|"]
    for box in sorted(CONTENT, key=lambda box: (-levels[box], list(CONTENT).index(box))):
        contents = [path.read_text(encoding="utf-8") for path in files[box] if path.name != "__init__.py"]
        lines = max(100, round(sum(text.count("\n") for text in contents), -2))
        rows.append(f"| {levels[box]} | `{box}` | {len(contents)} | {lines} | {CONTENT[box]} |")
    return "\n".join(rows)


WIDTH, ROW, BOX, GAP = 640, 74, 40, 24  # of the drawing, of a floor's height, of a box's height, between boxes
FAR = 2  # floors between; an arrow that passes more runs in a lane of its own, right of all boxes
LANE = 22


def places(levels: dict[str, int], arrows: list[tuple[str, str]]) -> tuple[dict[str, float], dict[tuple, list[str]]]:
    """(middle of each box from left to right, the places in between of each arrow that passes floors).

    An arrow that passes floors has a narrow place in each of them, so that it runs beside the boxes. Each floor is
    sorted by where its arrows lead, from the ground up.
    """
    rows = {floor: [box for box in CONTENT if levels[box] == floor] for floor in set(levels.values())}
    below: dict[str, list[str]] = {box: [] for box in CONTENT}
    through: dict[tuple, list[str]] = {}
    x: dict[str, float] = {}
    lane = WIDTH - GAP / 2
    for above, under in arrows:
        passed = range(levels[under] + 1, levels[above])
        chain = [f"{above} > {under} {floor}" for floor in passed]
        if len(passed) > FAR:
            x |= dict.fromkeys(chain, lane)
            lane -= LANE
        else:
            for floor, name in zip(passed, chain, strict=True):
                rows[floor].append(name)
        for lower, upper in zip([under, *chain], [*chain, above], strict=True):
            below.setdefault(upper, []).append(lower)
        through[above, under] = chain[::-1]
    for floor in sorted(rows):
        names = rows[floor]
        wish = {name: sum(x[o] for o in below[name]) / len(below[name]) if below.get(name) else 0.0 for name in names}
        names.sort(key=lambda name: wish[name])
        widths = [box_width(name) if name in CONTENT else 30.0 for name in names]
        left = (lane - sum(widths) - GAP * (len(names) - 1)) / 2
        for name, width in zip(names, widths, strict=True):
            x[name] = left + width / 2
            left += width + GAP
    return x, through


def box_width(box: str) -> float:
    return max(110.0, 8.0 * len(box) + 24)


def drawing(levels: dict[str, int], arrows: list[tuple[str, str]]) -> str:
    """SVG: boxes in floors, arrows from a box to what it imports."""
    x, through = places(levels, arrows)
    top = max(levels.values())

    def y(floor: int) -> int:
        return GAP + (top - floor) * ROW

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y(0) + BOX + GAP}" font-family="sans-serif" '
        'font-size="14" role="img">',
        "<title>The folders of the library as floors, with arrows to what each imports</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#607080"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{y(0) + BOX + GAP}" fill="#ffffff"/>',
    ]
    for (above, under), chain in through.items():
        points = [(x[above], y(levels[above]) + BOX)]
        for floor, name in zip(range(levels[above] - 1, levels[under], -1), chain, strict=True):
            points += [(x[name], y(floor)), (x[name], y(floor) + BOX)]
        points.append((x[under], y(levels[under])))
        path = "M" + " L".join(f"{px:.0f} {py}" for px, py in points)
        parts.append(f'<path d="{path}" fill="none" stroke="#607080" stroke-width="1.2" marker-end="url(#tip)"/>')
    for box, floor in levels.items():
        width, fill = box_width(box), "#fdebd3" if box == MODULE else "#dcebf7"
        parts.append(
            f'<rect x="{x[box] - width / 2:.0f}" y="{y(floor)}" width="{width:.0f}" height="{BOX}" rx="6" '
            f'fill="{fill}" stroke="#607080"/>'
            f'<text x="{x[box]:.0f}" y="{y(floor) + 25}" text-anchor="middle" fill="#102030">{escape(box)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def made() -> dict[Path, str]:
    """The content that each generated file should have."""
    files, edges = read_sources()
    levels = floors()
    page = HERE / "architecture.md"
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    return {
        page: f"{head}{BEGIN}\n\n{table(files, levels)}\n\n{END}{tail}",
        HERE / "architecture.svg": drawing(levels, reduced(edges)),
    }


def main(arguments: list[str]) -> int:
    stale = [p for p, text in made().items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date; run `python docs/architecture.py`.", file=sys.stderr)
        return 1 if stale else 0
    for path, text in made().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
