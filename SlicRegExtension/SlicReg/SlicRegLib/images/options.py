"""How a scan is brought into the canonical frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from ..errors import refuse
from ..option import Word


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """The canonical frame in which the network sees all scans."""

    spacing_mm: Annotated[float, Word("spacing", "MM")] = 4.0
    """Voxel edge of the canonical frame, 0.5 to 20 mm. Scans are sampled at half of it and averaged."""
    shape: Annotated[tuple[int, int, int] | None, Word(metavar="R A S")] = None
    """Voxels of the canonical frame along R, A and S, best multiples of 16. By default fitted to the template's body;
    published: 96 80 128."""

    def preparation(self) -> PreparationOptions:
        """The same frame with the default margin and limit. Raises UserError where it is out of range."""
        shape = cast("tuple[int, int, int] | None", tuple(self.shape) if self.shape else None)
        return PreparationOptions(spacing_mm=self.spacing_mm, shape=shape)


@dataclass(frozen=True, kw_only=True)
class PreparationOptions(FrameOptions):
    """How a scan is brought into the canonical frame."""

    margin_mm: float = 20.0
    """Air kept around the template's body where the shape is fitted, mm."""
    max_voxels: int = 2_000_000
    """A fitted shape with more voxels than this is an error (at 4 mm: 128 litres)."""

    def __post_init__(self) -> None:
        refuse(
            "Preparation",
            [
                (not 0.5 <= self.spacing_mm <= 20, "the voxel edge must lie between 0.5 and 20 mm"),
                (
                    self.shape is not None and (len(self.shape) != 3 or min(self.shape) < 16),
                    "the frame must have at least 16 voxels along each axis",
                ),
                (self.margin_mm < 0, "the margin must not be negative"),
            ],
        )
