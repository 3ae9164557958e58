"""What the Training tab asks for: its parameters as the options of a job, and what is still missing."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from SlicRegLib.images.files import list_images, make_folder
from SlicRegLib.jobs.options import CheckRequest, JobOptions

from .checks import check_volume
from .translation import _
from .writing import write_volume

# option of JobOptions -> parameter of the panel; the names of the widgets begin with the parameter's
PARAMETERS = {
    "template": "trainingTemplate",
    "images": "trainingImages",
    "name": "trainingName",
    "preset": "trainingPreset",
    "iterations": "trainingIterations",
    "device": "trainingDevice",
    "workers": "trainingWorkers",
    "labels": "trainingLabels",
    "template_label": "trainingTemplateLabel",
    "label_names": "trainingLabelNames",
    "start": "trainingStart",
}
TEMPLATE_FILE = "template.nrrd"
"""A template of the scene, in the job folder."""
FOLDER = "trainingFolder"
"""The parameter for the job folder, which is no option of the job."""
PATH_OPTIONS = ("template", "images", "labels", "template_label", "label_names", "start")
PATHS = (*(PARAMETERS[name] for name in PATH_OPTIONS), FOLDER)
"""Parameters that are paths, kept as text."""


def find_inputs(ui, parameter: str) -> list:
    """The widgets in which a parameter is entered. "trainingTemplate" is also a part of longer names."""
    others = [name for name in PARAMETERS.values() if name.startswith(parameter) and name != parameter]
    return [
        widget
        for name, widget in vars(ui).items()
        if name.startswith(parameter) and not name.startswith(tuple(others)) and not name.endswith("Button")
    ]


def find_missing_input(values: dict[str, Any], folder: str) -> str:
    """A sentence that says what must still be chosen; "" if nothing. values: by option of `JobOptions`."""
    needed = (
        (values["images"], _("Choose the folder of scans.")),
        (folder, _("Choose a job folder.")),
        (values["name"], _("Enter a name for the model.")),
    )
    return next((sentence for value, sentence in needed if not value), "")


def make_job_options(values: dict[str, Any]) -> JobOptions:
    """The options with absolute paths. values: by option of `JobOptions`.

    Raises UserError for files and folders that do not exist and for folders without scans.
    """
    options = JobOptions(**values).absolute()
    options.check()
    for folder in (options.images, options.labels):
        if folder and Path(folder).is_dir():  # otherwise it is a CSV file that lists scans
            list_images(folder)
    return options


def write_template(volume, folder: str) -> None:
    """Write a volume of the scene as the template of a training, but never over that of a job. Raises UserError."""
    check_volume(volume, _("The template volume"))
    if not (Path(folder) / "job.json").exists():
        make_folder(folder)
        write_volume(volume, Path(folder) / TEMPLATE_FILE)


def make_check_request(options: JobOptions, folder: str) -> CheckRequest:
    """The check of the scans that a training with these options would use; findings go to ``folder``."""
    shared = {field.name for field in fields(CheckRequest)} & {field.name for field in fields(JobOptions)}
    values = {name: getattr(options, name) for name in shared}
    paths = {"template": Path(options.template) if options.template else None, "images": Path(options.images)}
    return CheckRequest(**{**values, **paths, "out": Path(folder)})
