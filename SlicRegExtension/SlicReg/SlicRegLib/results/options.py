"""What the commands `slicreg register` and `slicreg evaluate` are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ..errors import UserError, refuse
from ..images.options import SeriesOptions, TransformOptions
from ..network.options import DeviceOptions
from ..option import Range, Word, find_problems
from ..registration.model_header import AUTO
from ..registration.options import RegistrationOptions

FILM_SUFFIXES = (".mp4", ".gif", ".webp")


@dataclass(frozen=True, kw_only=True)
class RegisterRequest(SeriesOptions, TransformOptions, DeviceOptions):
    """Register one scan to a template."""

    model: Path = AUTO
    """Model file (.slicreg), the name of a bundled model, or auto: the installed one that knows both scans best."""
    models: Annotated[Path | None, Word(metavar="DIR")] = None
    """Optional. Folder of further models that auto can choose from, beside the bundled ones."""
    template: Path | None = None
    """Fixed scan: CT in Hounsfield units (NIfTI, NRRD, MHA or a DICOM folder). Without one it is the model's own
    template, where the model holds it, with the labels that it has there."""
    target: Annotated[Path, Word(metavar="CT")]
    """Moving scan: CT in Hounsfield units (NIfTI, NRRD, MHA or a DICOM folder)."""
    out: Annotated[Path, Word(metavar="DIR")]
    """Folder for transforms, images and report, and for the picture unless it is left out."""
    template_label: Annotated[Path | None, Word(metavar="LABELS")] = None
    """The template's labels, to be carried to the target."""
    target_label: Annotated[Path | None, Word(metavar="LABELS")] = None
    """The target's labels, to measure Dice and HD95."""
    overlays: bool = False
    """Also write the confidence and the predicted supervoxels of both scans."""
    picture: bool = True
    """Draw template, target and result into overview.png."""
    registration: RegistrationOptions = field(default_factory=RegistrationOptions)


@dataclass(frozen=True, kw_only=True)
class SegmentRequest(TransformOptions, DeviceOptions):
    """Segment a scan by the labels that a model holds: they are carried to it from the cohort's average."""

    model: Path = AUTO
    """Model file (.slicreg), the name of a bundled model, or auto: the installed one that knows the scan best."""
    models: Annotated[Path | None, Word(metavar="DIR")] = None
    """Optional. Folder of further models that auto can choose from, beside the bundled ones."""
    target: Annotated[Path, Word(metavar="CT")]
    """Scan: CT in Hounsfield units (NIfTI, NRRD, MHA or a DICOM folder)."""
    series: Annotated[str, Word(metavar="NUMBER")] = ""
    """Optional. Number or UID of the DICOM series, where the folder holds several."""
    target_label: Annotated[Path | None, Word(metavar="LABELS")] = None
    """Optional. Labels of the scan, to measure Dice and HD95."""
    out: Annotated[Path, Word(metavar="DIR")]
    """Folder for the segmentation, the volumes, transforms to the average and back, confidence, report and picture."""
    format: Literal["nii.gz", "seg.nrrd"] = "nii.gz"
    """Of the segmentation: a label map, or a segmentation of Slicer with names and colours."""
    normative: bool = False
    """Also write where the patient is unusual: a map, on the average, of the local growth in standard deviations of the
    cohort, and a picture of it."""
    picture: bool = True
    """Draw average, scan and result into overview.png."""
    registration: RegistrationOptions = field(default_factory=RegistrationOptions)


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(SeriesOptions, DeviceOptions):
    """Register a labelled cohort to a template and measure Dice, HD95, folding and seconds."""

    model: Path
    """Model file (.slicreg), the name of a bundled model, or auto: the installed one that knows the template and the
    first scan best."""
    models: Annotated[Path | None, Word(metavar="DIR")] = None
    """Optional. Folder of further models that auto can choose from, beside the bundled ones."""
    template: Path | None = None
    """Fixed scan: CT in Hounsfield units (NIfTI, NRRD, MHA or a DICOM folder). Without one it is the model's own
    template, where the model holds it and its labels."""
    template_label: Annotated[Path | None, Word(metavar="LABELS")] = None
    """The template's labels, whole numbers on its grid; 0 is background. Needed with a template."""
    images: Path
    """Folder of moving scans (files, or folders of DICOM), or a CSV file with their paths; those without labels are
    not registered."""
    labels: Path
    """Folder of labels with the names of the scans."""
    out: Annotated[Path, Word(metavar="JSON")]
    """File for the results: each scan's, their means, and what failed."""
    registration: RegistrationOptions = field(default_factory=RegistrationOptions)


@dataclass(frozen=True, kw_only=True)
class CarryRequest:
    """Carry points or a surface from the template to the target or back along the transform of a result."""

    transform: Annotated[Path, Word(metavar="PATH")]
    """Folder of a result, or its transform file (.h5, .nrrd or .nii.gz)."""
    points: Annotated[Path, Word(metavar="FILE")]
    """Points: Slicer's markups (.mrk.json, .fcsv), a table with the columns r, a, s or l, p, s in mm (.csv), or
    a surface (.vtk, .ply or .stl)."""
    direction: Literal["template-to-target", "target-to-template"] = "template-to-target"
    """On which scan the points lie, and where they are carried."""
    out: Annotated[Path, Word(metavar="FILE")]
    """File for the carried points, in the same format; everything but positions and normals is kept."""


@dataclass(frozen=True, kw_only=True)
class FilmRequest:
    """Make a film of a result: the scan's slices with the organs before and after, and its bones or skin, turning."""

    result: Annotated[Path, Word(metavar="RESULT_FOLDER", positional=True)]
    """Folder that `slicreg register`, `segment`, `batch` or `demo` wrote for one scan."""
    out: Annotated[Path, Word(metavar="FILE")]
    """File for the film: .mp4, .gif or .webp."""
    target: Annotated[Path | None, Word(metavar="CT")] = None
    """Optional. The scan that was registered, where it is no longer where report.json says; DICOM series 3 of a folder
    is folder#3."""
    label_names: Annotated[Path | None, Word(metavar="TABLE")] = None
    """Optional. Names and colours of the labels, a CSV or JSON file, where the result does not name them."""
    surface: Literal["bones", "skin", "none"] = "bones"
    """What turns around the organs in the second part, which needs VTK: bones, or skin where there are none; with none
    this part is left out."""
    seconds: Annotated[float, Range(0.5, 120)] = 12.0
    """Length of the film."""
    width: Annotated[int, Range(0, 1920)] = 0
    """Of the picture, pixels; the height is three quarters of it. 0: 960 for .mp4, 640 for .gif and .webp; otherwise at
    least 320."""

    def __post_init__(self) -> None:
        refuse("The film", find_problems(self))
        refuse("The film", [(0 < self.width < 320, f"width must be 0 or at least 320 (got {self.width})")])
        if self.out.suffix.lower() not in FILM_SUFFIXES:
            raise UserError(
                f"{self.out} does not end in {', '.join(FILM_SUFFIXES[:-1])} or {FILM_SUFFIXES[-1]}, the kinds of film "
                "that can be written; choose one of them."
            )
