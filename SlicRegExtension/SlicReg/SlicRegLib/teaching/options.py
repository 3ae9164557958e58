"""Options of the teacher and the supervoxels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SupervoxelOptions:
    """How the template is cut."""

    layers: int = 16
    compactness: float = 1.5  # SLIC: weight of distance against intensity (HU / 500)
    n_segments: int = 208  # asked of SLIC; raised where fewer than 127 regions come back
    max_iterations: int = 5  # of SLIC
    min_size_factor: float = 0.85  # SLIC: smaller regions are joined to a neighbour
    margin_mm: float = 20.0  # supervoxels also cover the air this near to the body
    affine_noise: float = 0.05  # of the random affine I + noise * randn(3, 4) under which each layer is cut
    seed: int = 0
