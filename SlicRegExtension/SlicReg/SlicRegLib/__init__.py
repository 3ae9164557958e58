"""Learned inter-patient 3-D CT registration by supervoxels; start at `registration.register`."""

from pathlib import Path

__version__ = "0.1.0"

_HERE = Path(__file__).resolve().parent
# the bundled models: beside the module in Slicer, above it in the source tree
MODELS = next(
    (
        folder
        for folder in (_HERE.parent / "Resources" / "Models", _HERE.parents[1] / "Resources" / "Models")
        if folder.is_dir()
    ),
    _HERE.parent / "Resources" / "Models",
)
