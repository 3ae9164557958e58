"""What must not matter does not: Dice of a labelled cohort where the scans differ in nothing that a patient has.

    python Testing/reliability/invariance.py TEMPLATE TEMPLATE_LABELS IMAGES LABELS [--model M] [--scans N]
        [--changes WORD ...]

Each scan of the folder IMAGES is registered as it is, and again after each of the `CHANGES`. Prints a table: Dice after
the change, the mean and the largest difference, and how far points of the template's body are taken elsewhere. Some
seconds per registration. The file formats are compared in Testing/test_numbers.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "Testing")]

from cohort import load_labelled, mean_dice  # noqa: E402
from moved_scans import add_noise, move_origin, reorient, shift_hu  # noqa: E402
from SlicRegLib.images.preparation import prepare_scan  # noqa: E402
from SlicRegLib.images.volumes import Volume, load_labels, load_scan  # noqa: E402
from SlicRegLib.registration.model import load_model  # noqa: E402
from SlicRegLib.registration.register import register  # noqa: E402

OFFSET_MM = (5000.0, -3000.0, 2000.0)
Change = Callable[[Volume], Volume]
CHANGES: dict[str, tuple[Change, Change]] = {  # of the scan, and of its labels
    "20 HU added": (lambda scan: shift_hu(scan, 20.0), lambda labels: labels),
    "20 HU taken away": (lambda scan: shift_hu(scan, -20.0), lambda labels: labels),
    "noise of 10 HU (1 % of water's attenuation)": (lambda scan: add_noise(scan, 10.0), lambda labels: labels),
    "noise of 20 HU (2 %)": (lambda scan: add_noise(scan, 20.0), lambda labels: labels),
    "axes in another order and flipped": (lambda scan: reorient(scan, "SAL"), lambda labels: reorient(labels, "SAL")),
    "6 m away": (lambda scan: move_origin(scan, OFFSET_MM), lambda labels: move_origin(labels, OFFSET_MM)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("template", "template_labels", "images", "labels"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--model", default="headneck-openkbp")
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--changes", nargs="+", default=[""], help="only those whose name contains one of these words")
    arguments = parser.parse_args()
    changes = {name: c for name, c in CHANGES.items() if any(word in name for word in arguments.changes)}

    model, template = load_model(arguments.model), load_scan(arguments.template)
    template_labels = load_labels(arguments.template_labels, template)
    fixed = prepare_scan(template, model.preparation)
    points = fixed.grid.points()[fixed.body]
    plain: list[float] = []
    changed: dict[str, list[float]] = {name: [] for name in changes}
    moved: dict[str, list[torch.Tensor]] = {name: [] for name in changes}
    for number, (name, scan, labels) in enumerate(load_labelled(arguments.images, arguments.labels)):
        if number == arguments.scans:
            break
        result = register(model, template, scan)
        plain.append(mean_dice(template_labels, labels, result.field))
        targets = result.dense(points)
        for change, (change_scan, change_labels) in changes.items():
            again = register(model, template, change_scan(scan))
            changed[change].append(mean_dice(template_labels, change_labels(labels), again.field))
            offset = torch.tensor(change_scan(scan).grid.centre - scan.grid.centre)
            moved[change].append((again.dense(points).double() - offset - targets).norm(dim=1))
        print(
            name, f"{plain[-1]:.4f}", *(f"{values[-1]:.4f}" for values in changed.values()), file=sys.stderr, flush=True
        )

    print(f"Dice of {len(plain)} scans, {np.mean(plain):.3f} as they are ({arguments.model}).\n")
    print("| change of the scan | Dice | mean change | largest change | points moved, median | 99 % below |")
    print("|---|---|---|---|---|---|")
    for change, values in changed.items():
        difference = np.array(values) - plain
        distance = torch.cat(moved[change])[::7]
        print(
            f"| {change} | {np.mean(values):.3f} | {difference.mean():+.4f} | {np.abs(difference).max():.4f} | "
            f"{distance.median():.2f} mm | {distance.quantile(0.99):.2f} mm |"
        )


if __name__ == "__main__":
    main()
