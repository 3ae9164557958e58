"""Options of the preparation."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import refuse


@dataclass(frozen=True)
class PreparationOptions:
    """How a scan is brought into the canonical frame."""

    spacing_mm: float = 4.0  # voxel edge of the network's grid; sampled at half of it and averaged
    shape: tuple[int, int, int] | None = None  # voxels along R, A, S; None: fitted to the template's body
    margin_mm: float = 20.0  # air kept around the template's body where the shape is fitted
    max_voxels: int = 2_000_000  # a fitted shape larger than this is an error (4 mm: 128 litres)

    def __post_init__(self):
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
