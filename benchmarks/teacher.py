"""The teacher's own Dice on a labelled cohort: what the student learns from, measured the same way.

    python benchmarks/teacher.py --template T --template-label TL --images DIR --labels DIR [--affine-first]

convexAdam registers each scan in the canonical frames that training uses (template as fixed scan), and the scan's
labels are carried to the template's own grid as `slicreg evaluate` does.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from cohort import labelled
from SlicRegLib.evaluation import compare
from SlicRegLib.preparation import PreparationOptions, fit_shape
from SlicRegLib.registration import Registration, prepare_scan
from SlicRegLib.supervision import ConvexAdamTeacher
from SlicRegLib.volumes import load_labels, load_scan


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("template", "template-label", "images", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--affine-first", action="store_true")
    options = parser.parse_args()
    template = load_scan(options.template)
    template_labels = load_labels(options.template_label, template)
    preparation = replace(PreparationOptions(), shape=fit_shape(template, PreparationOptions()))
    fixed = prepare_scan(template, preparation)
    teacher = ConvexAdamTeacher(affine_first=options.affine_first)
    rows = []
    for name, target, target_labels in labelled(options.images, options.labels):
        moving = prepare_scan(target, preparation)
        started = time.perf_counter()
        field = teacher.register(fixed, moving)
        seconds = time.perf_counter() - started
        result = compare(Registration(template, target, field, {}, False), template_labels, target_labels)
        rows.append((result["before"]["mean_dice"], result["after"]["mean_dice"], result["after"]["mean_hd95_mm"] or float("nan"),
                     result["after"]["folding_percent"], seconds))
        print(f"{name:12s} Dice {rows[-1][0]:.3f} -> {rows[-1][1]:.3f}, HD95 {rows[-1][2]:.1f} mm, folding {rows[-1][3]:.2f} %, {seconds:.1f} s")
    print("mean         Dice {:.3f} -> {:.3f}, HD95 {:.1f} mm, folding {:.2f} %, {:.1f} s".format(*np.nanmean(rows, 0)))


if __name__ == "__main__":
    main()
