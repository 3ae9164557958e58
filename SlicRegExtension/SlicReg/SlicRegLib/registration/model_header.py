"""The model files a user can choose from: those of the extension and the user's own; read without torch."""

from __future__ import annotations

import filecmp
import json
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..images.files import MODEL_SUFFIX, MODEL_VERSION, atomic

PARTS = ("bundle.json", "weights.safetensors", "supervoxels.npz")
MAX_ABOUT = 1 << 20  # bytes of bundle.json

# words in a model's name or cohort that tell the anatomy of models which do not say it
ANATOMIES = {
    "head and neck": ("headneck", "head-neck", "head and neck", "head-and-neck"),
    "whole body": ("whole body", "wholebody", "whole-body"),
    "trunk": ("trunk",),
    "thorax": ("thorax", "chest", "lung"),
    "abdomen": ("abdomen", "abdominal"),
    "pelvis": ("pelvis", "pelvic", "prostate"),
}


@dataclass(frozen=True)
class ModelHeader:
    """A model file. about: the content of its bundle.json. problem: why it cannot be used, empty where it can."""

    path: Path
    name: str
    bundled: bool
    about: dict = field(default_factory=dict)
    problem: str = ""

    @property
    def usable(self) -> bool:
        return not self.problem

    @property
    def anatomy(self) -> str:
        """What body part it knows; "" where neither the model nor its name says it."""
        if said := self._of("provenance").get("anatomy"):
            return str(said)
        text = f"{self.name} {self.cohort}".lower()
        return next((anatomy for anatomy, words in ANATOMIES.items() if any(word in text for word in words)), "")

    @property
    def voxel_mm(self) -> float | None:
        """Voxel edge at which the network looks at scans."""
        return _number(self._of("preparation").get("spacing_mm"))

    @property
    def frame_mm(self) -> tuple[float, ...] | None:
        """Extent of the box around the body that the network sees: right-left, front-back, up-down."""
        shape = self._of("preparation").get("shape")
        if not isinstance(shape, list) or len(shape) != 3 or self.voxel_mm is None or None in map(_number, shape):
            return None
        return tuple(n * self.voxel_mm for n in shape)

    @property
    def cohort(self) -> str:
        """The scans it was trained on, in the words of who trained it."""
        return str(self._of("provenance").get("cohort", ""))

    @property
    def figures(self) -> str:
        """How well it did on its validation scans."""
        validation = self._of("provenance").get("validation")
        validation = validation if isinstance(validation, dict) else {}
        loss, accuracy = (_number(validation.get(f"validation_{what}")) for what in ("loss", "accuracy"))
        classes = self._of("network").get("classes", 128)
        return ", ".join(
            [
                *([f"validation loss {loss:.3f}"] if loss is not None else []),
                *([f"accuracy {accuracy:.1%} of {classes} classes"] if accuracy is not None else []),
            ]
        )

    def describe(self) -> str:
        """A few lines of plain text for people."""
        if self.problem:
            return f"{self.name}: cannot be used\n{self.problem}"
        made, network = self._of("provenance"), self._of("network")
        frame = " x ".join(f"{edge:.0f}" for edge in self.frame_mm or ())
        steps, part = [], made
        while isinstance(part, dict):  # a model that was trained further holds what it began with
            training = part.get("training")
            steps = (
                [str(training["iterations"]), *steps]
                if isinstance(training, dict) and "iterations" in training
                else steps
            )
            part = part.get("begun_with")
        preset = f"{made['preset']} preset" if made.get("preset") else ""
        teacher = f"teacher {made['teacher']}" if made.get("teacher") else ""
        included = self.about.get("template_included")
        parameters = _number(self.about.get("parameters"))
        lines = [
            ("Anatomy", self.anatomy),
            ("Trained on", self.cohort),
            ("Template", f"{made.get('template', 'unknown')}{', included in the model' if included else ''}"),
            ("Sees", f"{frame} mm in voxels of {self.voxel_mm:g} mm" if frame else ""),
            (
                "Network",
                _listed(
                    network.get("kind"), preset, f"{parameters / 1e6:.1f} million parameters" if parameters else ""
                ),
            ),
            ("Training", _listed(teacher, f"{' + '.join(steps)} steps" if steps else "")),
            ("Measured", self.figures),
            ("File", _listed("of the extension" if self.bundled else "added by you", _megabytes(self.path))),
        ]
        return "\n".join([self.name, *(f"{title}: {text}" for title, text in lines if text)])

    def _of(self, key: str) -> dict:
        part = self.about.get(key)
        return part if isinstance(part, dict) else {}


def read_model(path: str | Path, bundled: bool = False) -> ModelHeader:
    """Look into a model file. Never raises: what is wrong with it stands in ``problem``."""
    path = Path(path)
    about, problem = {}, ""
    try:
        with zipfile.ZipFile(path) as archive:
            absent = [part for part in PARTS if part not in archive.namelist()]
            if absent:
                problem = f"It is not a SlicReg model: {', '.join(absent)} is missing in it."
            elif archive.getinfo("bundle.json").file_size > MAX_ABOUT:
                problem = "It is not a SlicReg model: its description is too large."
            else:
                about = json.loads(archive.read("bundle.json"))
                problem = _check(about) or ("It is damaged; copy or download it again." if archive.testzip() else "")
    except OSError as error:
        problem = f"It cannot be read ({error.strerror or error})."
    except Exception as error:  # zip, compression and JSON each fail in their own way: the file is not whole
        problem = f"It is damaged or not a SlicReg model ({type(error).__name__}); copy or download it again."
    return ModelHeader(
        path,
        path.name[: -len(MODEL_SUFFIX)] if path.name.lower().endswith(MODEL_SUFFIX) else path.name,
        bundled,
        about if isinstance(about, dict) else {},
        problem,
    )


def list_models(bundled_folder: str | Path, user_folder: str | Path) -> list[ModelHeader]:
    """All model files of both folders, the extension's first, each part sorted by name. Never raises."""
    models = []
    for folder, bundled in ((Path(bundled_folder), True), (Path(user_folder), False)):
        try:
            paths = sorted(
                (p for p in folder.iterdir() if p.name.lower().endswith(MODEL_SUFFIX) and not p.name.startswith(".")),
                key=lambda p: p.name.lower(),
            )
        except OSError:
            continue  # no such folder yet
        models += [read_model(path, bundled) for path in paths]
    return models


def add_model(path: str | Path, user_folder: str | Path) -> ModelHeader:
    """Copy a model file into the user's folder, whole or not at all. Raises UserError for a file that is no usable model
    and where another model of that name is there already; adding the same one twice is fine."""
    path, folder = Path(path), Path(user_folder)
    if not path.is_file():
        raise UserError(f"The model {path} does not exist; check the file name.")
    if not path.name.lower().endswith(MODEL_SUFFIX):
        raise UserError(f"A model's name ends in {MODEL_SUFFIX}, unlike {path.name}.")
    given = read_model(path)
    if not given.usable:
        raise UserError(f"The model {path} cannot be used: {given.problem}")
    copy = folder / path.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if copy.exists():
            if copy.samefile(path) or filecmp.cmp(path, copy, shallow=False):
                return read_model(copy)
            raise UserError(
                f"There is another model named {given.name} already; rename {path.name} or remove the old one first."
            )
        with atomic(copy) as part:
            shutil.copyfile(path, part)
    except OSError as error:
        raise UserError(f"The model cannot be copied to {folder} ({error.strerror or error}).") from error
    return read_model(copy)


def remove_model(model: ModelHeader) -> None:
    """Delete a model file of the user's own. Raises UserError for the extension's."""
    if model.bundled:
        raise UserError(f"The model {model.name} is part of the extension and cannot be removed.")
    try:
        model.path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"The model {model.path} cannot be removed ({error.strerror or error}).") from error


def _check(about) -> str:
    """What is wrong with the content of a bundle.json; "" if nothing is."""
    if not isinstance(about, dict):
        return "It is not a SlicReg model: its description is not one."
    version = about.get("version")
    if not isinstance(version, int):
        return "It is not a SlicReg model: its description has no version."
    if version > MODEL_VERSION:
        return f"It was written by a newer SlicReg (format {version}, this one reads {MODEL_VERSION}); update the extension."
    absent = [key for key in ("network", "preparation", "provenance") if not isinstance(about.get(key), dict)]
    return f"It is not a SlicReg model: its description lacks {', '.join(absent)}." if absent else ""


def _number(value) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _listed(*texts) -> str:
    return ", ".join(str(text) for text in texts if text)


def _megabytes(path: Path) -> str:
    try:
        return f"{path.stat().st_size / 1e6:.1f} MB"
    except OSError:
        return ""
