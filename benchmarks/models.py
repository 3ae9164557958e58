"""Which model the automatic choice takes, and where it says that none knows the anatomy.

    python benchmarks/models.py --shared DIR [--models DIR] [--threads 2]

For scans of known kinds: the share of its supervoxels that each bundled model finds, as `choose_model` measures it.
Two scans are registered with the model that finds most in both; so a kind of scan is told from another one if the
shares of its own model lie above `KNOWN`, and those of every other model below. Legs are made of cylinders: skin,
muscle, bone and a knee. "MR" is a CT whose tissues have other values, so that its shapes are those of the body part
all the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from SlicRegLib import MODELS
from SlicRegLib.errors import UserError
from SlicRegLib.geometry.grid import Grid
from SlicRegLib.images.files import list_images
from SlicRegLib.images.volumes import Volume, load_scan
from SlicRegLib.registration.choose_model import KNOWN, known_share
from SlicRegLib.registration.fixed_side import FixedSide
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.moving_side import view_target
from verdict_pairs import PARTS, WRONG_GEOMETRY, changed, edit_voxels, files, phantom, pose, smooth_noise, water_box

Read = Callable[[], Volume]
HEAD, TRUNK = "headneck-openkbp", "trunk-phantom"


def make_legs(seed: int) -> Volume:
    """Two thighs and knees."""
    generator, spacing = np.random.default_rng(seed), 3.5
    x, y, z = (n * spacing for n in np.indices((100, 60, 130)))
    hu = np.full(x.shape, -1000.0)
    for side in (-1, 1):
        centre = x.max() / 2 + side * (85 + generator.uniform(-10, 10))
        radius = (62 + generator.uniform(-8, 8)) * (0.9 + 0.2 * z / z.max())
        leg, bone = np.hypot(x - centre, y - y.max() / 2), np.hypot(x - centre - 5 * side, y - y.max() / 2 - 3)
        knee = (leg < 38) & (np.abs(z - z.max() * (0.45 + generator.uniform(-0.05, 0.05))) < 40)
        for where, value in ((leg < radius, -100), (leg < radius - 12, 55), (bone < 14, 1100), (bone < 7, -50)):
            hu[where] = value
        hu[knee] = 500
    hu += 15 * generator.normal(size=hu.shape)
    return Volume(hu.astype(np.float32), Grid(hu.shape, np.diag([spacing, spacing, spacing, 1.0])))


def look_like_mr(hu: np.ndarray) -> np.ndarray:
    """Other values for fat, water, soft tissue and bone."""
    limits = (-400, -30, 0, 20, 45, 80, 150)
    return np.select([hu < limit for limit in limits], (-1000, 300, 150, 90, 160, 120, 200), -700)


def list_kinds(shared: Path) -> Iterator[tuple[str, str, list[Read]]]:
    """(kind, the model that knows it or "", scans)."""

    def scans(*folders: str) -> list[Callable]:
        return [files(path) for folder in folders for path in list_images(shared / folder)]

    heads, phantoms = scans("openkbp/val/img"), [phantom(n) for n in range(3001, 3011)]
    trunks = [*scans("trunk"), files(shared / "abdomen" / "example_ct.nii.gz")]
    yield "head and neck", HEAD, _only_scans([*heads, *scans("openkbp/train/img")[:10]])
    yield "a part of the neck", HEAD, _only_scans(scans("openkbp/partial_view/img"))
    yield "head and neck, turned, shifted, scaled", HEAD, _only_scans(pose(n)(one) for n, one in enumerate(heads[:6]))
    yield "half of head and neck", HEAD, _only_scans(changed(one, part) for one in heads[:4] for part in PARTS.values())
    yield "synthetic trunk", TRUNK, _only_scans(phantoms)
    turned = [pose(n)(one) for n, one in enumerate(phantoms[:6])]
    yield "synthetic trunk, turned, shifted, scaled", TRUNK, _only_scans(turned)
    yield (
        "half of a synthetic trunk",
        TRUNK,
        _only_scans(changed(p, part) for p in phantoms[:4] for part in PARTS.values()),
    )
    yield "real chest and abdomen", TRUNK, _only_scans(trunks)
    yield "half of a real trunk", TRUNK, _only_scans(changed(one, part) for one in trunks for part in PARTS.values())
    yield "legs", "", [lambda seed=seed: make_legs(seed) for seed in range(4)]
    yield "blobs", "", _only_scans(edit_voxels(smooth_noise)(one) for one in heads[:3])
    yield "box of water", "", _only_scans(edit_voxels(water_box)(one) for one in heads[:3])
    for name in ("upside down", "axes i and k swapped", "spacing x 2"):
        change = WRONG_GEOMETRY[name]
        yield f"head and neck, {name}", "", _only_scans(changed(one, change) for one in heads[:3])
    for name, group in (("head and neck", heads[:4]), ("synthetic trunk", phantoms[:4]), ("real trunk", trunks)):
        yield f'{name}, "MR"', "", _only_scans(edit_voxels(look_like_mr)(one) for one in group)


def _only_scans(read: Iterator[Callable] | list[Callable]) -> list[Read]:
    """Without the labels."""
    return [lambda one=one: one()[0] for one in read]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder with openkbp, trunk and abdomen")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder with the bundled models")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = {name: load_model(options.models / f"{name}.slicreg") for name in (HEAD, TRUNK)}
    template = load_scan(options.shared / "openkbp" / "template" / "img" / "pt_112.nii.gz")
    fixed = {HEAD: FixedSide(models[HEAD], template), TRUNK: FixedSide(models[TRUNK], phantom(0)()[0])}
    print(f"| scans | n | {' | '.join(models)} | right | refused |\n|---|---|---|---|---|---|", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for kind, own, scans in list_kinds(options.shared):
        shares: list[dict[str, float]] = []
        for read in scans:
            scan, found = read(), {}
            try:
                for name, side in fixed.items():
                    began = time.perf_counter()
                    found[name] = known_share(side, view_target(side, scan))
                    seconds[name].append(time.perf_counter() - began)
                shares.append(found)
            except UserError:  # refused before any model sees it
                shares.append(dict.fromkeys(models, 0.0))
        ranges = [f"{min(s[m] for s in shares):.2f} to {max(s[m] for s in shares):.2f}" for m in models]
        taken = [max(found, key=found.__getitem__) if max(found.values()) >= KNOWN else "" for found in shares]
        print(f"| {kind} | {len(shares)} | {' | '.join(ranges)} | {taken.count(own)} | {taken.count('')} |", flush=True)
    print({name: f"median {np.median(each):.2f} s, at most {max(each):.2f} s" for name, each in seconds.items()})


if __name__ == "__main__":
    main()
