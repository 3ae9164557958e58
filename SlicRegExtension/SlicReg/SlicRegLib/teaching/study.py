"""A study: the folder that `prepare` fills and `train` reads.

    study.json          options, cohort, versions
    template.npz        the template in its canonical frame
    supervoxels.npz     its layers, uint8 (16, I, J, K)
    scans/NAME.npz      one training scan in its canonical frame with its body region, the teacher's field to the template
                        and the field's quality

Each file is written whole or not at all, so an interrupted run goes on where it stopped, and several machines may
fill one study.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from ..geometry.field import DisplacementField
from ..geometry.grid import Grid
from ..images.files import atomic
from ..images.options import PreparationOptions
from ..images.preparation import PreparedScan
from .options import SupervoxelOptions
from .quality import FieldQuality

STUDY_VERSION = 1


@dataclass(frozen=True)
class Study:
    """What stands in ``study.json``; see `open_study` and `create_study`."""

    folder: Path
    template_name: str
    template_sha256: str
    teacher: str
    preparation: PreparationOptions
    supervoxels: SupervoxelOptions
    scans: list[str]
    failed: dict[str, str] = field(default_factory=dict)  # scans that are left out, with the reason
    quality: dict[str, dict] = field(
        default_factory=dict
    )  # `FieldQuality` of every registered scan, also of those left out

    def template(self) -> PreparedScan:
        return _load_prepared(self.folder / "template.npz")[0]

    def layers(self) -> np.ndarray:
        """Supervoxel layers on the template's grid, uint8 (layers, I, J, K)."""
        return np.load(self.folder / "supervoxels.npz")["layers"]

    def scan(self, name: str) -> tuple[PreparedScan, DisplacementField]:
        """A training scan and the teacher's field from it to the template."""
        return _load_prepared(scan_file(self, name))


def open_study(folder: Path) -> Study:
    """Read a finished study. Raises UserError where it is missing, unfinished or of another version."""
    path = Path(folder) / "study.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a study (no study.json); make one with `slicreg prepare`.")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); run `slicreg prepare` again.") from error
    if content.pop("version", None) != STUDY_VERSION:
        raise UserError(f"{path} was written by another version of SlicReg; run `slicreg prepare` again.")
    if not content["scans"]:
        raise UserError(f"The study {folder} is not finished; run the same `slicreg prepare` again and it goes on.")
    shape = content["preparation"]["shape"]
    preparation = PreparationOptions(**{**content.pop("preparation"), "shape": tuple(shape)})
    return Study(
        Path(folder), preparation=preparation, supervoxels=SupervoxelOptions(**content.pop("supervoxels")), **content
    )


def scan_file(study: Study, name: str) -> Path:
    return study.folder / "scans" / f"{name}.npz"


def pack_scan(scan: PreparedScan, field: DisplacementField | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    content = {"hu": scan.hu.round().numpy().astype(np.int16), "affine": scan.grid.affine}
    if field is not None:
        # half precision only for what is left of the mean shift: scans may lie metres apart
        shift = field.vectors.mean((1, 2, 3), keepdim=True)
        content |= {
            "field": (field.vectors - shift).numpy().astype(np.float16),
            "field_shift": shift.numpy(),
            "field_affine": field.grid.affine,
        }
    return content


def unpack_scan(name: str, content: dict[str, np.ndarray]) -> tuple[PreparedScan, DisplacementField | None]:
    hu = torch.from_numpy(content["hu"].astype(np.float32))
    scan = PreparedScan(name, hu, Grid(hu.shape, content["affine"]))
    if (
        "region" in content
    ):  # stands where the cached property keeps what it computes, which takes longer than all else here
        region = np.unpackbits(content["region"], count=hu.numel()).astype(bool)
        scan.__dict__["region"] = torch.from_numpy(region.reshape(hu.shape))
    if "field" not in content:
        return scan, None
    vectors = torch.from_numpy(content["field"].astype(np.float32))
    if "field_shift" in content:
        vectors = vectors + torch.from_numpy(content["field_shift"])
    return scan, DisplacementField(vectors, Grid(vectors.shape[1:], content["field_affine"]))


def save_arrays(path: Path, content: dict[str, np.ndarray]) -> None:
    with atomic(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **content)


def load_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Those of the arrays ``names`` (default: all) that the file holds; none where it is missing or damaged."""
    try:
        with np.load(path) as file:
            return {name: file[name] for name in names or file.files if name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        return {}


def load_quality(path: Path) -> FieldQuality | None:
    content = load_arrays(path, "quality")
    return FieldQuality(*content["quality"].tolist()) if content else None


def _load_prepared(path: Path) -> tuple[PreparedScan, DisplacementField | None]:
    content = load_arrays(path)
    if not content:
        raise UserError(f"{path} is missing or damaged; delete it and run `slicreg prepare` again.")
    return unpack_scan(path.stem, content)


def save_study(study: Study) -> None:
    content = {
        **vars(study),
        "version": STUDY_VERSION,
        "preparation": asdict(study.preparation),
        "supervoxels": asdict(study.supervoxels),
    }
    content.pop("folder")
    with atomic(study.folder / "study.json") as part:
        part.write_text(json.dumps(content, indent=1))


def check_same_study(study: Study) -> None:
    path = study.folder / "study.json"
    if not path.exists():
        return
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); choose another --out or delete the study.") from error
    same = {
        "template_sha256": study.template_sha256,
        "teacher": study.teacher,
        "preparation": json.loads(json.dumps(asdict(study.preparation))),
        "supervoxels": asdict(study.supervoxels),
    }
    differing = [key for key, value in same.items() if content.get(key) != value]
    if differing:
        raise UserError(f"{study.folder} holds a study made with another {', '.join(differing)}; choose another --out.")
