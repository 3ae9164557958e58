"""How much accuracy a patient in another pose costs: targets rotated, shifted and scaled at random.

    python benchmarks/pose.py --model M [--template T --template-label TL] --images DIR --labels DIR
        [--rotation 25] [--shift 80] [--scale 0.85 1.15] [--seed 0] [--json FILE]

Each scan's position in the world is changed, not its voxels, so nothing is cut off: a rotation of up to --rotation
degrees about any axis, a shift of up to --shift mm along each axis, a scale. Prints the mean Dice of each scan as it is
and moved, on the template's grid. Without a template, the model's own and its labels are used.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from cohort import describe_circumstances, load_labelled
from SlicRegLib.geometry.grid import Grid, translation
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.register import register
from SlicRegLib.results.evaluate import compare
from SlicRegLib.results.labels import Labels, find_own_template


def draw_pose(
    generator: np.random.Generator, centre: np.ndarray, rotation: float, shift: float, scale: tuple[float, float]
) -> tuple[np.ndarray, str]:
    """A random 4x4 world matrix about ``centre``, and what it does in words."""
    axis = generator.normal(size=3)
    angle, size = generator.uniform(-rotation, rotation), generator.uniform(*scale)
    move = generator.uniform(-shift, shift, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = size * Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle, degrees=True).as_matrix()
    words = f"{abs(angle):4.1f} degrees, {np.linalg.norm(move):4.0f} mm, x {size:.2f}"
    return translation(centre + move) @ matrix @ translation(-centre), words


def move(volume: Volume, matrix: np.ndarray) -> Volume:
    """The same voxels at another place in the world."""
    return replace(volume, grid=Grid(volume.grid.shape, matrix @ volume.grid.affine))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "images", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("template", "template-label"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--rotation", type=float, default=25.0)
    parser.add_argument("--shift", type=float, default=80.0)
    parser.add_argument("--scale", type=float, nargs=2, default=(0.85, 1.15))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    model = load_model(options.model)
    if options.template:
        template = load_scan(options.template)
        template_labels: Labels | None = load_labels(options.template_label, template)
    else:
        template, template_labels = find_own_template(model, options.model)
    generator, rows = np.random.default_rng(options.seed), {}
    for case, target, target_labels in load_labelled(options.images, options.labels):
        matrix, words = draw_pose(generator, target.grid.centre, options.rotation, options.shift, options.scale)
        dice = []
        for pose in (np.eye(4), matrix):
            result = register(model, template, move(target, pose))
            dice.append(compare(result, template_labels, move(target_labels, pose))["after"]["mean_dice"])
        rows[case] = {"pose": words, "as it is": dice[0], "moved": dice[1]}
        print(f"{case:10s} {words:34s} {dice[0]:.3f} -> {dice[1]:.3f}", flush=True)
    means = [float(np.mean([row[key] for row in rows.values()])) for key in ("as it is", "moved")]
    print(f"mean Dice {means[0]:.3f} -> {means[1]:.3f}: {means[0] - means[1]:+.3f} lost")
    if options.json:
        options.json.write_text(
            json.dumps(describe_circumstances() | {"cases": rows, "as it is": means[0], "moved": means[1]}, indent=1)
        )


if __name__ == "__main__":
    main()
