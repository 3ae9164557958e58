"""The demonstration: held-out phantoms registered with the bundled model, or the whole method from nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .. import MODELS
from ..errors import UserError
from ..geometry.grid import Grid
from ..images.files import atomic
from ..images.options import PreparationOptions
from ..images.volumes import Volume, save_volume
from ..phantoms.phantom import ORGANS, make_phantom
from ..progress import Progress
from ..registration.options import RegistrationOptions
from ..results.register_files import run_register
from ..teaching.create import run_prepare
from ..training.options import training_preset
from ..training.train import run_train

PHANTOM_MODEL = MODELS / "trunk-phantom.slicreg"
TEMPLATE_SEED = 0
HELD_OUT_SEEDS = (1001, 1002)
COHORT_SEEDS = range(1, 31)


def write_phantom(folder: Path, seed: int) -> tuple[Path, Path]:
    """Write a phantom's scan and labels to ``folder``/img and /label; returns their paths."""
    paths = tuple(folder / kind / f"phantom_{seed}.nii.gz" for kind in ("img", "label"))
    if not all(p.exists() for p in paths):
        phantom = make_phantom(seed)
        grid = Grid(phantom.image.shape, phantom.affine)
        for path, data in zip(paths, (np.round(phantom.image).astype(np.int16), phantom.labels)):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_volume(path, Volume(data, grid))
    return paths


def train_phantom_model(
    out: Path, folder: Path, iterations: int, scans: int, device: str, jobs: int, progress: Progress
) -> None:
    """Phantoms to a bundle: cohort, teacher, supervoxels, training. Everything between is kept in ``folder``."""
    template, template_label = write_phantom(folder / "template", TEMPLATE_SEED)
    seeds = list(COHORT_SEEDS)[:scans]
    for index, seed in enumerate(seeds):
        write_phantom(folder / "cohort", seed)
        progress("phantoms", (index + 1) / len(seeds), f"{index + 1} of {len(seeds)}")
    run_prepare(
        template,
        folder / "cohort" / "img",
        folder / "study",
        "convexadam",
        None,
        False,
        jobs,
        PreparationOptions(),
        progress,
    )
    options = training_preset("compact", iterations=iterations)
    resume = Path(f"{out.with_suffix('')}.checkpoint").exists()
    run_train(
        folder / "study",
        out,
        "compact",
        options,
        device,
        resume,
        f"{scans} synthetic trunks (phantoms {seeds[0]}-{seeds[-1]})",
        progress,
        template,
        template_label,
    )


def run_demo(out: Path, model: Path, device: str, progress: Progress) -> str:
    """Register the held-out phantoms to the template with ``model``; returns the text to print."""
    if not model.is_file():
        raise UserError(f"The phantom model {model} is missing; make it with `slicreg demo --train`.")
    template, template_label = write_phantom(out / "template", TEMPLATE_SEED)
    reports = []
    for seed in HELD_OUT_SEEDS:
        target, target_label = write_phantom(out / "targets", seed)
        reports.append(
            run_register(
                model,
                template,
                target,
                out / f"phantom_{seed}",
                template_label,
                target_label,
                device,
                RegistrationOptions(),
                progress,
            )
        )
    text = _table(reports)
    folders = [out / f"phantom_{seed}" for seed in HELD_OUT_SEEDS]
    files = "\n".join(f"  {path}" for path in sorted(folders[0].iterdir()))
    with atomic(out / "summary.json") as part:
        part.write_text(json.dumps(reports, indent=1))
    return (
        f"{text}\n\nWritten for each phantom, here the first:\n{files}\n\n"
        f"Look at the picture: {folders[0] / 'overview.png'}"
    )


def _table(reports: list[dict]) -> str:
    lines = [f"Dice of {len(reports)} held-out phantoms, mean", f"{'organ':28s}{'before':>8s}{'after':>8s}"]
    for label, organ in ORGANS.items():
        before, after = (np.mean([r[when]["dice"][str(label)] for r in reports]) for when in ("before", "after"))
        lines.append(f"{organ:28s}{before:8.3f}{after:8.3f}")
    before, after = (np.mean([r[when]["mean_dice"] for r in reports]) for when in ("before", "after"))
    seconds = np.mean([r["seconds"]["total"] for r in reports])
    folding = np.mean([r["folding_percent"] for r in reports])
    lines.append(f"{'mean of 13 organs':28s}{before:8.3f}{after:8.3f}   ({after / before:.1f} times)")
    lines.append(f"{seconds:.1f} s per registration, folding {folding:.2f} %")
    return "\n".join(lines)
