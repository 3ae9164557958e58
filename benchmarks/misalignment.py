"""What supervoxels are worth: mean Dice against the size of the misalignment with which a target comes.

    python benchmarks/misalignment.py --model M --images DIR --labels DIR --out FOLDER
        [--levels 0 0.33 0.67 1] [--seed 0]

Each target is moved as `pose.py` moves it, by up to 45 degrees about a random axis, 80 mm along each world axis and a
scale from 0.6 to 1.4, all times the level. It is registered to the model's own template by:

    refinement alone       from the centres of mass, without a network
    affine, refined        the supervoxels' affine map, then the refinement
    whole chain, refined   the affine map, the alignment of key points, the spline, then the refinement
    published              the method of the paper: no refinement

Dice is measured on the target's own grid. Writes misalignment.json and misalignment.png into --out, case by case, and
goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cohort import describe_circumstances, load_labelled
from pose import draw_pose, move
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.grid import translation
from SlicRegLib.geometry.inverse import invert
from SlicRegLib.images.files import write_json
from SlicRegLib.images.preparation import PreparedScan
from SlicRegLib.images.volumes import Volume
from SlicRegLib.progress import silent
from SlicRegLib.registration.fixed_side import FixedSide
from SlicRegLib.registration.image_features import CELL
from SlicRegLib.registration.model import Model, load_model
from SlicRegLib.registration.moving_side import prepare_target, see_target
from SlicRegLib.registration.options import MODES, RegistrationOptions
from SlicRegLib.registration.register import Stopwatch, align_key_points, refine_and_unfold, register
from SlicRegLib.results.labels import find_own_template
from SlicRegLib.results.metrics import dice

DEGREES, SHIFT_MM, SCALE = 45.0, 80.0, 0.4
"""Largest turn, shift and change of size, at level 1."""
CHAINS = ("refinement alone", "affine, refined", "whole chain, refined", "published")
DEFAULT, PUBLISHED = RegistrationOptions(), MODES["published"]
CPU = torch.device("cpu")


class Chains:
    """The ways to register a scan to a model's own template."""

    def __init__(self, model: Model, template: Volume):
        self.model, self.template = model, template
        self.fixed, self.published = (FixedSide(model, template, options) for options in (DEFAULT, PUBLISHED))

    def register(self, target: Volume) -> dict[str, DisplacementField]:
        """Chain -> the field from the target to the template."""
        fixed, prepared = self.fixed, prepare_target(target, self.model)
        seen, clock = see_target(fixed, target, prepared), Stopwatch(silent)
        aligned = align_key_points(self.model.network(CPU), seen.encoded, seen.affine, fixed, clock, DEFAULT)
        centres = translation(prepared.grid.centre - fixed.scan.grid.centre)
        published = register(self.model, self.template, target, PUBLISHED, fixed=self.published)
        return {
            "refinement alone": self._refine(centres, prepared),
            "affine, refined": self._refine(seen.affine, seen.encoded.scan),
            "whole chain, refined": self._refine(aligned, seen.encoded.scan),
            "published": published.inverse,
        }

    def _refine(self, start: DisplacementField | np.ndarray, scan: PreparedScan) -> DisplacementField:
        compared, clock = self.fixed.compared, Stopwatch(silent)
        dense, backward = refine_and_unfold([start], self.fixed.scan, scan, clock, DEFAULT, CPU, compared)
        return backward or invert(dense, scan.grid.pooled(CELL))


def draw(rows: dict[str, dict[str, float]], path: Path) -> None:
    """Mean Dice of each chain against the level."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    levels = sorted({float(key.split()[-1]) for key in rows})
    for chain in CHAINS:
        means = [np.mean([row[chain] for key, row in rows.items() if float(key.split()[-1]) == n]) for n in levels]
        style = "o--" if chain.startswith("whole") else "o-"  # it lies on the affine map's
        axes.plot([DEGREES * n for n in levels], means, style, label=chain)
    axes.set_xlabel(
        f"largest turn, degrees (with up to {SHIFT_MM:g} mm of shift and a scale of 1 +- {SCALE:g} at the end)"
    )
    axes.set_ylabel("mean Dice on the target")
    axes.set_ylim(0, None)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "images", "labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.0, 0.33, 0.67, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "misalignment.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    model = load_model(options.model)
    template, consensus = find_own_template(model, options.model)
    chains, generator = Chains(model, template), np.random.default_rng(options.seed)
    for case, target, labels in load_labelled(options.images, options.labels):
        seed = int(generator.integers(1 << 31))  # one direction for each scan, the same at all levels
        for level in options.levels:
            if f"{case} {level}" in rows:
                continue
            scale = (1 - SCALE * level, 1 + SCALE * level)
            matrix, words = draw_pose(
                np.random.default_rng(seed), target.grid.centre, DEGREES * level, SHIFT_MM * level, scale
            )
            moved, row = move(target, matrix), {}
            for chain, field in chains.register(moved).items():
                found = consensus.on(moved.grid, field).data
                values = [organ.value for organ in consensus.organs if (labels.data == organ.value).any()]
                row[chain] = float(np.mean([dice(found == value, labels.data == value) for value in values]))
            rows[f"{case} {level}"] = row
            print(f"{case:10s} {words:34s}", *(f"{chain} {row[chain]:.3f}" for chain in CHAINS), sep="  ", flush=True)
            write_json(path, describe_circumstances() | {"rows": rows})
    draw(rows, options.out / "misalignment.png")
    for level in options.levels:
        at = [row for key, row in rows.items() if float(key.split()[-1]) == level]
        print(
            f"level {level:g}:", *(f"{chain} {np.mean([row[chain] for row in at]):.3f}" for chain in CHAINS), sep="  "
        )


if __name__ == "__main__":
    main()
