"""Does the confidence map say where a registration is wrong? Rank correlation with what is known.

    python benchmarks/confidence.py --phantom-model P [--phantoms 6] [--model M --template T --template-label TL --images DIR
        --labels DIR] [--json FILE]

Phantoms: at each voxel of the body, the confidence against the distance between where the field leads and where the same
place of the anatomy truly is (pose, size and warp of the body; organs also move by up to 4 mm of their own, which counts as
error here). Scans: the mean confidence over each organ of the template against the organ's Dice; over all organs of all
scans, and scan by scan. Spearman's rho; a good map has negative ones for distances and positive ones for Dice.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from cohort import circumstances, labelled
from scipy.stats import spearmanr

from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.network.options import STRIDE
from SlicRegLib.phantoms.phantom import make_phantom
from SlicRegLib.registration.confidence import compute_overlays
from SlicRegLib.registration.model import Model, load_model
from SlicRegLib.registration.register import register
from SlicRegLib.results.evaluate import compare


def phantom_rows(bundle: Model, count: int) -> list[dict]:
    """Held-out phantoms registered to phantom 0: rho between confidence and error over the body's voxels."""
    template, rows = make_phantom(0), []
    fixed = Volume(template.image, Grid(template.image.shape, template.affine))
    for seed in range(1001, 1001 + count):
        subject = make_phantom(seed)
        moving = Volume(subject.image, Grid(subject.image.shape, subject.affine))
        result = register(bundle, fixed, moving)
        confidence = compute_overlays(bundle, result).confidence
        body = prepare_scan(fixed, bundle.preparation).region[::STRIDE, ::STRIDE, ::STRIDE]
        points = confidence.grid.points()[body]
        reached = result.field(points)
        seen = inside(fixed.grid, points) & inside(moving.grid, reached)
        wanted, found = (
            sample(torch.from_numpy(p.places), v.grid, x[seen])
            for p, v, x in ((template, fixed, points), (subject, moving, reached))
        )
        error = (found - wanted).norm(dim=0).numpy()
        sure = confidence.data[body.numpy()][seen.numpy()]
        least = error[sure <= np.quantile(sure, 0.1)].mean()
        rows.append(
            {
                "seed": seed,
                "rho": float(spearmanr(sure, error).statistic),
                "error_mm": float(error.mean()),
                "error_of_the_least_sure_tenth_mm": float(least),
            }
        )
        print(
            "phantom {seed}: rho {rho:.2f}; error {error_mm:.1f} mm, of the least sure tenth "
            "{error_of_the_least_sure_tenth_mm:.1f} mm".format(**rows[-1]),
            flush=True,
        )
    return rows


def inside(grid: Grid, points: torch.Tensor) -> torch.Tensor:
    voxel = grid.to_voxel(points)
    return ((voxel >= 0) & (voxel <= torch.tensor(grid.shape) - 1)).all(-1)


def scan_rows(bundle: Model, template: Volume, template_labels: Volume, images: Path, labels: Path) -> list[dict]:
    """Per scan: the mean confidence of each organ of the template and the organ's Dice."""
    rows = []
    for name, target, target_labels in labelled(images, labels):
        result = register(bundle, template, target)
        dice = compare(result, template_labels, target_labels)["after"]["dice"]
        confidence = compute_overlays(bundle, result).confidence
        on_template = sample(confidence.tensor, confidence.grid, template_labels.grid.points())[0].numpy()
        sure = {value: float(on_template[template_labels.data == int(value)].mean()) for value in dice}
        rows.append({"name": name, "dice": dice, "confidence": sure})
        rho = spearmanr(list(sure.values()), list(dice.values())).statistic
        print(
            f"{name}: mean confidence {np.mean(list(sure.values())):.3f}, mean Dice {np.mean(list(dice.values())):.3f}, "
            f"rho over its organs {rho:.2f}",
            flush=True,
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phantom-model", type=Path, required=True)
    parser.add_argument("--phantoms", type=int, default=6)
    for name in ("model", "template", "template-label", "images", "labels", "json"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    rows = phantom_rows(load_model(options.phantom_model), options.phantoms)
    results = {"phantoms": rows, "rho": float(np.mean([row["rho"] for row in rows]))}
    print(f"phantoms: rho between confidence and error {results['rho']:.2f}")
    if options.model:
        template = load_scan(options.template)
        rows = scan_rows(
            load_model(options.model),
            template,
            load_labels(options.template_label, template),
            options.images,
            options.labels,
        )
        pairs = np.array([(row["confidence"][v], row["dice"][v]) for row in rows for v in row["dice"]])
        means = np.array([[np.mean(list(row[key].values())) for key in ("confidence", "dice")] for row in rows])
        results |= {
            "scans": rows,
            "rho_organs": float(spearmanr(*pairs.T).statistic),
            "rho_scans": float(spearmanr(*means.T).statistic),
        }
        print(
            f"scans: rho between confidence and Dice {results['rho_organs']:.2f} over {len(pairs)} organs, "
            f"{results['rho_scans']:.2f} over {len(means)} scans' means"
        )
    if options.json:
        options.json.write_text(json.dumps(circumstances() | results, indent=1).replace("NaN", "null"))


if __name__ == "__main__":
    main()
