"""What a registration makes of a CT whose values are shifted or cut off: mean Dice, as a Markdown table.

    python Testing/reliability/windows.py --model M --template T --template-label TL --images DIR --labels DIR \\
        [--scans N]

The targets are changed in memory, past the judgement of `images/hounsfield.py`, to learn what it has to refuse.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np

from SlicRegLib.images.hounsfield import judge_intensities
from SlicRegLib.images.volumes import Volume, load_labels, load_scan
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.register import register
from SlicRegLib.results.evaluate import compare


def cut(low: float, high: float):
    return lambda hu: np.clip(hu, low, high)


CHANGES = {
    "as it is": lambda hu: hu,
    "+1024, corrected": lambda hu: judge_intensities(hu + 1024).correct(hu + 1024),
    "cut at -160 and 240": cut(-160, 240),
    "cut at -1000 and 400": cut(-1000, 400),
    "cut at -1000 and 1000": cut(-1000, 1000),
    "0 where it was below -900": lambda hu: np.where(hu < -900, 0, hu),
    "+24 (1000 taken for 1024)": lambda hu: hu + 24,
    "+1024": lambda hu: hu + 1024,
    "cut at -300 and 1000": cut(-300, 1000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "template", "template-label", "images", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--scans", type=int, default=4, help="only the first N scans")
    arguments = parser.parse_args()
    model, template = load_model(arguments.model), load_scan(arguments.template)
    template_labels = load_labels(arguments.template_label, template)
    paths = list(islice(sorted(arguments.images.glob("*.nii.gz")), arguments.scans))
    print(f"| values of {len(paths)} targets | judged as | mean Dice | difference |\n|---|---|---|---|")
    first = 0.0
    for name, change in CHANGES.items():
        scores, words = [], set()
        for path in paths:
            target = load_scan(path)
            labels = load_labels(arguments.labels / path.name, target)
            changed = Volume(change(target.data).astype(np.float32), target.grid)
            judgement = judge_intensities(changed.data)
            words.add("refused" if judgement.refusal else "corrected" if judgement.corrected else "accepted")
            result = register(model, template, changed)
            scores.append(compare(result, template_labels, labels)["after"]["mean_dice"])
        mean = float(np.mean(scores))
        first = first or mean
        print(f"| {name} | {', '.join(sorted(words))} | {mean:.4f} | {mean - first:+.4f} |", flush=True)


if __name__ == "__main__":
    main()
