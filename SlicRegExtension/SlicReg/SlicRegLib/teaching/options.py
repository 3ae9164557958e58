"""Options of the teacher, the supervoxels and the study."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ..errors import UserError, refuse
from ..images.options import FrameOptions, SeriesOptions
from ..option import SEEDS, Range, Word, find_problems

WORKERS = Range(1, 1024)


@dataclass(frozen=True, kw_only=True)
class SupervoxelOptions:
    """How the template is cut into supervoxels (Heinrich, MIDL 2021)."""

    layers: Annotated[int, Range(1, 64)] = 16
    """Independent partitions of the template."""
    compactness: Annotated[float, Range(1e-6, 1e6)] = 1.5
    """SLIC: weight of distance relative to intensity (HU / 500)."""
    n_segments: Annotated[int, Range(1, 10_000)] = 208
    """SLIC: requested segments; increased if it returns fewer than 127 regions."""
    max_iterations: Annotated[int, Range(1, 1000)] = 5
    """SLIC: iterations of its clustering, at most."""
    min_size_factor: Annotated[float, Range(0, 1)] = 0.85
    """SLIC: segments smaller than this share of the mean size are joined to a neighbour."""
    margin_mm: Annotated[float, Range(0, 500)] = 20.0
    """Supervoxels also cover the air within this distance of the body, mm (published: 60)."""
    affine_noise: Annotated[float, Range(0, 1)] = 0.05
    """Standard deviation of the random affine I + noise * randn(3, 4) under which each layer is cut."""
    seed: Annotated[int, SEEDS] = 0
    """Random seed of the affines."""

    def __post_init__(self) -> None:
        refuse("Preparation", find_problems(self))


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """The conventional registration that teaches the network, and where it runs."""

    teacher: Literal["refinement", "convexadam", "deeds"] = "refinement"
    """Algorithm that registers the template to each training scan: this project's own refinement, or one of others."""
    affine_first: bool = False
    """Start convexAdam from an affine map, which is found by sliding and fitting image features."""
    deeds_dir: Annotated[str, Word(metavar="DIR")] = ""
    """Folder with the programs linearBCV and deedsBCV, or with NAME_matrix.txt and NAME_displacements.dat of each
    scan."""
    workers: Annotated[int, Word("jobs", "N"), WORKERS] = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that read and register scans at the same time; by default one for each core."""
    scheduler: Annotated[str, Word(metavar="ADDRESS")] = ""
    """Dask cluster that runs the teacher instead, such as tcp://host:8786."""

    def __post_init__(self) -> None:
        refuse("Preparation", find_problems(self))


@dataclass(frozen=True, kw_only=True)
class AverageOptions:
    """Whether the template is a scan or the cohort's average."""

    average: bool = False
    """Make the cohort's average the template; so it is too where no template is given. The template scan is then the
    one with which the averaging begins."""
    label_names: Annotated[str, Word(metavar="FILE")] = ""
    """Optional. Names of the labels: a CSV file with the columns value, name and, if you like, r, g, b, or a JSON file
    such as {"1": "Liver"}."""
    single_rater: bool = False
    """Also keep organs of the labels that a single scan has. The model then holds this patient's contours."""
    teach_labels: bool = False
    """Also learn from the labels where the borders of organs lie in an image, where that helps scans that were not
    learned from. The registration never sees a label."""


def check_average(options: TeacherOptions, average: bool) -> None:
    """Raise UserError for a teacher with which an ``average`` cannot be made."""
    if average and options.teacher != "refinement":
        raise UserError(f"The teacher {options.teacher} knows no average; use --teacher refinement.")


@dataclass(frozen=True, kw_only=True)
class PrepareRequest(TeacherOptions, AverageOptions, FrameOptions, SeriesOptions):
    """Register a template to a cohort with a teacher, and cut the template into supervoxels."""

    template: Path | None = None
    """Template scan: CT in Hounsfield units (NIfTI, NRRD, MHA or a DICOM folder). Without one the cohort's average is
    the template."""
    images: Path
    """Folder of training scans (files, or folders of DICOM), or a CSV file with their paths. No labels are used."""
    out: Path
    """Folder of the study. Repeat the command to resume an interrupted run."""
    labels: Annotated[str, Word(metavar="DIR")] = ""
    """Optional. Folder with labels of some scans, by name. What they agree on is put into the model, as the
    template's labels."""
    supervoxels: Annotated[str, Word(metavar="FILE")] = ""
    """Optional. Supervoxels that were warped to the template and to all scans elsewhere, such as those that the paper's
    authors offer (.pth): no teacher runs, and nothing is cut."""
    start: Annotated[str, Word("from", "MODEL")] = ""
    """Use the frame and the supervoxels of this model of the same template, for a training with `train --from`."""

    @property
    def is_average(self) -> bool:
        """Whether the template is the cohort's average."""
        return self.average or self.template is None
