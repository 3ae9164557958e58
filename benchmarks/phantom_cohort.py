"""Phantoms of the trunk that differ more from each other than the demo's, as a labelled cohort.

    python benchmarks/phantom_cohort.py --out FOLDER [--scans 5] [--first 200] [--differences 2]

Writes img/phantom_N.nii.gz and label/phantom_N.nii.gz. ``--differences`` multiplies how much phantoms differ in size,
shape, and the size and place of their organs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from SlicRegLib.cli.demo import write_phantom
from SlicRegLib.errors import UserError
from SlicRegLib.phantoms.phantom import PhantomOptions


def exaggerate(differences: float) -> PhantomOptions:
    """The demo's phantoms with ``differences`` times their variation."""
    usual, names = PhantomOptions(), ("size_fraction", "warp_mm", "organ_shift_mm", "organ_scale_fraction")
    return PhantomOptions(**{name: differences * getattr(usual, name) for name in names})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scans", type=int, default=5)
    parser.add_argument("--first", type=int, default=200, help="the first seed; the bundled model knows 0 to 30")
    parser.add_argument("--differences", type=float, default=2.0)
    options = parser.parse_args(arguments)
    if options.out.exists() and any(options.out.iterdir()):
        raise UserError(f"{options.out} holds something already; choose another --out.")
    for seed in range(options.first, options.first + options.scans):
        write_phantom(options.out, seed, exaggerate(options.differences))


if __name__ == "__main__":
    main()
