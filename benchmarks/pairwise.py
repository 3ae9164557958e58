"""Any two scans: every pair of a labelled cohort registered to each other, by this project and by convexAdam.

    python benchmarks/pairwise.py --model M --images DIR --labels DIR [--limit N] [--json FILE]

The network need not know any scan of a pair. The scan whose name comes first is the fixed one; Dice is measured on its
own grid, of the labels that both have. Both tools see the same canonical frames. Prints each pair and the means.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations
from pathlib import Path

import numpy as np

from cohort import describe_circumstances, load_labelled, mean_dice
from SlicRegLib.images.preparation import prepare_scan
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.register import register
from SlicRegLib.teaching.teachers import ConvexAdamTeacher


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "images", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="only the first N pairs")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    import convexAdam.convex_adam_MIND  # noqa: F401  slow to import: not in the first pair's seconds

    model, teacher = load_model(options.model), ConvexAdamTeacher()
    cohort = list(load_labelled(options.images, options.labels))
    scans, labels = {name: scan for name, scan, _ in cohort}, {name: own for name, _, own in cohort}
    prepared = {name: prepare_scan(scan, model.preparation) for name, scan in scans.items()}
    rows = {}
    for a, b in list(combinations(scans, 2))[: options.limit]:
        row = {"initial": mean_dice(labels[a], labels[b])}
        started = time.perf_counter()
        field = teacher.register(prepared[a], prepared[b])
        row["convexAdam seconds"] = time.perf_counter() - started
        row["convexAdam"] = mean_dice(labels[a], labels[b], field)
        result = register(model, scans[a], scans[b])
        row["SlicReg seconds"] = sum(result.seconds.values())
        row["SlicReg"] = mean_dice(labels[a], labels[b], result.field)
        rows[f"{a} {b}"] = row
        print(
            f"{a:8s} {b:8s} {row['initial']:.3f}   convexAdam {row['convexAdam']:.3f}   SlicReg {row['SlicReg']:.3f}",
            flush=True,
        )
    means = {key: float(np.mean([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}
    print(f"{len(rows)} pairs: " + ", ".join(f"{key} {value:.3f}" for key, value in means.items()))
    print(f"better than convexAdam in {sum(row['SlicReg'] > row['convexAdam'] for row in rows.values())}")
    if options.json:
        options.json.write_text(json.dumps(describe_circumstances() | {"pairs": rows, "mean": means}, indent=1))


if __name__ == "__main__":
    main()
