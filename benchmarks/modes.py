"""What the modes of a registration cost and gain: mean Dice and seconds of each, on the same scans in turn.

    python benchmarks/modes.py --model M --template T --template-label TL --images DIR --labels DIR
        [--threads 1] [--json FILE]

Seconds are those of the processor, so that other programs on the machine change them little; with one thread they are
the time that a free core needs. What the template's side costs is left out: it is kept, as in a batch.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from cohort import describe_circumstances, load_labelled
from SlicRegLib.images.volumes import load_labels, load_scan
from SlicRegLib.registration.fixed_side import FixedSide
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.options import MODES
from SlicRegLib.registration.register import register
from SlicRegLib.results.evaluate import compare


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a file, or the name of a bundled model")
    for name in ("template", "template-label", "images", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model, template = load_model(options.model), load_scan(options.template)
    template_labels = load_labels(options.template_label, template)
    sides = {mode: FixedSide(model, template, given) for mode, given in MODES.items()}
    rows: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
    for case, target, target_labels in load_labelled(options.images, options.labels):
        for mode, given in MODES.items():
            start = time.process_time()
            result = register(model, template, target, given, fixed=sides[mode])
            seconds = time.process_time() - start
            rows[mode].append((compare(result, template_labels, target_labels)["after"]["mean_dice"], seconds))
            print(f"{case:10s} {mode:10s} Dice {rows[mode][-1][0]:.3f}, {seconds:5.1f} s", flush=True)
    print("\n| mode | Dice | seconds |\n|---|---|---|")
    for mode, figures in rows.items():
        dice, seconds = np.mean(figures, axis=0)
        print(f"| `{mode}` | {dice:.3f} | {seconds:.1f} |")
    if options.json:
        options.json.write_text(json.dumps(describe_circumstances() | {"modes": rows}, indent=1))


if __name__ == "__main__":
    main()
