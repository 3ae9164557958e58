"""The demonstration: held-out phantoms registered with the bundled model, or the whole method from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import MODELS
from ..errors import UserError
from ..geometry.grid import Grid
from ..images.files import check_output, make_folder, write_json
from ..images.volumes import Volume, save_volume
from ..phantoms.phantom import ORGANS, PhantomOptions, make_phantom
from ..progress import Progress
from ..registration.model_header import PHANTOM_TRUNK
from ..registration.verdict_text import count_verdicts, describe_counts
from ..results.options import RegisterRequest
from ..results.register_files import register_files
from ..teaching.create import prepare_study
from ..teaching.options import PrepareRequest
from ..training.options import TrainRequest
from ..training.train import train_model
from .requests import DemoRequest

PHANTOM_MODEL = MODELS / "trunk-phantom.slicreg"
TEMPLATE_SEED = 0
HELD_OUT_SEEDS = (1001, 1002)
COHORT_SEEDS = range(1, 31)


def run_demo(request: DemoRequest, progress: Progress) -> str:
    """`slicreg demo`: register the held-out phantoms to the model's own template, or with a model that may have none
    to a phantom; returns the text to print."""
    names = ("summary.json", f"template/img/phantom_{TEMPLATE_SEED}.nii.gz", PHANTOM_MODEL.name)
    check_output(request.out, folder=True, names=names, inputs=(PHANTOM_MODEL,))
    given = PHANTOM_MODEL if request.model == Path(PHANTOM_TRUNK) else request.model
    model = train_phantom_model(request, progress) if request.train else given
    if given == PHANTOM_MODEL and not model.is_file():
        raise UserError(f"The phantom model {model} is missing; make it with `slicreg demo --train`.")
    own = given == PHANTOM_MODEL or request.train
    template, template_label = (None, None) if own else write_phantom(request.out / "template", TEMPLATE_SEED)
    reports, folders = [], [request.out / f"phantom_{seed}" for seed in HELD_OUT_SEEDS]
    for seed, folder in zip(HELD_OUT_SEEDS, folders, strict=True):
        target, target_label = write_phantom(request.out / "targets", seed)
        register = RegisterRequest(
            model=model,
            template=template,
            target=target,
            out=folder,
            template_label=template_label,
            target_label=target_label,
            device=request.device,
        )
        reports.append(register_files(register, progress))
    write_json(request.out / "summary.json", reports)
    files = "\n".join(f"  {path}" for path in sorted(folders[0].iterdir()))
    return (
        f"{_table(reports)}\n\nFiles of the first phantom:\n{files}\n\n"
        f"Look at the picture: {folders[0] / 'overview.png'}"
    )


def write_phantom(folder: Path, seed: int, options: PhantomOptions = PhantomOptions()) -> tuple[Path, Path]:
    """Write a phantom's scan and labels to ``folder``/img and /label; returns their paths."""
    scan, labels = (folder / kind / f"phantom_{seed}.nii.gz" for kind in ("img", "label"))
    if not (scan.exists() and labels.exists()):
        phantom = make_phantom(seed, options)
        grid = Grid(phantom.image.shape, phantom.affine)
        for path, data in ((scan, np.round(phantom.image).astype(np.int16)), (labels, phantom.labels)):
            make_folder(path.parent)
            save_volume(path, Volume(data, grid))
    return scan, labels


def train_phantom_model(request: DemoRequest, progress: Progress) -> Path:
    """Phantoms to a model: cohort, teacher, supervoxels, training. All that is made on the way is kept."""
    folder = request.out
    out = folder / PHANTOM_MODEL.name
    template, template_label = write_phantom(folder / "template", TEMPLATE_SEED)
    seeds = list(COHORT_SEEDS)[: request.scans]
    for index, seed in enumerate(seeds):
        write_phantom(folder / "cohort", seed)
        progress("phantoms", (index + 1) / len(seeds), f"{index + 1} of {len(seeds)}")
    images, study = folder / "cohort" / "img", folder / "study"
    prepare_study(PrepareRequest(template=template, images=images, out=study, workers=request.workers), progress)
    train = TrainRequest(
        study=study,
        out=out,
        iterations=request.iterations,
        resume=out.with_suffix(".checkpoint").exists(),
        cohort=f"{len(seeds)} synthetic trunks (phantoms {seeds[0]}-{seeds[-1]})",
        include_template=template,
        include_labels=template_label,
        device=request.device,
    )
    train_model(train, progress)
    return out


def _table(reports: list[dict[str, Any]]) -> str:
    lines = [f"Dice of {len(reports)} held-out phantoms, mean", f"{'organ':28s}{'before':>8s}{'after':>8s}"]
    for label, organ in ORGANS.items():
        before, after = (np.mean([r[when]["dice"][str(label)] for r in reports]) for when in ("before", "after"))
        lines.append(f"{organ:28s}{before:8.3f}{after:8.3f}")
    before, after = (np.mean([r[when]["mean_dice"] for r in reports]) for when in ("before", "after"))
    seconds = np.mean([r["seconds"]["total"] for r in reports])
    folding = np.mean([r["folding_percent"] for r in reports])
    lines.append(f"{'mean of 13 organs':28s}{before:8.3f}{after:8.3f}   ({after / before:.1f} times)")
    lines.append(f"{seconds:.1f} s per registration, folding {folding:.2f} %")
    lines.append(f"Verdicts: {describe_counts(count_verdicts(r['verdict']['word'] for r in reports))}.")
    return "\n".join(lines)
