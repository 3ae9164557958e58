"""From a study to a model file."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..errors import UserError
from ..images.files import MODEL_SUFFIX
from ..images.volumes import load_labels, load_scan
from ..network.devices import choose_device
from ..network.networks import SupervoxelNet
from ..network.options import PRESETS
from ..network.prediction import describe
from ..progress import Progress
from ..registration.key_points import describe_key_points
from ..registration.model import Model, load_model, save_model
from ..teaching.study import open_study
from .distributed import join_processes
from .history import History
from .loop import train
from .options import TrainingOptions


def run_train(
    study: Path,
    out: Path,
    preset: str,
    options: TrainingOptions,
    device: str,
    resume: bool,
    cohort: str,
    progress: Progress,
    template: Path | None = None,
    template_labels: Path | None = None,
    start: Path | None = None,
    watch: Callable[[SupervoxelNet], None] = lambda net: None,
) -> History:
    """`slicreg train`: a study to a bundle ``out``; the learning curve and the checkpoint stand beside it.

    start: a model of the same template and supervoxels whose weights the training begins with.
    template, template_labels: put into the bundle; only for data that may be shared.
    watch: called with the network after each validation. Under ``torchrun`` all processes train and the first one writes.
    """
    if out.suffix != MODEL_SUFFIX:
        raise UserError(f"A model's name ends in {MODEL_SUFFIX}, unlike {out.name}.")
    processor, _ = choose_device(device)
    content = open_study(study)
    scan = load_scan(template) if template else None
    if scan is not None and scan.fingerprint() != content.template_sha256:
        raise UserError(f"{template} is not the template of the study {study}.")
    if template_labels and not template:
        raise UserError("The template's labels can be included only together with the template.")
    scan_labels = load_labels(template_labels, scan) if template_labels else None
    begun = load_model(start) if start else None
    if begun and (begun.net.options != PRESETS[preset] or not np.array_equal(begun.layers, content.layers())):
        raise UserError(
            f"{start} has another network or other supervoxels than {preset} on {study}; training cannot begin with it."
        )
    beside = out.with_suffix("")
    if resume and not Path(f"{beside}.checkpoint").is_file():
        raise UserError(f"There is no checkpoint {beside}.checkpoint to resume from; start without --resume.")
    out.parent.mkdir(parents=True, exist_ok=True)

    def watched(net: SupervoxelNet, history: History) -> None:
        history.save_table(Path(f"{beside}_curve.csv"))
        watch(net)

    with join_processes(processor) as (own, processor):
        net, history = train(
            content,
            PRESETS[preset],
            options,
            Path(f"{beside}.checkpoint"),
            processor,
            resume,
            progress,
            begun.net if begun else None,
            watched,
            own,
        )
    if not own.first:
        return history
    history.save(Path(f"{beside}_curve"))
    provenance = {
        "cohort": cohort or f"{len(content.scans)} scans",
        "template": content.template_name,
        "teacher": content.teacher,
        "preset": preset,
        "begun_with": begun.provenance if begun else None,
        "training": asdict(options),
        "seconds": history.rows[-1][1],
        "device": str(processor),
        "validation": dict(zip(History.COLUMNS, history.rows[-1])),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "SlicReg": __version__},
    }
    fixed = content.template()
    key_points = describe_key_points(describe(net.cpu(), fixed), fixed.body, fixed.grid)
    save_model(
        out,
        Model(
            net,
            content.preparation,
            content.layers(),
            fixed.grid,
            content.template_sha256,
            provenance,
            key_points,
            scan,
            scan_labels,
        ),
    )
    return history
