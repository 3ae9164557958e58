"""Scans that show only a part of the template: mean Dice of labels and Dice of bone.

    python benchmarks/partial_views.py --model M --template T --template-label TL --images DIR --labels DIR

For each scan, before (in world coordinates) and after registration: mean Dice of its labels, and the Dice of bone
(above 200 HU) of template and target within what the target shows of the body, both on the template's grid. Then the
largest share of an organ's voxels that are air (below -500 HU) by the scan's own labels, the larynx and the esophagus
left out (--hollow): if that is not about zero, the labels were not drawn on this image, and only bone is a measure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from cohort import describe_circumstances, load_labelled, mean_dice
from SlicRegLib.geometry.field import DisplacementField
from SlicRegLib.geometry.resampling import resample
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.register import register
from SlicRegLib.results.metrics import dice

BONE_HU, BODY_HU, OUTSIDE_HU = 200, -500, -3000.0


def bone_overlap(template: Volume, target: Volume, field: DisplacementField | None = None) -> float:
    """Dice of the bone of both within what the target shows of the body, on the template's grid."""
    hu = resample(target.tensor, target.grid, template.grid, field, fill=OUTSIDE_HU)[0].numpy()
    shown = hu > BODY_HU
    return dice((template.data > BONE_HU) & shown, hu > BONE_HU)


def air_share(scan: Volume, labels: Volume, hollow: list[int]) -> float:
    """The largest share of a label's voxels that are air, over all labels but the ``hollow`` ones."""
    return max(
        float((scan.data[labels.data == value] < BODY_HU).mean())
        for value in set(np.unique(labels.data)) - {0, *hollow}
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "template", "template-label", "images", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument(
        "--hollow", type=lambda text: [int(v) for v in text.split(",")], default=[5, 6], help="labels that hold air"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    model, template = load_model(options.model), load_scan(options.template)
    labels = load_labels(options.template_label, template)
    rows = {}
    for name, target, own in load_labelled(options.images, options.labels):
        result = register(model, template, target)
        rows[name] = row = {
            "dice": [mean_dice(labels, own), mean_dice(labels, own, result.field)],
            "bone": [bone_overlap(template, target), bone_overlap(template, target, result.field)],
            "air in organs": air_share(target, own, options.hollow),
            "folding percent": result.folding_percent,
            "seconds": sum(result.seconds.values()),
        }
        print(
            f"{name:10s} labels {row['dice'][0]:.3f} -> {row['dice'][1]:.3f}   "
            f"bone {row['bone'][0]:.3f} -> {row['bone'][1]:.3f}   air in organs {row['air in organs']:.2f}   "
            f"folding {row['folding percent']:.2f} %   {row['seconds']:.1f} s",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(describe_circumstances() | {"scans": rows}, indent=1))


if __name__ == "__main__":
    main()
