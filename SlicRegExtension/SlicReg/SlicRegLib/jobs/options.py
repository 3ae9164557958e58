"""The configuration of a training job: the file job.json in its folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

from ..cohort.label_files import list_label_files
from ..cohort.label_names import check_label_names
from ..cohort.segment_names import agree_on_names
from ..errors import UserError
from ..images.files import split_series, write_json
from ..images.json_reading import read_json
from ..images.options import FrameOptions, SeriesOptions, TransformOptions
from ..network.options import DeviceOptions
from ..option import Word
from ..registration.installed_models import find_model
from ..registration.model_header import AUTO
from ..registration.options import RegistrationOptions
from ..teaching.options import WORKERS, AverageOptions, TeacherOptions, check_average
from ..training.options import ScheduleOptions

JOB_VERSION = 1
MAY_CHANGE = frozenset({"workers", "device", "scheduler", "models"})
"""Options that may change when a job is resumed: where and how fast it runs, not what it computes."""
PATHS = ("template", "images", "deeds_dir", "start", "labels", "template_label", "label_names", "models")
"""Options that `JobOptions.absolute` makes absolute."""


@dataclass(frozen=True, kw_only=True)
class JobOptions(ScheduleOptions, TeacherOptions, AverageOptions, FrameOptions, SeriesOptions, DeviceOptions):
    """Everything that a training depends on. Paths are texts, absolute in job.json; "" and None mean not given."""

    name: str = ""
    """Name of the model, which will be FOLDER/NAME.slicreg."""
    template: Annotated[str, Word(metavar="PATH")] = ""
    """Template scan: a typical patient, completely in view; CT in Hounsfield units (NIfTI, NRRD, MHA or a DICOM
    folder). Without one the cohort's average is the template."""
    images: Annotated[str, Word(metavar="PATH")] = ""
    """Folder of training scans (files, or folders of DICOM), or a CSV file with their paths. No labels are used."""
    start: Annotated[str, Word("from", "MODEL")] = ""
    """Optional. Model from whose weights the training starts; it must have the same template, unless an average is
    made."""
    labels: Annotated[str, Word(metavar="DIR")] = ""
    """Optional. Folder with labels of some scans. The report measures them; with an average as template, what they
    agree on is put into the model, and they may teach borders. The network never sees them."""
    template_label: Annotated[str, Word(metavar="PATH")] = ""
    """Optional. Labels of a template scan; needed there if there are labels of scans."""
    models: Annotated[str, Word(metavar="DIR")] = ""
    """Folder to which the finished model is also copied."""
    cohort: str = ""
    """A line about the training scans, stored in the model."""

    def check(self) -> None:
        """Raise UserError if a training cannot start with these options."""
        if absent := [f"--{name}" for name in ("images", "name") if not getattr(self, name)]:
            raise UserError(f"A new training also needs {', '.join(absent)}.")
        self.training(), self.preparation()  # their own checks
        if self.name.startswith(".") or any(c in self.name for c in '/\\:*?"<>|'):
            raise UserError(f"A model cannot be called {self.name!r}; use letters, digits, - and _.")
        if self.is_average and self.template_label:
            raise UserError("An average has no labels of a scan; leave out --template-label, or --average.")
        if not self.is_average and bool(self.labels) != bool(self.template_label):
            raise UserError("Labels of scans are compared with those of the template; give both or neither.")
        if self.teach_labels and not (self.is_average and self.labels):
            raise UserError("Labels teach only where an average is made of labelled scans; give --labels, no template.")
        check_average(self, self.is_average)
        for name in PATHS:
            if name != "models" and (path := getattr(self, name)) and not split_series(path)[0].exists():
                raise UserError(f"{path} does not exist; check the path.")
        if self.label_names:
            check_label_names(self.label_names, self.labels)
        elif self.is_average and self.labels:
            agree_on_names(list_label_files(Path(self.labels)))

    @property
    def is_average(self) -> bool:
        """Whether the template is the cohort's average."""
        return self.average or not self.template

    def absolute(self) -> JobOptions:
        """The same options with absolute paths, that of a bundled model in place of its name."""
        paths: dict[str, Any] = {n: str(Path(path).absolute()) for n in PATHS if (path := getattr(self, n))}
        if self.start:
            paths["start"] = str(find_model(self.start).absolute())
        return replace(self, **paths)

    def to_json(self) -> dict[str, Any]:
        """The content of job.json."""
        return json.loads(json.dumps({"version": JOB_VERSION, **asdict(self)}))


def read_config(folder: str | Path) -> dict[str, Any]:
    """The content of job.json. Raises UserError if it is missing, damaged or from another version."""
    path = Path(folder) / "job.json"
    if not path.is_file():
        raise UserError(f"{folder} contains no training (no job.json); start one with `slicreg learn`.")
    try:
        content = read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); start the training in another folder.") from error
    if content.get("version") != JOB_VERSION:
        raise UserError(f"{path} was written by another version of SlicReg; start the training in another folder.")
    if content.get("preset") == "paper":  # before there was the option, its loss was taken at all voxels
        content.setdefault("loss_voxels", 0)
    return content


def read_options(folder: str | Path) -> JobOptions:
    """The options of the job in ``folder``. Raises UserError as `read_config` does."""
    content = read_config(folder)
    known = {f.name: content[f.name] for f in fields(JobOptions) if f.name in content}
    try:
        return JobOptions(**{**known, "shape": tuple(known["shape"]) if known.get("shape") else None})
    except (UserError, TypeError) as error:
        path = Path(folder) / "job.json"
        raise UserError(f"{path} is damaged ({error}); start the training in another folder.") from error


def write_config(folder: Path, options: JobOptions) -> None:
    """Write job.json. Raises UserError if it exists with other options, except those that `MAY_CHANGE`."""
    content = options.to_json()
    if not (folder / "job.json").exists():
        # the training checks again; until then the picture stays, unless it shows other scans
        names = ("cohort.json",) if _was_checked(folder, options) else ("cohort.json", "cohort_unusual.png")
        for name in names:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / "job.json", content)
        return
    before = {**JobOptions().to_json(), **read_config(folder)}  # earlier versions had fewer options
    differing = {key for key in {*before, *content} if before.get(key) != content.get(key)}
    if fixed := sorted(differing - MAY_CHANGE):
        raise UserError(
            f"{folder} contains a training with different options ({', '.join(fixed)}); choose another folder, or give "
            "the folder alone to resume that training."
        )
    if differing:
        write_json(folder / "job.json", content)


def _was_checked(folder: Path, options: JobOptions) -> bool:
    """Whether the last check in the folder was that of these scans."""
    from ..cohort.listing import list_cohort

    try:
        cohort = read_json(folder / "cohort.json")
        paths = {str(path) for path in list_cohort(Path(options.images), options.series)}
        return cohort["template"]["path"] == options.template and {s["path"] for s in cohort["scans"]} == paths
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True, kw_only=True)
class CheckRequest(ScheduleOptions, FrameOptions, SeriesOptions, DeviceOptions):
    """Check a cohort before a training: which scans are unusual, and how long the training will take."""

    template: Path | None = None
    """Template scan: CT in Hounsfield units (NIfTI, NRRD, MHA or a DICOM folder). Without one the cohort's average will
    be the template."""
    images: Path
    """Folder of training scans (files, or folders of DICOM), or a CSV file with their paths."""
    out: Annotated[Path | None, Word(metavar="FOLDER")] = None
    """Folder for cohort.json and for a picture of the unusual scans."""
    workers: Annotated[int, Word("jobs", "N"), WORKERS] = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that read scans at the same time; by default one for each core."""


@dataclass(frozen=True, kw_only=True)
class BatchRequest(SeriesOptions, TransformOptions, DeviceOptions):
    """Register all scans of a folder to a template. Repeat the command to resume; what is done is not done again."""

    model: Path = AUTO
    """Model file (.slicreg), the name of a bundled model, or auto: the installed one that knows the template and the
    first scan best, for all scans."""
    models: Annotated[Path | None, Word(metavar="DIR")] = None
    """Optional. Folder of further models that auto can choose from, beside the bundled ones."""
    template: Path | None = None
    """Fixed scan: CT in Hounsfield units (NIfTI, NRRD, MHA or a DICOM folder). Without one it is the model's own
    template, where the model holds it; the volumes of its organs in all scans are then written to volumes.csv."""
    images: Path
    """Folder of moving scans (files, or folders of DICOM), or a CSV file with their paths."""
    out: Annotated[Path, Word(metavar="DIR")]
    """Folder for the results: one folder for each scan, and the table results.csv."""
    template_label: Annotated[Path | None, Word(metavar="LABELS")] = None
    """The template's labels, to be carried to every scan."""
    labels: Annotated[Path | None, Word(metavar="DIR")] = None
    """Folder of labels with the names of the scans, to measure Dice and HD95 against the template's labels."""
    overlays: bool = False
    """Also write the confidence and the predicted supervoxels of both scans."""
    picture: bool = True
    """Draw template, target and result into each scan's overview.png."""
    workers: Annotated[int, Word("jobs", "N"), WORKERS] = 1
    """Scans that are registered at the same time, each in a process; they share the cores."""
    scheduler: Annotated[str, Word(metavar="ADDRESS")] = ""
    """Dask cluster that registers the scans instead, such as tcp://host:8786."""
    registration: RegistrationOptions = field(default_factory=RegistrationOptions)
