"""Does the confidence map say where a registration is wrong? Rank correlation with what is known.

    python benchmarks/confidence.py --phantom-model P [--phantoms 6] [--json FILE]
        [--model M --template T --template-label TL --images DIR --labels DIR]

Phantoms: at each voxel of the body, the confidence against the distance between where the field leads and where the
same place of the anatomy truly is. (Truth are pose, size and warp of the body; organs also move by up to 4 mm of their
own, which counts as error here.) Scans: the mean confidence over each organ of the template against the organ's Dice,
over all organs of all scans, and scan by scan. Figures are Spearman's rho; a good map has negative ones for distances
and positive ones for Dice.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from cohort import describe_circumstances, is_inside, load_labelled
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.geometry.sampling import sample
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.network.options import STRIDE
from SlicRegLib.phantoms.phantom import make_phantom
from SlicRegLib.registration.confidence import compute_overlays
from SlicRegLib.registration.model import Model, load_model
from SlicRegLib.registration.register import register
from SlicRegLib.results.evaluate import compare


def measure_phantoms(model: Model, count: int) -> list[dict]:
    """Held-out phantoms registered to phantom 0: rho between confidence and error over the body's voxels."""
    template, rows = make_phantom(0), []
    fixed = Volume(template.image, Grid(template.image.shape, template.affine))
    for seed in range(1001, 1001 + count):
        subject = make_phantom(seed)
        moving = Volume(subject.image, Grid(subject.image.shape, subject.affine))
        result = register(model, fixed, moving)
        confidence = compute_overlays(model, result).confidence
        body = result.views.fixed.region[::STRIDE, ::STRIDE, ::STRIDE]
        points = confidence.grid.points()[body]
        reached = result.field(points)
        in_both = is_inside(fixed.grid, points) & is_inside(moving.grid, reached)
        place_of_fixed, place_of_moving = (
            sample(torch.from_numpy(phantom.places), scan.grid, x[in_both])
            for phantom, scan, x in ((template, fixed, points), (subject, moving, reached))
        )
        error = (place_of_moving - place_of_fixed).norm(dim=0).numpy()
        values = confidence.data[body.numpy()][in_both.numpy()]
        worst = error[values <= np.quantile(values, 0.1)].mean()
        rho = float(spearmanr(values, error).statistic)
        rows.append(
            {
                "seed": seed,
                "rho": rho,
                "error_mm": float(error.mean()),
                "error_of_the_least_confident_tenth_mm": float(worst),
            }
        )
        print(
            f"phantom {seed}: rho {rho:.2f}; error {error.mean():.1f} mm, of the least confident tenth {worst:.1f} mm",
            flush=True,
        )
    return rows


def measure_scans(model: Model, template: Volume, template_labels: Volume, images: Path, labels: Path) -> list[dict]:
    """Per scan: the mean confidence of each organ of the template and the organ's Dice."""
    rows = []
    for name, target, target_labels in load_labelled(images, labels):
        result = register(model, template, target)
        dice = compare(result, template_labels, target_labels)["after"]["dice"]
        confidence = compute_overlays(model, result).confidence
        on_template = sample(confidence.tensor, confidence.grid, template_labels.grid.points())[0].numpy()
        per_organ = {value: float(on_template[template_labels.data == int(value)].mean()) for value in dice}
        rows.append({"name": name, "dice": dice, "confidence": per_organ})
        values, overlaps = list(per_organ.values()), list(dice.values())
        print(
            f"{name}: mean confidence {np.mean(values):.3f}, mean Dice {np.mean(overlaps):.3f}, "
            f"rho over its organs {spearmanr(values, overlaps).statistic:.2f}",
            flush=True,
        )
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phantom-model", type=Path, required=True)
    parser.add_argument("--phantoms", type=int, default=6)
    for name in ("model", "template", "template-label", "images", "labels", "json"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args(arguments)
    rows = measure_phantoms(load_model(options.phantom_model), options.phantoms)
    results = {"phantoms": rows, "rho": float(np.mean([row["rho"] for row in rows]))}
    print(f"phantoms: rho between confidence and error {results['rho']:.2f}")
    if options.model:
        template = load_scan(options.template)
        rows = measure_scans(
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
        options.json.write_text(json.dumps(describe_circumstances() | results, indent=1).replace("NaN", "null"))


if __name__ == "__main__":
    main()
