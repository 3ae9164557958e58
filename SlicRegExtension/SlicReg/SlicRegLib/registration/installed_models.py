"""Model files to choose from: the bundled ones and the user's own; without torch."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

from .. import MODELS
from ..errors import UserError
from ..images.files import MODEL_SUFFIX, atomic
from ..images.inputs import check_file
from .model_header import ModelHeader, read_model


def list_installed_models(user_folder: str | Path | None = None) -> list[ModelHeader]:
    """The bundled models, then those of ``user_folder``, if one is given. Raises UserError where that is no folder."""
    if user_folder is not None and not Path(user_folder).is_dir():
        raise UserError(f"There is no folder {user_folder}; give the folder that holds your models, or none.")
    return list_models(MODELS, user_folder)


def list_models(bundled_folder: str | Path, user_folder: str | Path | None) -> list[ModelHeader]:
    """All model files of both folders: first the bundled ones, then the user's, each sorted by name. Never raises."""
    models: list[ModelHeader] = []
    for folder, bundled in ((bundled_folder, True), (user_folder, False)):
        if folder is None:
            continue
        try:
            paths = sorted(
                (p for p in Path(folder).iterdir() if _is_model_file(p.name)),
                key=lambda p: p.name.lower(),
            )
        except OSError:
            continue  # no such folder yet
        models += [read_model(path, bundled) for path in paths]
    return models


def _is_model_file(name: str) -> bool:
    return name.lower().endswith(MODEL_SUFFIX) and not name.startswith(".")


def find_model(name: str | Path) -> Path:
    """The file of a model given by its path or, if bundled, by its name. Raises UserError where there is no file."""
    path, bundled = Path(name), MODELS / f"{name}{MODEL_SUFFIX}"
    if not path.is_file() and path.name == str(name) and bundled.is_file():
        return bundled
    names = ", ".join(sorted(file.stem for file in MODELS.glob(f"*{MODEL_SUFFIX}")))
    check_file(path, f"give a model file or the name of a bundled model ({names})", "The model")
    return path


def add_model(path: str | Path, user_folder: str | Path) -> ModelHeader:
    """Copy a model file into the user's folder. If that fails, nothing is left there.

    Raises UserError for a file that is not a usable model, and if a different model with that name exists. Adding the
    same model twice is no error.
    """
    path, folder = Path(path), Path(user_folder)
    check_file(path, "check the file name", "The model")
    if not path.name.lower().endswith(MODEL_SUFFIX):
        raise UserError(f"The model file must end in {MODEL_SUFFIX} (got {path.name}).")
    model = read_model(path)
    if not model.usable:
        raise UserError(f"The model {path} cannot be used: {model.problem}")
    copy = folder / path.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if copy.exists():
            if copy.samefile(path) or filecmp.cmp(path, copy, shallow=False):
                return read_model(copy)
            raise UserError(
                f"Another model named {model.name} already exists; rename {path.name} or remove the old model first."
            )
        with atomic(copy) as part:
            shutil.copyfile(path, part)
    except OSError as error:
        raise UserError(f"The model cannot be copied to {folder} ({error.strerror or error}).") from error
    return read_model(copy)


def remove_model(model: ModelHeader) -> None:
    """Delete one of the user's own model files. Raises UserError for a bundled one."""
    if model.bundled:
        raise UserError(f"The model {model.name} is part of the extension and cannot be removed.")
    try:
        model.path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"The model {model.path} cannot be removed ({error.strerror or error}).") from error
