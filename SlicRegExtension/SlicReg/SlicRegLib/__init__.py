"""Learned inter-patient registration of 3-D CT scans by supervoxels.

    from SlicRegLib import load_model, load_scan, register, save_transform

    model = load_model("headneck-openkbp")
    result = register(model, load_scan("template.nii.gz"), load_scan("scan.nii.gz"))
    save_transform("transform.h5", result.field)

The names of ``__all__`` are the public interface; they are imported when they are first used, so that programs which
only ask for the version or watch a training need no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HERE = Path(__file__).resolve().parent
_PLACES = (
    _HERE / "models",  # in an installed package
    _HERE.parent / "Resources" / "Models",  # beside the module in Slicer
    _HERE.parents[1] / "Resources" / "Models",  # in the source tree
)
MODELS = next((folder for folder in _PLACES if folder.is_dir()), _PLACES[0])
"""Folder of the bundled models."""

_PUBLIC = {
    "register": "registration.register",
    "RegistrationOptions": "registration.options",
    "AlignmentOptions": "registration.options",
    "RefinementOptions": "registration.options",
    "PredictionOptions": "network.options",
    "Registration": "registration.result",
    "Model": "registration.model",
    "load_model": "registration.model",
    "Volume": "images.volumes",
    "load_scan": "images.volumes",
    "load_labels": "images.volumes",
    "save_volume": "images.volumes",
    "load_transform": "images.transforms",
    "save_transform": "images.transforms",
    "DisplacementField": "geometry.field",
    "Grid": "geometry.grid",
    "judge": "registration.verdict",
    "Verdict": "registration.verdict",
    "compute_overlays": "registration.confidence",
    "compare": "results.evaluate",
    "evaluate": "results.evaluate",
    "UserError": "errors",
}
__all__ = [
    "MODELS",
    "register",
    "RegistrationOptions",
    "AlignmentOptions",
    "RefinementOptions",
    "PredictionOptions",
    "Registration",
    "Model",
    "load_model",
    "Volume",
    "load_scan",
    "load_labels",
    "save_volume",
    "load_transform",
    "save_transform",
    "DisplacementField",
    "Grid",
    "judge",
    "Verdict",
    "compute_overlays",
    "compare",
    "evaluate",
    "UserError",
]

if TYPE_CHECKING:
    from .errors import UserError
    from .geometry.field import DisplacementField
    from .geometry.grid import Grid
    from .images.transforms import load_transform, save_transform
    from .images.volumes import Volume, load_labels, load_scan, save_volume
    from .network.options import PredictionOptions
    from .registration.confidence import compute_overlays
    from .registration.model import Model, load_model
    from .registration.options import AlignmentOptions, RefinementOptions, RegistrationOptions
    from .registration.register import register
    from .registration.result import Registration
    from .registration.verdict import Verdict, judge
    from .results.evaluate import compare, evaluate


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
