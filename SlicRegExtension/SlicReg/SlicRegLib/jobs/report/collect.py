"""Collect the data of a training report from the job's folder, and register the held-out scans as a user would."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ...cohort.facts import Cohort
from ...cohort.label_files import find_labels
from ...cohort.label_names import check_label_names
from ...errors import UserError, one_sentence
from ...images.volumes import Volume, load_labels, load_scan
from ...network.devices import choose_device, peak_memory_mb
from ...registration.model import Model
from ...registration.register import register
from ...registration.result import Registration
from ...results.evaluate import compare
from ...results.labels import Labels
from ...results.overview import draw_overview
from ...stages import REPORT
from ...teaching.study import Study
from ...training.history import History
from ..options import JobOptions
from ..recorder import Recorder
from .content import ReportContent
from .hardware import describe_hardware

SHOWN = 4
"""Held-out scans in the report, at most."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FinishedTraining:
    """What a training job has read and made."""

    folder: Path
    """Of the job."""
    options: JobOptions
    cohort: Cohort
    study: Study
    held_out: list[str]
    """Names of the validation scans."""
    model: Model
    history: History
    template: Volume
    template_labels: Labels | None


def collect_report(training: FinishedTraining, recorder: Recorder) -> ReportContent:
    """The content of the report. A scan that cannot be measured is missing in it and named in the job's log."""
    options, cohort, study, model = training.options, training.cohort, training.study, training.model
    recorder(REPORT, 0.0, "registering the held-out scans")
    shown = training.held_out[:SHOWN] or study.scans[:1]
    paths = {scan.name: Path(scan.path) for scan in cohort.scans}
    device, _ = choose_device(options.device)
    overlays, dice = [], {}
    for index, name in enumerate(shown):
        try:
            target = load_scan(paths[name])
            result = register(model, training.template, target, device=device)
            overlays.append((name, _picture(result)))
            labels = find_labels(Path(options.labels), name) if options.labels else None
            if training.template_labels and labels:
                dice[name] = compare(result, training.template_labels, load_labels(labels, target))
        except Exception as error:  # no scan is a reason to lose the report
            recorder.log(f"{name} is not measured in the report: {one_sentence(error)}")
        recorder(REPORT, (index + 1) / (len(shown) + 1), f"held-out scan {index + 1} of {len(shown)}")
    unusual = training.folder / "cohort_unusual.png"
    unusable = {s.name: s.problem or f"the same voxels as {s.same_as}" for s in cohort.scans if s.problem or s.same_as}
    return ReportContent(
        name=options.name,
        finished=time.strftime("%Y-%m-%d %H:%M"),
        trained=[name for name in study.scans if name not in training.held_out],
        held_out=training.held_out,
        excluded=unusable | study.failed,
        classes=model.net.options.classes,
        curve=training.history.rows,
        template=asdict(cohort.template),
        cohort=[asdict(scan) for scan in cohort.scans],
        unusual_picture=unusual.read_bytes() if unusual.is_file() else b"",
        teacher=study.quality,
        overlays=overlays,
        dice=dice,
        label_names=_name_labels(options, study, recorder),
        organs=study.organs,
        label_notes=study.label_notes,
        configuration=asdict(options),
        hardware=describe_hardware(),
        seconds=recorder.seconds,
        waiting_share=training.history.waiting_share,
        peak_memory_mb=peak_memory_mb(device),
        versions=model.provenance["versions"],
        provenance=model.provenance,
    )


def _name_labels(options: JobOptions, study: Study, recorder: Recorder) -> dict[str, str]:
    """Label number as text -> organ: those of the consensus, or of the table that was given."""
    if study.organs:
        return {str(organ["value"]): organ["name"] for organ in study.organs}
    try:
        names = check_label_names(options.label_names, options.labels)
    except UserError as error:  # it was there when the job began
        recorder.log(f"The report has no names of labels: {error}")
        return {}
    return {str(value): label.name for value, label in names.items()}


def _picture(result: Registration) -> bytes:
    """The overview of a registration as PNG."""
    with tempfile.TemporaryDirectory() as scratch:
        draw_overview(Path(scratch) / "overview.png", result)
        return (Path(scratch) / "overview.png").read_bytes()
