"""What one registration leaves for the next of the same process: the model and the template, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..images.detached import find_data_files
from ..images.files import IMAGE_SUFFIXES, MODEL_SUFFIX
from ..images.itk import DETACHED
from ..images.volumes import Volume, load_labels, load_scan
from ..progress import Progress
from ..registration.choose_model import Choice, choose_model
from ..registration.fixed_side import FixedSide
from ..registration.installed_models import find_model
from ..registration.model import Model, load_model
from ..registration.model_header import ModelHeader
from ..registration.options import RegistrationOptions

Value = TypeVar("Value")
_MADE_OF = {"model": ("fixed side",), "template": ("labels", "fixed side")}  # kind -> kinds that hold it


class Kept:
    """Reads files, and gives what it read before where a file of the same content is asked for again, under any name.

    It keeps one of each kind: the last one. What is more than one file, such as a DICOM series, is read each time, and
    so is a file with notes, since they name it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[object, Any]] = {}

    def load_model(self, path: str | Path) -> Model:
        """As `load_model`."""
        path = find_model(path)
        return self.recall("model", _digest(path), lambda: load_model(path))

    def choose_model(
        self,
        headers: Sequence[ModelHeader],
        template: Volume | None,
        target: Volume,
        options: RegistrationOptions,
        device: torch.device,
        progress: Progress,
    ) -> Choice:
        """As `choose_model`. Of all models, the one that is taken is kept, with its template's side."""

        def load(path: Path) -> Model:
            return self._find("model", _digest(path)) or load_model(path)

        def make_fixed(model: Model, shown: Volume) -> FixedSide:
            key = _fixed_side_key(model, shown, options, device)
            return self._find("fixed side", key) or FixedSide(model, shown, options, device)

        choice = choose_model(headers, template, target, options, device, progress, load, make_fixed)
        taken = choice.taken
        self.recall("model", _digest(taken.header.path), lambda: taken.model)
        key = _fixed_side_key(taken.model, taken.fixed.template, options, device)
        self.recall("fixed side", key, lambda: taken.fixed)
        return choice

    def make_fixed_side(
        self, model: Model, template: Volume, options: RegistrationOptions, device: torch.device
    ) -> FixedSide:
        """As `FixedSide`."""
        key = _fixed_side_key(model, template, options, device)
        return self.recall("fixed side", key, lambda: FixedSide(model, template, options, device))

    def load_template(self, path: str | Path, series: str = "") -> Volume:
        """As `load_scan`."""
        return self.recall("template", _digest(path), lambda: load_scan(path, series))

    def load_template_labels(self, path: str | Path, template: Volume) -> Volume:
        """As `load_labels`, for the labels of ``template``."""
        digest = _digest(path)
        key = (digest, template.fingerprint()) if digest else None
        return self.recall("labels", key, lambda: load_labels(path, template))

    def clear(self) -> None:
        """Keep nothing of what was read."""
        self._kept.clear()

    def recall(self, kind: str, key: object, make: Callable[[], Value]) -> Value:
        """The value of this ``kind`` with this ``key``: the one that was kept, or what ``make`` returns. None as a key
        keeps nothing."""
        if (kept := self._find(kind, key)) is not None:
            return kept
        for outdated in (kind, *_MADE_OF.get(kind, ())):
            self._kept.pop(outdated, None)  # before the new one is made, so that both are never in memory
        value = make()
        if key is not None and not getattr(value, "notes", ()):
            self._kept[kind] = (key, value)
        return value

    def _find(self, kind: str, key: object) -> Any:
        """The value that is kept under this key; None if there is none."""
        return self._kept[kind][1] if key is not None and kind in self._kept and self._kept[kind][0] == key else None


def _fixed_side_key(model: Model, template: Volume, options: RegistrationOptions, device: torch.device) -> object:
    return model, template, options.prediction, options.alignment, device


def _digest(path: str | Path) -> str | None:
    """SHA-256 of a file's content; None where the content is not all in this file."""
    path = Path(path)
    name = path.name.lower()
    if not (path.is_file() and name.endswith((MODEL_SUFFIX, *IMAGE_SUFFIXES))):
        return None
    if name.endswith(DETACHED) or find_data_files(path):
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()
