"""What the verdict of a registration is worth: pairs that are known to be good or wrong, and what it says of them.

    python benchmarks/verdict.py --shared DIR --models DIR --out rows.jsonl [--pairs 100] [--threads 1]
    python benchmarks/verdict.py --out rows.jsonl --report      # only the tables

`verdict_pairs.py` makes the pairs. Each result is a line of the output file, with all figures; what is there already is
not done again, and several processes may share the work. What counts as true: pairs that are wrong by construction are
wrong. The scans of a short field of view are good, by a look at their bones: their labels were not drawn on them. All
others are good if they were registered: mean Dice above 0.5, or above 0.3 for half a body, whose organs are cut. They
are wrong if it is below 0.2. Those between are "open" and not counted, as are pairs without labels that nothing else
tells. A scan that is refused counts as failed.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from cohort import mean_dice
from SlicRegLib.errors import UserError
from SlicRegLib.network.networks import build
from SlicRegLib.registration.model import Model, load_model
from SlicRegLib.registration.register import register
from SlicRegLib.registration.verdict import WORDS, judge
from verdict_pairs import PARTS, Pair, all_pairs

FILES = {"head": "headneck-openkbp.slicreg", "trunk": "trunk-phantom.slicreg"}
REGISTERED, REGISTERED_PART, LOST = 0.5, 0.3, 0.2
"""Mean Dice: above the first (second for parts) a result is good, below the third it is wrong."""


def read_rows(out: Path) -> list[dict[str, Any]]:
    """The results so far; a line that a killed process left unfinished is not one."""
    rows = []
    for line in out.read_text().splitlines() if out.exists() else ():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


@contextmanager
def claim(out: Path, name: str) -> Iterator[bool]:
    """Whether this process is to do the pair inside the block: no other one is at it, and it is not done.

    The claim is a lock, which the system releases when its process ends, however that happens.
    """
    folder = out.with_suffix(".claims")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / name.replace("/", "_"), timeout=0):
            yield all(row["name"] != name for row in read_rows(out))
    except Timeout:
        yield False


def read_model(folder: Path, name: str) -> Model:
    """ "head", "trunk", or "untrained head": the same model with random weights."""
    model = load_model(folder / FILES[name.split()[-1]])
    if not name.startswith("untrained"):
        return model
    torch.manual_seed(1)
    return replace(model, net=build(model.net.options).eval().requires_grad_(False), key_points=None)


def measure(pair: Pair, model: Model) -> dict[str, Any]:
    """The row of a pair: what it is, Dice, the verdict and the figures behind it."""
    row: dict[str, Any] = {key: getattr(pair, key) for key in ("name", "model", "kind", "truth", "split")}
    (template, template_labels), (target, target_labels) = pair.fixed(), pair.moving()
    try:
        result = register(model, template, target)
    except UserError as error:
        return row | {"word": "failed", "sentence": str(error), "refused": True}
    row |= asdict(judge(model, result)) | {
        "stretches": result.common.stretches,
        "mirror_advantage": result.common.mirror_advantage,
    }
    if template_labels and target_labels:
        row["dice"] = mean_dice(template_labels, target_labels, result.field)
    return row


def truth(row: dict[str, Any]) -> str:
    """ "good", "wrong" or "open"."""
    if row["truth"] == "wrong":
        return "wrong"
    if row["kind"] == "partial view":
        return "good"
    overlap = row.get("dice")
    if overlap is None or np.isnan(overlap):
        return "open"
    enough = REGISTERED_PART if row["kind"] in PARTS else REGISTERED
    return "good" if overlap > enough else "wrong" if overlap < LOST else "open"


def tabulate(rows: list[dict[str, Any]], key: Callable[[dict[str, Any]], str], title: str) -> str:
    """A Markdown table: for each group its truth, and how often each word was said."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        groups[truth(row), key(row)].append(row["word"])
    lines = [f"| truth | {title} | n | {' | '.join(WORDS)} |", "|---|---|---|---|---|---|"]
    for (known, group), words in sorted(groups.items()):
        counts = " | ".join(str(words.count(word)) for word in WORDS)
        lines.append(f"| {known} | {group} | {len(words)} | {counts} |")
    return "\n".join(lines)


def summarise(rows: list[dict[str, Any]]) -> str:
    """Sensitivity (wrong pairs that are not called good) and specificity (good pairs that are not called failed)."""
    lines = [
        "| pairs | wrong: not called good | called failed | good: not called failed | called good |",
        "|---" * 5 + "|",
    ]
    parts = {
        "to find the limits": [row for row in rows if row["split"] == "fit"],
        "to test them": [row for row in rows if row["split"] == "test"],
    }
    for name, part in parts.items():
        for mirrored in (False, True):
            kept = [row for row in part if ("mirrored" in row["kind"]) is mirrored]
            wrong, good = ([row["word"] for row in kept if truth(row) == word] for word in ("wrong", "good"))
            cells = [_share(wrong, "doubtful", "failed"), _share(wrong, "failed")]
            cells += [_share(good, "good", "doubtful"), _share(good, "good")]
            lines.append(f"| {name}{', mirrored' if mirrored else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(words: list[str], *counted: str) -> str:
    number = sum(word in counted for word in words)
    return f"{number} of {len(words)} ({number / len(words):.0%})" if words else "-"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, help="folder with openkbp, trunk and abdomen")
    parser.add_argument("--models", type=Path, help="folder with the bundled models")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, help="only so many")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if not options.report:
        models: dict[str, Model] = {}
        for pair in list(all_pairs(options.shared))[: options.pairs]:
            with claim(options.out, pair.name) as is_ours:
                if not is_ours:
                    continue
                if pair.model not in models:
                    models[pair.model] = read_model(options.models, pair.model)
                row = measure(pair, models[pair.model])
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{row['word']:9s} {row.get('dice', float('nan')):.3f} {pair.name}", flush=True)
    rows = read_rows(options.out)
    print(tabulate(rows, lambda row: row["kind"], "kind of pair"))
    print(summarise(rows))


if __name__ == "__main__":
    main()
