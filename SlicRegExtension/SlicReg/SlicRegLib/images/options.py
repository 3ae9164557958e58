"""How a scan is brought into the canonical frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from ..errors import refuse
from ..option import Range, Word, find_problems

TransformFormat = Literal["h5", "nrrd", "nii.gz"]
MAX_FRAME_VOXELS = 8_000_000
"""Of a canonical frame, given or fitted; the network needs about 1 kB for each."""


@dataclass(frozen=True, kw_only=True)
class SeriesOptions:
    """Which series is meant where DICOM folders hold several."""

    series: Annotated[str, Word(metavar="NUMBER")] = ""
    """Optional. Number or UID of the DICOM series, where a folder holds several."""
    template_series: Annotated[str, Word(metavar="NUMBER")] = ""
    """Optional. Number or UID of the template's DICOM series, where its folder holds several."""


@dataclass(frozen=True, kw_only=True)
class TransformOptions:
    """How displacement fields are written."""

    transform_format: TransformFormat = "h5"
    """Format of both transforms: h5 (transform file of ITK), nrrd or nii.gz (vector images)."""


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """The canonical frame in which the network sees all scans."""

    spacing_mm: Annotated[float, Word("spacing", "MM"), Range(0.5, 20)] = 4.0
    """Voxel edge of the canonical frame, mm. Scans are sampled at half of it and averaged."""
    shape: Annotated[tuple[int, int, int] | None, Word(metavar="R A S"), Range(16, 1024)] = None
    """Voxels of the canonical frame along R, A and S, best multiples of 16. By default fitted to the template's body;
    published: 96 80 128."""

    def __post_init__(self) -> None:
        refuse(
            "Preparation",
            [
                *(problems := find_problems(self)),
                (
                    not problems and bool(self.shape) and math.prod(self.shape or ()) > MAX_FRAME_VOXELS,
                    f"a frame of {self.shape} voxels is too large; at most {MAX_FRAME_VOXELS} voxels are possible",
                ),
            ],
        )

    def preparation(self) -> PreparationOptions:
        """The same frame with the default margin and limit. Raises UserError where it is out of range."""
        shape = cast("tuple[int, int, int] | None", tuple(self.shape) if self.shape else None)
        return PreparationOptions(spacing_mm=self.spacing_mm, shape=shape)


@dataclass(frozen=True, kw_only=True)
class PreparationOptions(FrameOptions):
    """How a scan is brought into the canonical frame."""

    margin_mm: Annotated[float, Range(0, 500)] = 20.0
    """Air kept around the template's body where the shape is fitted, mm."""
    max_voxels: Annotated[int, Range(1, MAX_FRAME_VOXELS)] = 2_000_000
    """A fitted shape with more voxels than this is an error (at 4 mm: 128 litres)."""
