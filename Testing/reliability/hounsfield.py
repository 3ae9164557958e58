"""What is recognised of CT scans that are stored in other ways, and of images that are no CT: a Markdown table.

    python Testing/reliability/hounsfield.py FOLDER [FOLDER ...] [--every N]

Every scan of the folders (searched through; label maps are passed over) must be a CT in Hounsfield units. It is changed
in each way of `CONDITIONS` and judged. Prints what was accepted, corrected and refused; exit code 1 if a CT in
Hounsfield units was refused or corrected, or if anything that is not was accepted.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reliability.ct_changes import CHANGED, CT, SHIFTED, Change
from reliability.other_images import OTHER
from SlicRegLib.errors import UserError
from SlicRegLib.images.hounsfield import judge_intensities
from SlicRegLib.images.volumes import load_scan

CONDITIONS: tuple[tuple[str, str, dict[str, Change]], ...] = (
    ("CT in HU", "accepted", CT),
    ("CT, certain offset", "corrected", SHIFTED),
    ("CT, changed", "refused", CHANGED),
    ("no CT", "refused", OTHER),
)


def judge(voxels: np.ndarray) -> tuple[str, str]:
    """accepted, corrected or refused; and the sentence."""
    judgement = judge_intensities(np.asarray(voxels, np.float32))
    if judgement.refusal:
        return "refused", judgement.refusal
    return ("corrected" if judgement.corrected else "accepted"), judgement.note


def find_scans(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*.n*")):
            if "label" not in str(path) and "seg" not in path.name:
                yield path


def cut_rims(hu: np.ndarray, kept: int = 8) -> np.ndarray:
    """Without the outer planes that show no body, but for some: less to compute."""
    body = ndimage.find_objects((ndimage.binary_opening(hu > -300)).astype(int))[0]
    return hu[tuple(slice(max(0, part.start - kept), part.stop + kept) for part in body)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every N-th scan")
    parser.add_argument("--verbose", action="store_true", help="also print each unexpected case, and sentences")
    arguments = parser.parse_args()
    found: dict[tuple[str, str], Counter[str]] = {}
    sentences: dict[str, Counter[str]] = {}
    for number, path in enumerate(list(find_scans(arguments.folders))[:: arguments.every]):
        try:
            hu = cut_rims(np.round(load_scan(path).data))
        except UserError as error:
            print(error, file=sys.stderr)
            continue
        for kind, expected, changes in CONDITIONS:
            for name, change in changes.items():
                voxels = change(hu, np.random.default_rng(number))
                if voxels is None:
                    continue
                verdict, sentence = judge(voxels)
                found.setdefault((kind, name), Counter())[verdict] += 1
                sentences.setdefault(name, Counter())[sentence[:60]] += 1
                if arguments.verbose and verdict != expected:
                    print(f"{path.name}: {name}: {verdict}, not {expected}: {sentence}", file=sys.stderr)
    bad = 0
    print("| what | condition | tried | accepted | corrected | refused |\n|---|---|---|---|---|---|")
    for kind, expected, changes in CONDITIONS:
        for name in changes:
            counts = found.get((kind, name), Counter())
            bad += counts.total() - counts["accepted"] if expected == "accepted" else counts["accepted"]
            figures = " | ".join(str(counts[word]) for word in ("accepted", "corrected", "refused"))
            print(f"| {kind} | {name} | {counts.total()} | {figures} |")
            if arguments.verbose:
                print("   ", dict(sentences[name].most_common(3)) if name in sentences else "")
    print(f"\n{bad} wrong of {sum(counts.total() for counts in found.values())}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
