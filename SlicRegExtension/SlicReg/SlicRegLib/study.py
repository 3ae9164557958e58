"""A study: the folder that `prepare` fills and `train` reads.

    study.json          options, cohort, versions
    template.npz        the template in its canonical frame
    supervoxels.npz     its layers, uint8 (16, I, J, K)
    scans/NAME.npz      one training scan in its canonical frame and the teacher's field to the template

Each file is written whole or not at all, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import joblib
import numpy as np
import torch

from .errors import UserError
from .files import atomic, list_images, stem
from .geometry import Grid
from .preparation import Prepared, PreparationOptions, canonical_grid, fit_shape, prepare
from .progress import Progress, silent
from .supervision import Teacher
from .supervoxels import SupervoxelOptions, cut
from .volumes import Volume, load_scan
from .warping import DisplacementField

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
    failed: dict[str, str] = field(default_factory=dict)

    def template(self) -> Prepared:
        return _load_prepared(self.folder / "template.npz")[0]

    def layers(self) -> np.ndarray:
        """Supervoxel layers on the template's grid, uint8 (layers, I, J, K)."""
        return np.load(self.folder / "supervoxels.npz")["layers"]

    def scan(self, name: str) -> tuple[Prepared, DisplacementField]:
        """A training scan and the teacher's field from it to the template."""
        return _load_prepared(self.folder / "scans" / f"{name}.npz")


def create_study(template_path: Path, images: Path, folder: Path, teacher: Teacher, jobs: int = 1,
                 preparation: PreparationOptions = PreparationOptions(), supervoxels: SupervoxelOptions = SupervoxelOptions(),
                 progress: Progress = silent) -> Study:
    """Cut the template, register it to every scan of ``images`` with ``teacher`` and write the study.

    Goes on with an interrupted study made with the same options; a study made with others is refused. Scans
    that cannot be read or registered are listed in ``study.failed``, with the reason; the template itself is
    left out of the cohort. ``jobs`` processes share the cores.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a folder for the study.")
    template_scan = load_scan(template_path)
    paths = {stem(p): p for p in list_images(images) if p.resolve() != Path(template_path).resolve()}
    if not paths:
        raise UserError(f"{images} holds no scan besides the template; add the cohort's scans.")
    shape = fit_shape(template_scan, preparation)
    preparation = PreparationOptions(**{**asdict(preparation), "shape": shape})
    study = Study(folder, stem(template_path), template_scan.fingerprint(), teacher.name, preparation, supervoxels, [])
    _check_same(study)
    started_here = not folder.exists()
    (study.folder / "scans").mkdir(parents=True, exist_ok=True)
    _save_json(study)
    template = _prepared(template_path, template_scan, preparation)
    if not (study.folder / "supervoxels.npz").exists():
        _save_prepared(study.folder / "template.npz", template)
        try:
            layers = cut(template.hu, template.grid, supervoxels, lambda share: progress("supervoxels", share, ""))
        except UserError:
            if started_here:
                shutil.rmtree(folder)
            raise
        with atomic(study.folder / "supervoxels.npz") as part:
            _savez(part, layers=layers)

    todo = [name for name in paths if not (study.folder / "scans" / f"{name}.npz").exists()]
    done, failed = len(paths) - len(todo), {}
    progress("teacher", done / len(paths), f"{done} of {len(paths)}")
    threads = max(1, (joblib.cpu_count() or 1) // jobs)
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    for name, problem in parallel(joblib.delayed(_teach)(study, paths[name], template, teacher, threads) for name in todo):
        done += 1
        if problem:
            failed[name] = problem
        progress("teacher", done / len(paths), f"{done} of {len(paths)}: {name}")
    study = Study(**{**vars(study), "scans": [n for n in paths if n not in failed], "failed": failed})
    if not study.scans:
        if started_here:
            shutil.rmtree(folder)
        raise UserError(f"No scan of {images} could be prepared; the first reason: {next(iter(failed.values()))}")
    _save_json(study)
    return study


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
    return Study(Path(folder), preparation=preparation, supervoxels=SupervoxelOptions(**content.pop("supervoxels")), **content)


def _teach(study: Study, path: Path, template: Prepared, teacher: Teacher, threads: int) -> tuple[str, str]:
    """Prepare one scan, run the teacher, write the file; returns (name, problem or "")."""
    torch.set_num_threads(threads)
    try:
        scan = _prepared(path, load_scan(path), study.preparation)
        field = teacher.register(scan, template)
    except UserError as error:
        return stem(path), str(error)
    except (RuntimeError, ValueError) as error:  # a teacher's own failure on one scan must not end the cohort's run
        reason = " ".join(str(error).split()) or "no message"
        return stem(path), f"{path}: the teacher failed ({type(error).__name__}: {reason})."
    if not torch.isfinite(field.vectors).all():
        return stem(path), f"{path}: the teacher's field is not finite."
    _save_prepared(study.folder / "scans" / f"{stem(path)}.npz", scan, field)
    return stem(path), ""


def _prepared(path: Path, scan: Volume, options: PreparationOptions) -> Prepared:
    grid = canonical_grid(scan, options.shape, options.spacing_mm)
    return Prepared(stem(path), prepare(scan, grid), grid, str(path))


def _save_prepared(path: Path, scan: Prepared, field: DisplacementField | None = None) -> None:
    content = {"hu": scan.hu.round().numpy().astype(np.int16), "affine": scan.grid.affine}
    if field is not None:
        # half precision only for what is left of the mean shift: scans may lie metres apart
        shift = field.vectors.mean((1, 2, 3), keepdim=True)
        content |= {"field": (field.vectors - shift).numpy().astype(np.float16), "field_shift": shift.numpy(),
                    "field_affine": field.grid.affine}
    with atomic(path) as part:
        _savez(part, **content)


def _savez(path: Path, **arrays) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def _load_prepared(path: Path) -> tuple[Prepared, DisplacementField | None]:
    try:
        content = dict(np.load(path))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is missing or damaged; delete it and run `slicreg prepare` again.") from error
    hu = torch.from_numpy(content["hu"].astype(np.float32))
    scan = Prepared(path.stem, hu, Grid(hu.shape, content["affine"]))
    if "field" not in content:
        return scan, None
    vectors = torch.from_numpy(content["field"].astype(np.float32))
    if "field_shift" in content:
        vectors = vectors + torch.from_numpy(content["field_shift"])
    return scan, DisplacementField(vectors, Grid(vectors.shape[1:], content["field_affine"]))


def _save_json(study: Study) -> None:
    content = {**vars(study), "version": STUDY_VERSION, "preparation": asdict(study.preparation),
               "supervoxels": asdict(study.supervoxels)}
    content.pop("folder")
    with atomic(study.folder / "study.json") as part:
        part.write_text(json.dumps(content, indent=1))


def _check_same(study: Study) -> None:
    path = study.folder / "study.json"
    if not path.exists():
        return
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); choose another --out or delete the study.") from error
    same = {"template_sha256": study.template_sha256, "teacher": study.teacher,
            "preparation": json.loads(json.dumps(asdict(study.preparation))), "supervoxels": asdict(study.supervoxels)}
    differing = [key for key, value in same.items() if content.get(key) != value]
    if differing:
        raise UserError(f"{study.folder} holds a study made with another {', '.join(differing)}; choose another --out.")
