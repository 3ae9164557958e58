"""The configuration of a training job."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError
from .status import write_json

JOB_VERSION = 1
MAY_CHANGE = {"workers", "device", "scheduler", "models"}  # from run to run: where and how fast, not what


@dataclass(frozen=True)
class JobOptions:
    """What a training depends on, as it stands in job.json. Paths are absolute texts; "" and None: not given."""

    name: str  # of the model
    template: str
    images: str  # a folder, or a CSV file of paths
    preset: str = "compact"
    iterations: int | None = None  # None, here and below: the preset's own
    batch: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    device: str = "auto"
    workers: int = 1  # processes of the teacher
    teacher: str = "convexadam"
    deeds_dir: str = ""
    affine_first: bool = False
    scheduler: str = ""  # address of a Dask cluster that runs the teacher
    spacing_mm: float = 4.0
    shape: tuple[int, int, int] | None = None
    start: str = ""  # a model whose weights the training begins with
    labels: str = ""  # folder with labels of some scans, for the report alone
    template_label: str = ""
    models: str = ""  # folder that the finished model is copied to
    cohort: str = ""  # a line about the scans, kept in the model

    def __post_init__(self):
        if not self.name or self.name.startswith(".") or any(c in self.name for c in '/\\:*?"<>|'):
            raise UserError(f"{self.name!r} is no name for a model; use letters, digits, - and _.")
        if bool(self.labels) != bool(self.template_label):
            raise UserError("Labels are measured only with those of the template; give both, or neither.")
        for path in (self.template, self.images, self.deeds_dir, self.start, self.labels, self.template_label):
            if path and not Path(path).exists():
                raise UserError(f"{path} does not exist; check the path.")


def read_config(folder: str | Path) -> dict:
    """The job's configuration. Raises UserError where there is none or it is not readable."""
    path = Path(folder) / "job.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no training job (no job.json); start one with `slicreg learn`.")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); start the training in another folder.") from error
    if content.get("version") != JOB_VERSION:
        raise UserError(f"{path} was written by another version of SlicReg; start the training in another folder.")
    return content


def write_config(folder: Path, options: JobOptions) -> None:
    """Write the configuration, or check that it is the one that stands there: a job has one for all its runs."""
    content = json.loads(json.dumps({"version": JOB_VERSION, **asdict(options)}))
    if not (folder / "job.json").exists():
        for name in ("cohort.json", "cohort_unusual.png"):  # a check made before may have been of other scans
            (folder / name).unlink(missing_ok=True)
        write_json(folder / "job.json", content)
        return
    before = read_config(folder)
    differing = {key for key in {*before, *content} if before.get(key) != content.get(key)}
    if fixed := sorted(differing - MAY_CHANGE):
        raise UserError(
            f"{folder} holds a training with another {', '.join(fixed)}; choose another folder, or give the folder "
            "alone to go on with it."
        )
    if differing:
        write_json(folder / "job.json", content)
