"""A study: the folder that `slicreg prepare` writes and `slicreg train` reads.

    study.json          options, cohort, quality of the teacher's fields
    template.npz        the template in its canonical frame
    atlas.npz           only where the template is the cohort's average: the average (`registration.atlas`)
    supervoxels.npz     its layers, uint8 (layers, I, J, K)
    consensus.npz       optional: what the scans' labels agree on (`registration.consensus`); its organs in study.json
    scans/NAME.npz      a training scan in its canonical frame, the teacher's field to the template (`packing`)

Each file is written completely or not at all, so that an interrupted run can be resumed and several machines can fill
one study.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import UserError, explain_os_error
from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..images.archive import ArchiveError
from ..images.arrays import Arrays, read_arrays, take
from ..images.files import write_json
from ..images.json_reading import read_json
from ..images.options import PreparationOptions
from ..images.preparation import PreparedScan
from ..registration.atlas import Atlas, unpack_atlas
from ..registration.consensus import Consensus, unpack_consensus
from .options import SupervoxelOptions
from .packing import unpack_field, unpack_scan

STUDY_VERSION = 1
Unpacked = TypeVar("Unpacked")


@dataclass(frozen=True)
class Study:
    """The content of ``study.json``; the arrays are read from the folder when they are needed."""

    folder: Path
    template_name: str
    template_sha256: str
    """`Volume.fingerprint` of the original template, or of the average's image; "" until that is known."""
    teacher: str
    """`name` of the `Teacher` that made the fields."""
    preparation: PreparationOptions
    supervoxels: SupervoxelOptions
    scans: list[str]
    """Names of the scans for training and validation; empty while the study is being made."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name of each excluded scan -> reason."""
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    """Name of each registered scan, excluded ones included -> `FieldQuality` as a dictionary."""
    organs: list[dict[str, Any]] = field(default_factory=list)
    """Of the consensus of the scans' labels, if some have labels: `describe_organs`."""
    label_notes: list[str] = field(default_factory=list)
    """What the user should know of the labels that were counted, such as contours left out, in sentences."""
    start_sha256: str = ""
    """Where the template is the cohort's average: `Volume.fingerprint` of the scan with which the averaging began."""

    @property
    def atlas_path(self) -> Path:
        return self.folder / "atlas.npz"

    def atlas(self) -> Atlas | None:
        """The cohort's average; None where the template is a scan, or the average is not finished."""
        return self._load(self.atlas_path, unpack_atlas) if self.atlas_path.exists() else None

    def consensus(self) -> Consensus | None:
        """What the scans' labels agree on; None where there are none."""
        if not self.organs:
            return None
        return self._load(self.consensus_path, lambda content: unpack_consensus(content, self.organs))

    def consensus_grid(self) -> Grid:
        """Of the consensus: half the canonical voxels, as an atlas has them."""
        return self.template().grid.halved()

    @property
    def consensus_path(self) -> Path:
        return self.folder / "consensus.npz"

    def template(self) -> PreparedScan:
        """Raises UserError if its file is missing or damaged, as `layers` and `scan` do."""
        path = self.folder / "template.npz"
        return self._load(path, lambda content: self._unpack(path.stem, content))

    def layers(self) -> np.ndarray:
        """Supervoxel layers on the template's grid, uint8 (layers, I, J, K)."""
        shape = self.preparation.shape or (None, None, None)
        return self._load(self.folder / "supervoxels.npz", lambda arrays: take(arrays, "layers", "u1", (None, *shape)))

    def scan(self, name: str) -> tuple[PreparedScan, DisplacementField]:
        """A training scan and the teacher's field from it to the template."""
        return self._load(self.scan_path(name), lambda content: (self._unpack(name, content), unpack_field(content)))

    def _unpack(self, name: str, content: Arrays) -> PreparedScan:
        scan = unpack_scan(name, content)
        if self.preparation.shape and scan.grid.shape != tuple(self.preparation.shape):
            raise ArchiveError("its scan has another frame than the study")
        return scan

    def _load(self, path: Path, unpack: Callable[[Arrays], Unpacked]) -> Unpacked:
        try:
            return unpack(read_arrays(path))
        except (ArchiveError, FileNotFoundError) as error:
            reason = error if isinstance(error, ArchiveError) else "there is no such file"
            raise UserError(
                f"{path} is missing or damaged ({reason}); delete it and run `slicreg prepare` again."
            ) from error
        except OSError as error:  # it may be intact
            raise UserError(f"{path} cannot be read: {explain_os_error(error)}.") from error

    def scan_path(self, name: str) -> Path:
        """The file of a training scan."""
        return self.folder / "scans" / f"{name}.npz"


def open_study(folder: Path) -> Study:
    """Read a finished study. Raises UserError if it is missing, unfinished, damaged or from another version."""
    path = Path(folder) / "study.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a study (no study.json); make one with `slicreg prepare`.")
    content = _read(path, "run `slicreg prepare` again")
    if content.pop("version", None) != STUDY_VERSION:
        raise UserError(f"{path} was written by another version of SlicReg; run `slicreg prepare` again.")
    try:
        study = _make_study(Path(folder), content)
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged; run `slicreg prepare` again.") from error
    if not study.scans:
        raise UserError(f"The study {folder} is not finished; run the same `slicreg prepare` again to resume it.")
    return study


def find_finished_study(folder: Path) -> Study | None:
    """The study in ``folder``; None if there is no finished one, or its average was deleted."""
    try:
        study = open_study(folder)
    except UserError:
        return None
    return None if study.start_sha256 and not study.atlas_path.exists() else study


def _make_study(folder: Path, content: dict[str, Any]) -> Study:
    """Raises KeyError, TypeError, ValueError, AttributeError or UserError for a content that is none of a study."""
    preparation, supervoxels = content.pop("preparation"), content.pop("supervoxels")
    study = Study(
        folder,
        preparation=PreparationOptions(**{**preparation, "shape": tuple(preparation["shape"])}),
        supervoxels=SupervoxelOptions(**supervoxels),
        **content,
    )
    texts = [study.template_name, study.template_sha256, study.start_sha256, study.teacher, *study.failed.values()]
    texts += study.label_notes
    if not isinstance(study.scans, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("texts are expected")
    for name in study.scans:
        if not isinstance(name, str) or Path(name).name != name or len(set(study.scans)) < len(study.scans):
            raise ValueError("the name of a scan is no name of a file")
    for quality in study.quality.values():
        if not all(isinstance(value, (int, float)) for value in quality.values()):
            raise TypeError("numbers are expected")
    return study


def save_study(study: Study) -> None:
    """Write ``study.json``; atomic."""
    content = asdict(study)
    del content["folder"]
    write_json(study.folder / "study.json", {**content, "version": STUDY_VERSION})


def check_same_study(study: Study) -> None:
    """Raise UserError if the folder holds a study that was made from another template or with other options."""
    path = study.folder / "study.json"
    if not path.exists():
        return
    there = _read(path, "choose another --out or delete the study")
    here = json.loads(json.dumps({**asdict(study), "folder": None}))
    template = "start_sha256" if study.start_sha256 else "template_sha256"
    differing = [key for key in (template, "teacher", "preparation", "supervoxels") if there.get(key) != here[key]]
    if differing:
        if differing == ["start_sha256"]:
            raise UserError(
                f"The average in {study.folder} began with another scan; give that one as --template, or another --out."
            )
        raise UserError(f"{study.folder} holds a study with different {', '.join(differing)}; choose another --out.")


def _read(path: Path, cure: str) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {cure}.") from error
