"""The model of a finished training among the user's models."""

from __future__ import annotations

import filecmp
from pathlib import Path

from SlicRegLib.images.files import MODEL_SUFFIX
from SlicRegLib.registration.installed_models import add_model, list_models
from SlicRegLib.registration.model_header import ModelHeader


def find_finished_model(job: Path, name: str, user_folder: Path) -> ModelHeader:
    """The model called ``name`` of the job folder. It is copied to the user's models unless it is there already,
    perhaps under another name. Raises UserError where it is missing or cannot be copied."""
    model = Path(job) / f"{name}{MODEL_SUFFIX}"
    if model.is_file():
        for known in list_models(user_folder, None):
            if filecmp.cmp(model, known.path, shallow=False):
                return known
    return add_model(model, user_folder)
