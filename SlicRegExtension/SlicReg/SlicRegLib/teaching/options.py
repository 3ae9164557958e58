"""Options of the teacher, the supervoxels and the study."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ..images.options import FrameOptions
from ..option import Word


@dataclass(frozen=True, kw_only=True)
class SupervoxelOptions:
    """How the template is cut into supervoxels (Heinrich, MIDL 2021)."""

    layers: int = 16
    """Independent partitions of the template."""
    compactness: float = 1.5
    """SLIC: weight of distance relative to intensity (HU / 500)."""
    n_segments: int = 208
    """SLIC: requested segments; increased if it returns fewer than 127 regions."""
    max_iterations: int = 5
    """SLIC: iterations of its clustering, at most."""
    min_size_factor: float = 0.85
    """SLIC: segments smaller than this share of the mean size are joined to a neighbour."""
    margin_mm: float = 20.0
    """Supervoxels also cover the air within this distance of the body, mm (published: 60)."""
    affine_noise: float = 0.05
    """Standard deviation of the random affine I + noise * randn(3, 4) under which each layer is cut."""
    seed: int = 0
    """Random seed of the affines."""


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """The conventional registration that teaches the network, and where it runs."""

    teacher: Literal["convexadam", "deeds"] = "convexadam"
    """Algorithm that registers the template to each training scan."""
    affine_first: bool = False
    """Start convexAdam from an affine registration by SimpleITK."""
    deeds_dir: Annotated[str, Word(metavar="DIR")] = ""
    """Folder with the programs linearBCV and deedsBCV, or with NAME_matrix.txt and NAME_displacements.dat of each
    scan."""
    workers: Annotated[int, Word("jobs", "N")] = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that read and register scans at the same time; by default one for each core."""
    scheduler: Annotated[str, Word(metavar="ADDRESS")] = ""
    """Dask cluster that runs the teacher instead, such as tcp://host:8786."""


@dataclass(frozen=True, kw_only=True)
class PrepareRequest(TeacherOptions, FrameOptions):
    """Register a template to a cohort with a teacher, and cut the template into supervoxels."""

    template: Path
    """Template scan: CT in Hounsfield units (NIfTI, NRRD or MHA)."""
    images: Path
    """Folder of training scans, or a CSV file with their paths. No labels are used."""
    out: Path
    """Folder of the study. Repeat the command to resume an interrupted run."""
    start: Annotated[str, Word("from", "MODEL")] = ""
    """Use the frame and the supervoxels of this model of the same template, for a training with `train --from`."""
