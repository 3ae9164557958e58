"""What a model file tells about itself; read without torch."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cohort.names import MAX_NAME, tidy_name
from ..errors import UserError
from ..images.archive import ArchiveError
from ..images.files import MODEL_SUFFIX
from ..network.options import NetworkOptions
from .model_parts import read_parts

AUTO = Path("auto")
"""Stands for the installed model that knows the scans best."""
PHANTOM_TRUNK = "trunk-phantom"
"""The bundled model that was trained on synthetic trunks alone."""
MOST_NAMES = 24
"""Organs that the description of a model names."""
FEW_RIGHT = 0.5
"""Validation accuracy below which a model is marked where models are listed. The bundled ones have 0.85 and 0.77."""

# words in a model's name or cohort that reveal the anatomy where the model does not state it
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
    """What a model file tells about itself."""

    path: Path
    name: str
    bundled: bool
    """Whether it is part of the extension rather than the user's own."""
    about: dict[str, Any] = field(default_factory=dict)
    """The content of its bundle.json."""
    problem: str = ""
    """Why it cannot be used; "" if it can."""

    @property
    def usable(self) -> bool:
        return not self.problem

    @property
    def holds_template(self) -> bool:
        """Whether it holds its template's image, so that a scan can be registered without any other."""
        return self.usable and bool(self.about.get("template_included") or self.about.get("atlas"))

    @property
    def anatomy(self) -> str:
        """Body part for which it was trained; "" if neither the model nor its name or cohort reveals it."""
        if stated := self._section("provenance").get("anatomy"):
            return str(stated)
        text = f"{self.name} {self.cohort}".lower()
        return next((anatomy for anatomy, words in ANATOMIES.items() if any(word in text for word in words)), "")

    @property
    def voxel_mm(self) -> float | None:
        """Voxel edge of the scans that the network receives."""
        return _to_number(self._section("preparation").get("spacing_mm"))

    @property
    def frame_mm(self) -> tuple[float, ...] | None:
        """Extent of the network's field of view along R, A and S."""
        shape, edge = self._section("preparation").get("shape"), self.voxel_mm
        if not isinstance(shape, list) or len(shape) != 3 or edge is None or None in map(_to_number, shape):
            return None
        return tuple(n * edge for n in shape)

    @property
    def cohort(self) -> str:
        """The training scans, as whoever trained the model described them."""
        return str(self._section("provenance").get("cohort", ""))

    @property
    def average_scans(self) -> int:
        """How many scans its template is the average of; 0 where it is none."""
        number = _to_number(self._section("atlas").get("scans"))
        return int(number) if number and 0 < number < 1e9 else 0

    @property
    def organs(self) -> tuple[str, ...]:
        """Names of the organs whose labels it holds."""
        organs = self.about.get("organs")
        names = [organ.get("name") for organ in organs if isinstance(organ, dict)] if isinstance(organs, list) else []
        return tuple(tidy_name(name)[:MAX_NAME] for name in names if isinstance(name, str))

    @property
    def summary(self) -> str:
        """What it is for, in one line such as "Head and neck CT, 80 patients"."""
        provenance = self._section("provenance")
        if self.problem:
            return "It cannot be used."
        if stated := provenance.get("summary"):
            return _join(str(stated), self.mark)
        anatomy = self.anatomy[:1].upper() + self.anatomy[1:]
        number = re.match(r"(\d+) (.*)", self.cohort)
        learned = number[1] if number else ""
        if learned:
            learned += " synthetic scans" if "phantom" in self.cohort or "synthetic" in self.cohort else " patients"
        also = "registers real chests and abdomens too; look at the result" if self._knows_trunks else ""
        return _join(f"{anatomy} CT" if anatomy else "CT", learned, self.mark) + (f"; {also}" if also else "")

    @property
    def mark(self) -> str:
        """A warning about a model that classifies few voxels correctly, such as "only 9 % right"; "" for others."""
        accuracy = self._validated("accuracy")
        return f"only {100 * accuracy:.0f} % right" if accuracy is not None and accuracy < FEW_RIGHT else ""

    @property
    def figures(self) -> str:
        """Loss and accuracy on the validation scans; "" if the model has none."""
        loss, accuracy = self._validated("loss"), self._validated("accuracy")
        classes = self._section("network").get("classes", NetworkOptions.classes)
        return _join(
            f"loss {loss:.3f}" if loss is not None else "",
            f"{100 * accuracy:.1f} % of voxels classified correctly ({classes} classes)"
            if accuracy is not None
            else "",
        )

    def describe(self) -> str:
        """Name and a few lines "Title: details" for users."""
        if self.problem:
            return f"{self.name}: cannot be used\n{self.problem}"
        provenance, network = self._section("provenance"), self._section("network")
        frame = " x ".join(f"{edge:.0f}" for edge in self.frame_mm or ())
        parameters = _to_number(self.about.get("parameters"))
        steps = " + ".join(self._training_steps())
        scans = self.average_scans
        average = f"average of {scans} scan{'s' * (scans > 1)}" if scans else ""
        lines = {
            "Anatomy": self.anatomy,
            "Trained on": self.cohort,
            "Template": _join(
                average or provenance.get("template", "unknown"),
                "included in the model" if self.about.get("template_included") else "",
            ),
            "Organs": _list_some(self.organs),
            "Field of view": f"{frame} mm, voxels of {self.voxel_mm:g} mm" if frame else "",
            "Network": _join(
                network.get("kind"),
                f"{provenance['preset']} preset" if provenance.get("preset") else "",
                f"{parameters / 1e6:.1f} million parameters" if parameters else "",
            ),
            "Training": _join(
                f"teacher {provenance['teacher']}" if provenance.get("teacher") else "",
                f"{steps} steps" if steps else "",
            ),
            "Validation": self.figures,
            "File": _join("bundled" if self.bundled else "added by you", _megabytes(self.path)),
            "SHA-256": f"{compute_sha256(self.path)[:16]}...",  # all 64 digits would widen the panel
        }
        return "\n".join([self.name, *(f"{title}: {text}" for title, text in lines.items() if text)])

    def _training_steps(self) -> list[str]:
        """Steps of each training in order: a model that started from another one holds that one's provenance."""
        steps: list[str] = []
        part: Any = self._section("provenance")
        while isinstance(part, dict):
            training = part.get("training")
            if isinstance(training, dict) and "iterations" in training:
                steps.insert(0, str(training["iterations"]))
            part = part.get("begun_with")
        return steps

    def _validated(self, what: str) -> float | None:
        """ "loss" or "accuracy" on the validation scans."""
        validation = self._section("provenance").get("validation")
        return _to_number(validation.get(f"validation_{what}")) if isinstance(validation, dict) else None

    @property
    def _knows_trunks(self) -> bool:
        """Whether it is the bundled model of synthetic trunks, which has been tried on real ones."""
        return self.bundled and self.name == PHANTOM_TRUNK

    def _section(self, key: str) -> dict[str, Any]:
        part = self.about.get(key)
        return part if isinstance(part, dict) else {}


def compute_sha256(path: Path) -> str:
    """Of the file; "" where it cannot be read. To be compared with what whoever gave the file away says."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def read_model(path: str | Path, bundled: bool = False) -> ModelHeader:
    """Read a model file's header. Never raises: what is wrong with the file is in ``problem``."""
    path = Path(path)
    about: dict[str, Any] = {}
    problem = ""
    try:
        about, _ = read_parts(path)
    except UserError as error:
        problem = str(error)
    except OSError as error:
        problem = f"It cannot be read ({error.strerror or error})."
    except Exception as error:
        reason = str(error) if isinstance(error, ArchiveError) else type(error).__name__
        problem = f"It is damaged or not a SlicReg model ({reason}); copy or download it again."
    name = path.name[: -len(MODEL_SUFFIX)] if path.name.lower().endswith(MODEL_SUFFIX) else path.name
    return ModelHeader(path, name, bundled, about, problem)


def _to_number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _list_some(names: tuple[str, ...]) -> str:
    """The first names, and how many more there are: a cohort may have a hundred organs."""
    more = len(names) - MOST_NAMES
    return ", ".join([*names[:MOST_NAMES], *([f"and {more} more"] if more > 0 else [])])


def _join(*parts: Any) -> str:
    """(3, "", "a") -> "3, a"."""
    return ", ".join(str(part) for part in parts if part)


def _megabytes(path: Path) -> str:
    try:
        return f"{path.stat().st_size / 1e6:.1f} MB"
    except OSError:
        return ""
