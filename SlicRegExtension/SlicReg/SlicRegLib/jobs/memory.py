"""How much memory a registration needs and how much is available."""

from __future__ import annotations

LOW_MEMORY = 1_000_000_000
"""Bytes: where less is available, a process that only waits gives back what it keeps."""


def available_memory() -> int:
    """Bytes that a new process can use without swapping."""
    import psutil

    return psutil.virtual_memory().available


def estimate_memory(voxels_template: int, voxels_target: int) -> int:
    """Peak memory of a registration on the CPU in bytes, from the number of voxels of both scans.

    The larger of
    - 1.6 GB: 0.6 GB for Python, torch and the other libraries, and 1.0 GB for network, features and refinement, whose
      size depends on the model's frame and not on the scans;
    - 1.0 GB that remain allocated, plus 24 bytes for each voxel of both scans while results are written: 12 for the
      scan, the scan warped onto it and a copy of one of them (float32 each), 12 for label maps, overlays and their
      interpolation.

    Measured (head-and-neck model, whole process): 2 x 2.1 million voxels 1.1 GB (1.6 GB with an earlier refinement),
    2 x 32.8 million 1.8 GB (with labels and overlays 2.5 GB), 2 x 68.4 million 2.7 GB (4.0 GB). The estimates are 1.6,
    2.6 and 4.3 GB.
    """
    return max(1_600_000_000, 1_000_000_000 + 24 * (int(voxels_template) + int(voxels_target)))
