"""From a study to a model file."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..errors import UserError
from ..images.files import MODEL_SUFFIX, check_output, new_folder
from ..images.volumes import Volume, load_labels, load_scan
from ..network.devices import choose_device, is_left_to_cpu
from ..network.networks import SupervoxelNet, build
from ..network.options import PRESETS
from ..network.prediction import describe, encode
from ..progress import Progress, silent
from ..registration.key_points import describe_key_points
from ..registration.model import Model, load_model, save_model
from ..stages import TRAINING
from ..teaching.study import Study, open_study
from .distributed import join_processes
from .history import History
from .loop import TrainingPlan, train
from .options import TrainRequest


def train_model(
    request: TrainRequest,
    progress: Progress = silent,
    watch: Callable[[SupervoxelNet], None] = lambda net: None,
) -> History:
    """`slicreg train`: from a study to the model ``request.out``; learning curve and checkpoint are written beside it.

    watch: called with the network after each validation. Where Apple's GPU fails, the CPU goes on from the last
    checkpoint. Under ``torchrun``, all processes train and the first one writes. Raises UserError for requests that
    contradict each other or the study.
    """
    out, network, options = request.out, PRESETS[request.preset], request.training()
    if out.suffix != MODEL_SUFFIX:
        raise UserError(f"The model file must end in {MODEL_SUFFIX} (got {out.name}).")
    checkpoint, curve = out.with_suffix(".checkpoint"), out.with_name(f"{out.stem}_curve")
    inputs = (request.start, request.include_template, request.include_labels)
    for path in (out, checkpoint, f"{curve}.csv", f"{curve}.png"):
        check_output(path, inputs=inputs)
    device, _ = choose_device(request.device)
    study = open_study(request.study)
    layers = study.layers()
    if len(layers) != network.layers or layers.max() >= network.classes:
        raise UserError(
            f"The study {request.study} has {len(layers)} layers of {layers.max() + 1} supervoxels, but the network of "
            f"{request.preset} has {network.layers} of {network.classes}; run `slicreg prepare` again."
        )
    template, template_labels = _load_included(request, study)
    start = load_model(request.start) if request.start else None
    if start and start.net.options != network:
        raise UserError(
            f"{request.start} has another network than {request.preset}; choose a model that fits, or train without "
            "--from."
        )
    if request.resume and not checkpoint.is_file():
        raise UserError(f"There is no checkpoint {checkpoint} to resume from; start without --resume.")

    def after_validation(net: SupervoxelNet, history: History) -> None:
        history.save_table(Path(f"{curve}.csv"))
        watch(net)

    plan, before = TrainingPlan(study, network, options, begin_with(start, layers)), _read_stamp(checkpoint)

    def train_on(device: torch.device, resume: bool) -> tuple[SupervoxelNet, History, bool, torch.device]:
        with new_folder(out.parent), join_processes(device) as (processes, own):
            net, history = train(plan, checkpoint, own, resume, progress, after_validation, processes)
            return net, history, processes.first, own

    try:
        net, history, first, device = train_on(device, request.resume)
    except Exception as error:
        if device.type != "mps" or not is_left_to_cpu(error, device):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        progress(TRAINING, 0.0, f"on the CPU, since the Apple GPU failed ({reason})")
        resume = request.resume or _read_stamp(checkpoint) != before
        net, history, first, device = train_on(torch.device("cpu"), resume)
    if not first:
        return history
    history.save(curve)
    fixed, net = study.template(), net.cpu()
    key_points = describe_key_points(describe(net, encode(net, fixed)), fixed.body, fixed.grid)
    model = Model(
        net=net,
        preparation=study.preparation,
        layers=layers,
        template_grid=fixed.grid,
        template_sha256=study.template_sha256,
        provenance=_describe_provenance(request, study, history, start, device),
        key_points=key_points,
        template=template,
        template_labels=template_labels,
        atlas=study.atlas(),
        consensus=study.consensus(),
    )
    save_model(out, model)
    return history


def begin_with(start: Model | None, layers: np.ndarray) -> SupervoxelNet | None:
    """The network with which a training starts: that of the model, with a fresh classifier where the supervoxels
    ``layers`` are not the model's own. What its trunk has learnt of the anatomy holds for other supervoxels as well."""
    if start is None or np.array_equal(start.layers, layers):
        return start.net if start else None
    net = build(start.net.options)
    net.trunk.load_state_dict(start.net.trunk.state_dict())
    return net


def _read_stamp(checkpoint: Path) -> int | None:
    """Changes when the checkpoint is written; None without one."""
    return checkpoint.stat().st_mtime_ns if checkpoint.is_file() else None


def _load_included(request: TrainRequest, study: Study) -> tuple[Volume | None, Volume | None]:
    """The template's scan and labels to be put into the model, as far as they are requested."""
    if request.include_labels and not request.include_template:
        raise UserError(
            "The template's labels can be included only together with the template; use --include-template."
        )
    if not request.include_template:
        return None, None
    template = load_scan(request.include_template)
    if template.fingerprint() != study.template_sha256:
        raise UserError(
            f"{request.include_template} is not the template of the study {study.folder}; give the scan that it was "
            "prepared with."
        )
    return template, load_labels(request.include_labels, template) if request.include_labels else None


def forget_patient(provenance: dict[str, Any]) -> dict[str, Any]:
    """What a model with an average tells of one that it began with: all but the name of its template, a patient's."""
    before = provenance.get("begun_with")
    kept = {key: value for key, value in provenance.items() if key != "template"}
    return {**kept, "begun_with": forget_patient(before) if isinstance(before, dict) else before}


def _describe_provenance(
    request: TrainRequest, study: Study, history: History, start: Model | None, device: torch.device
) -> dict[str, Any]:
    """How the model was made, as stored in its file."""
    last = history.rows[-1]
    return {
        "cohort": request.cohort or f"{len(study.scans)} scans",
        "template": study.template_name,
        "teacher": study.teacher,
        "preset": request.preset,
        "begun_with": forget_patient(start.provenance) if start and study.start_sha256 else start and start.provenance,
        "training": asdict(request.training()),
        "seconds": last[1],
        "device": str(device),
        "validation": dict(zip(History.COLUMNS, last, strict=True)),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "SlicReg": __version__},
    }
