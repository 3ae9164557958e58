"""What an option is worth: a labelled cohort registered with one or a few options changed at a time.

    python benchmarks/variants.py --model M --template T --template-label TL --images DIR --labels DIR [--json FILE] \\
        refinement.regularisation=2.5 refine=False refinement.dilation=2,refinement.radius=2

Each argument is a variant: fields of `RegistrationOptions` and the options in it, with their values. Prints mean Dice,
folding and seconds of the defaults and of each variant.
"""

from __future__ import annotations

import argparse
import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from cohort import describe_circumstances, load_labelled
from SlicRegLib.images.volumes import load_labels, load_scan
from SlicRegLib.registration.model import load_model
from SlicRegLib.registration.options import RegistrationOptions
from SlicRegLib.registration.register import register
from SlicRegLib.results.evaluate import compare


def change_options(options: RegistrationOptions, settings: str) -> RegistrationOptions:
    """A copy of ``options`` with "part.field=value,field=value" applied."""
    for setting in filter(None, settings.split(",")):
        path, _, value = setting.partition("=")
        part, _, name = path.rpartition(".")
        change = {name: ast.literal_eval(value)}
        options = replace(options, **({part: replace(getattr(options, part), **change)} if part else change))
    return options


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "template", "template-label", "images", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("variants", nargs="*", metavar="VARIANT")
    arguments = parser.parse_args(words)
    model, template = load_model(arguments.model), load_scan(arguments.template)
    template_labels = load_labels(arguments.template_label, template)
    cohort = list(load_labelled(arguments.images, arguments.labels))
    rows = {}
    for variant in ["", *arguments.variants]:
        options, cases = change_options(RegistrationOptions(), variant), []
        for _, target, target_labels in cohort:
            result = register(model, template, target, options)
            after = compare(result, template_labels, target_labels)["after"]
            cases.append((after["mean_dice"], after["folding_percent"], sum(result.seconds.values())))
        dice, folding, seconds = np.mean(cases, 0).tolist()
        rows[variant or "default"] = {"mean_dice": dice, "folding_percent": folding, "seconds": seconds}
        print(f"{variant or 'default':50s} Dice {dice:.4f}, folding {folding:.3f} %, {seconds:.1f} s", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(describe_circumstances() | {"variants": rows}, indent=1))


if __name__ == "__main__":
    main()
