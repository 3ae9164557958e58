"""What supervoxels are worth: mean Dice against the size of the misalignment with which a target comes.

    python benchmarks/misalignment.py --set NAME MODEL IMAGES LABELS [--set ...] --out FOLDER
        [--levels 0 0.33 0.67 1] [--seed 0] [--peers affine convexadam] [--deeds-folder DIR]

A set is a model that holds a template and its labels, and folders of scans and of their labels; it becomes a panel of
the figure. Each target is moved as `pose.py` moves it, by up to 45 degrees about a random axis, 80 mm along each world
axis and a scale from 0.6 to 1.4, all times the level. It is registered to the model's own template by:

    refinement alone            from the centres of mass, without a network
    affine, refined             the supervoxels' affine map, then the refinement
    whole chain, refined        the affine map, the alignment of key points, the spline, then the refinement
    published                   the method of the paper: from the centres of mass, no refinement (`--mode published`)
    published, affine start     the same from the supervoxels' affine map
    SimpleITK affine, refined   an affine map by mutual information instead of the supervoxels' (--peers affine)
    convexAdam, deeds           other programs with their defaults (--peers convexadam, --deeds-folder)

SimpleITK, convexAdam and deeds start from the centres of mass, on both scans' canonical grids (4 mm); of a program that
gives up, the start counts. Dice is measured on the target's own grid. Writes misalignment.json and misalignment.png
into --out, case by case, and goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cohort import AFFINE_START, describe_circumstances, load_labelled
from peer_tools import HALVED, convexadam, deeds, find_version, hash_files, register_by_mutual_information
from pose import draw_pose, move
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.field import DisplacementField, affine_field
from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.geometry.inverse import invert
from SlicRegLib.images.files import list_images, write_json
from SlicRegLib.images.preparation import PreparedScan, prepare_scan
from SlicRegLib.images.volumes import Volume
from SlicRegLib.progress import silent
from SlicRegLib.registration.affine import similarity_part
from SlicRegLib.registration.consensus import Consensus
from SlicRegLib.registration.fixed_side import FixedSide
from SlicRegLib.registration.image_features import CELL
from SlicRegLib.registration.model import Model, load_model
from SlicRegLib.registration.moving_side import prepare_target, see_target
from SlicRegLib.registration.options import MODES
from SlicRegLib.registration.register import Stopwatch, align_key_points, refine_and_unfold, register
from SlicRegLib.results.labels import find_own_template
from SlicRegLib.results.metrics import dice

DEGREES, SHIFT_MM, SCALE = 45.0, 80.0, 0.4
"""Largest turn, shift and change of size, at level 1."""
PUBLISHED = {
    "published": MODES["published"],
    "published, affine start": AFFINE_START,
}
CHAINS = ("refinement alone", "affine, refined", "whole chain, refined", *PUBLISHED)
OTHERS = {"affine": "SimpleITK affine, refined", "convexadam": "convexAdam", "deeds": "deeds"}
PACKAGES = {"affine": "SimpleITK", "convexadam": "convexAdam"}
STYLES = dict(
    zip((*CHAINS, *OTHERS.values()), ("C0o-", "C2o-", "C1o--", "C3o-", "C3o:", "C4s:", "C5s:", "C6s:"), strict=True)
)
"""The whole chain is dashed, since it lies on the affine map."""
DEFAULT = MODES["default"]
CPU = torch.device("cpu")
Save = Callable[[], None]
Rows = dict[str, dict[str, float]]


class Chains:
    """The ways to register a scan to a model's own template: this project's, and what ``others`` name."""

    def __init__(self, model: Model, template: Volume, others: Sequence[str] = (), deeds_folder: Path = Path()):
        self.model, self.template, self.others, self.deeds_folder = model, template, others, deeds_folder
        self.fixed = FixedSide(model, template, DEFAULT)
        self.published = {chain: FixedSide(model, template, options) for chain, options in PUBLISHED.items()}

    def __call__(self, target: Volume, chains: Collection[str]) -> Iterator[tuple[str, DisplacementField]]:
        """Those of ``chains`` that are wanted, each with the field from the target to the template."""
        if set(chains) & (set(CHAINS) - set(PUBLISHED)):
            yield from ((chain, field) for chain, field in self._register(target).items() if chain in chains)
        for chain, fixed in self.published.items():
            if chain in chains:
                yield chain, register(self.model, self.template, target, PUBLISHED[chain], fixed=fixed).inverse
        for key in self.others:
            if OTHERS[key] in chains:
                yield OTHERS[key], self._register_elsewhere(key, target)

    def _register(self, target: Volume) -> dict[str, DisplacementField]:
        fixed, prepared = self.fixed, prepare_target(target, self.model)
        seen, clock = see_target(fixed, target, prepared), Stopwatch(silent)
        aligned = align_key_points(self.model.network(CPU), seen.encoded, seen.affine, fixed, clock, DEFAULT)
        centres = translation(prepared.grid.centre - fixed.scan.grid.centre)
        return {
            "refinement alone": self._refine(centres, prepared),
            "affine, refined": self._refine(seen.affine, seen.encoded.scan),
            "whole chain, refined": self._refine(aligned, seen.encoded.scan),
        }

    def _register_elsewhere(self, key: str, target: Volume) -> DisplacementField:
        """By another program; one that gives up leaves the scan where it started."""
        fixed, prepared, threads = self.fixed.scan, prepare_target(target, self.model), torch.get_num_threads()
        ours, theirs = (Volume(scan.hu.numpy(), scan.grid) for scan in (fixed, prepared))
        centres = translation(prepared.grid.centre - fixed.grid.centre)
        try:
            if key == "convexadam":
                return convexadam(theirs, ours, threads)
            if key == "deeds":
                return deeds(theirs, ours, threads, self.deeds_folder, HALVED)
            affine = register_by_mutual_information(ours, theirs)
            pose = similarity_part(affine, fixed.grid.centre)  # upright, as the supervoxels' map gets the scan
            upright = prepare_scan(target, self.model.preparation, Grid(fixed.grid.shape, pose @ fixed.grid.affine))
        except (RuntimeError, np.linalg.LinAlgError, UserError) as error:
            print(f"{OTHERS[key]} gave up: {str(error).strip().splitlines()[-1]}")
            return affine_field(np.linalg.inv(centres), prepared.grid.pooled(4))
        return self._refine(affine, upright)

    def _refine(self, start: DisplacementField | np.ndarray, scan: PreparedScan) -> DisplacementField:
        compared, clock = self.fixed.compared, Stopwatch(silent)
        dense, backward = refine_and_unfold([start], self.fixed.scan, scan, clock, DEFAULT, CPU, compared)
        return backward or invert(dense, scan.grid.pooled(CELL))


def measure(consensus: Consensus, field: DisplacementField, grid: Grid, known: np.ndarray) -> float:
    """Mean Dice of the organs that the target has; ``known``: its labels, on ``grid``."""
    found = consensus.on(grid, field).data
    values = [organ.value for organ in consensus.organs if (known == organ.value).any()]
    return float(np.mean([dice(found == value, known == value) for value in values]))


def run_set(words: Sequence[str], options: argparse.Namespace, found: dict[str, Any], save: Save) -> None:
    """Fill ``found``, "setup" and "rows" ("case level" -> chain -> Dice), with what is missing."""
    name, path, images, labels = words[0], *map(Path, words[1:])
    model, generator = load_model(path), np.random.default_rng(options.seed)
    template, consensus = find_own_template(model, path)
    if not isinstance(consensus, Consensus):
        raise UserError(f"The model {path} holds no consensus of labels.")
    setup = {"template": template.fingerprint(), "seed": options.seed, "scans": hash_files(*list_images(images))}
    if found.setdefault("setup", setup) != setup:
        raise UserError(
            f"{options.out} has another set {name}, of another model, scans or --seed; choose another name."
        )
    chains = Chains(model, template, options.peers, options.deeds_folder)
    wanted = {*CHAINS, *(OTHERS[key] for key in options.peers)}
    for case, target, known in load_labelled(images, labels):
        seed = int(generator.integers(1 << 31))  # one direction for each scan, the same at all levels
        for level in options.levels:
            row = found.setdefault("rows", {}).setdefault(f"{case} {level}", {})
            scale = (1 - SCALE * level, 1 + SCALE * level)
            pose = np.random.default_rng(seed)
            matrix, text = draw_pose(pose, target.grid.centre, DEGREES * level, SHIFT_MM * level, scale)
            moved = move(target, matrix)
            for chain, field in chains(moved, wanted - row.keys()):
                row[chain] = measure(consensus, field, moved.grid, known.data)
                save()
            print(
                f"{name}  {case:10s} {text:34s}", *(f"{chain} {row[chain]:.3f}" for chain in row), sep="  ", flush=True
            )


def average(rows: Rows, chain: str) -> dict[float, float]:
    """Level -> mean Dice of the chain, over the scans that it registered."""
    found: dict[float, list[float]] = {}
    for key, row in rows.items():
        if chain in row:
            found.setdefault(float(key.rsplit(" ", 1)[1]), []).append(row[chain])
    return {level: float(np.mean(values)) for level, values in sorted(found.items())}


def format_table(sets: dict[str, Rows]) -> str:
    """Markdown: a line per set and chain, a column per level."""
    levels = sorted({float(key.rsplit(" ", 1)[1]) for rows in sets.values() for key in rows})
    lines = [["scans", "", *(f"level {level:g}" for level in levels)], ["---"] * (2 + len(levels))]
    for name, rows in sets.items():
        for chain in STYLES:
            if means := average(rows, chain):
                cells = (f"{means[level]:.3f}" if level in means else "-" for level in levels)
                lines.append([name, chain, *cells])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def draw(sets: dict[str, Rows], path: Path) -> None:
    """Mean Dice of each chain against the level, a panel per set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(8.0, 1 + 3.6 * len(sets)), 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    for axes, (name, rows) in zip(panels, sets.items(), strict=True):
        for chain, style in STYLES.items():
            if means := average(rows, chain):
                axes.plot([DEGREES * level for level in means], list(means.values()), style, label=chain)
        axes.set_title(f"{name} ({len({key.rsplit(' ', 1)[0] for key in rows})} scans)")
        axes.grid(alpha=0.3)
    panels[0].set_ylim(0, 1)  # of all
    panels[0].set_ylabel("mean Dice on the target")
    figure.supxlabel(
        f"largest turn, degrees (with up to {SHIFT_MM:g} mm of shift and a scale of 1 +- {SCALE:g} at the end)", size=10
    )
    handles = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--set", nargs=4, action="append", required=True, dest="sets", metavar=("NAME", "MODEL", "IMAGES", "LABELS")
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.0, 0.33, 0.67, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", nargs="*", choices=tuple(OTHERS), default=["affine", "convexadam"])
    parser.add_argument("--deeds-folder", type=Path, help="holds deeds' programs, for --peers deeds")
    options = parser.parse_args(arguments)
    if "deeds" in options.peers and not options.deeds_folder:
        parser.error("--peers deeds needs --deeds-folder")
    if missing := [PACKAGES[key] for key in options.peers if key in PACKAGES and not find_version(PACKAGES[key])]:
        parser.error(f"{', '.join(missing)} is not installed; install it or choose other --peers")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "misalignment.json"
    sets = json.loads(path.read_text())["sets"] if path.exists() else {}
    for words in options.sets:
        found = sets.setdefault(words[0], {})
        run_set(words, options, found, lambda: write_json(path, describe_circumstances() | {"sets": sets}))
    rows = {name: found["rows"] for name, found in sets.items()}
    draw(rows, options.out / "misalignment.png")
    print(format_table(rows))


if __name__ == "__main__":
    main()
