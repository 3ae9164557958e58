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

import asyncio
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path

import joblib
import numpy as np
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError

from .errors import UserError
from .files import atomic, list_images, stem
from .geometry import Grid
from .preparation import Prepared, PreparationOptions, fit_shape, prepare_scan
from .progress import Progress, silent
from .quality import FieldQuality, implausible, measure
from .supervision import Teacher
from .supervoxels import SupervoxelOptions, cut
from .volumes import Volume, load_scan
from .warping import DisplacementField

STUDY_VERSION = 1
CONNECT_SECONDS = 5.0  # to wait for a Dask scheduler
_THREADS = torch.get_num_threads()  # that this process was given


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
    quality: dict[str, dict] = field(default_factory=dict)  # `FieldQuality` of every registered scan, also of those left out

    def template(self) -> Prepared:
        return _load_prepared(self.folder / "template.npz")[0]

    def layers(self) -> np.ndarray:
        """Supervoxel layers on the template's grid, uint8 (layers, I, J, K)."""
        return np.load(self.folder / "supervoxels.npz")["layers"]

    def scan(self, name: str) -> tuple[Prepared, DisplacementField]:
        """A training scan and the teacher's field from it to the template."""
        return _load_prepared(_scan_file(self, name))


def create_study(template_path: Path, images: Path | list[Path], folder: Path, teacher: Teacher, jobs: int = 1,
                 preparation: PreparationOptions = PreparationOptions(), supervoxels: SupervoxelOptions = SupervoxelOptions(),
                 progress: Progress = silent, scheduler: str = "", given: tuple[np.ndarray, Grid] | None = None) -> Study:
    """Cut the template, register it to every scan of ``images`` with ``teacher`` and write the study.

    images: a folder, or files with different names. Goes on with an interrupted study made with the same options; a study
    made with others is refused. Scans that cannot be read or registered, and those whose field is implausible (see
    `quality.implausible`), are listed in ``study.failed``, with the reason; the template itself is left out of the cohort.
    ``jobs`` processes share the cores; with ``scheduler``, the address of a Dask scheduler, its workers register instead.
    given: the layers (uint8) and grid of supervoxels that were cut from this template before, to be used again.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a folder for the study.")
    if scheduler:
        _reach(scheduler)  # a wrong address is said now, not after the supervoxels
    template_scan = load_scan(template_path)
    folder_given = isinstance(images, (str, Path))
    origin = str(images) if folder_given else "the list of scans"
    paths = _by_name(list_images(images) if folder_given else images, Path(template_path), origin)
    shape = given[1].shape if given else fit_shape(template_scan, preparation)
    preparation = replace(preparation, shape=shape)
    study = Study(folder, stem(template_path), template_scan.fingerprint(), teacher.name, preparation, supervoxels, [])
    _check_same(study)
    started_here = not folder.exists()
    (study.folder / "scans").mkdir(parents=True, exist_ok=True)
    _save_json(study)
    template = prepare_scan(template_scan, preparation, given[1] if given else None, template_path)
    if not (study.folder / "supervoxels.npz").exists():
        _savez(study.folder / "template.npz", _packed(template))
        try:
            layers = given[0] if given else cut(template.hu, template.grid, supervoxels, lambda share: progress("supervoxels", share, ""))
        except UserError:
            if started_here:
                shutil.rmtree(folder)
            raise
        _savez(study.folder / "supervoxels.npz", {"layers": layers})

    failed = _teach_all(study, paths, template, teacher, jobs, scheduler, progress)
    qualities = {name: _stored_quality(_scan_file(study, name)) for name in paths if name not in failed}
    failed |= {name: f"{paths[name]}: {reason}." for name, reason in implausible(qualities).items()}
    study = replace(study, scans=[name for name in paths if name not in failed],
                    failed={name: failed[name] for name in paths if name in failed},
                    quality={name: asdict(quality) for name, quality in qualities.items()})
    if not study.scans:
        if started_here and not qualities:
            shutil.rmtree(folder)
        raise UserError(f"No scan of {origin} could be prepared; the first reason: {next(iter(study.failed.values()))}")
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


def _by_name(images: list[Path], template_path: Path, origin: str) -> dict[str, Path]:
    """The scans without the template. Raises UserError where there are none or two have the same name."""
    paths: dict[str, Path] = {}
    for path in map(Path, images):
        other = paths.setdefault(stem(path), path)
        if other != path:
            raise UserError(f"{other} and {path} are both called {stem(path)}; give each scan a name of its own.")
    cohort = {name: path for name, path in paths.items() if path.resolve() != template_path.resolve()}
    if not cohort:
        raise UserError(f"There is no scan besides the template in {origin}; add the cohort's scans.")
    return cohort


def _teach_all(study: Study, paths: dict[str, Path], template: Prepared, teacher: Teacher, jobs: int, scheduler: str,
               progress: Progress) -> dict[str, str]:
    """Write the files of all scans that are not there yet; returns the problems of those that could not be, by name."""
    todo = [path for name, path in paths.items() if not _stored_quality(_scan_file(study, name))]
    done, failed = len(paths) - len(todo), {}
    progress("teacher", done / len(paths), f"{done} of {len(paths)}")
    if scheduler and todo:
        taught = _taught_by_cluster(scheduler, study, todo, template, teacher)
    else:
        threads = max(1, (joblib.cpu_count() or 1) // jobs)
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        taught = parallel(joblib.delayed(_teach)(study, path, template, teacher, threads) for path in todo)
    try:
        for name, problem in taught:
            done += 1
            if problem:
                failed[name] = problem
            progress("teacher", done / len(paths), f"{done} of {len(paths)}: {name}")
    except TerminatedWorkerError as error:
        raise UserError(f"One of the teacher's {jobs} processes was ended by the system, most likely since memory ran out; use fewer "
                        "--jobs.") from error
    return failed


def _reach(scheduler: str) -> None:
    """Raises UserError where the package `distributed` is missing or no Dask scheduler answers at the address."""
    try:
        from distributed import Client  # an optional package
    except ImportError as error:
        raise UserError("A Dask cluster needs the Python package distributed; run `pip install distributed`.") from error

    async def greet():
        client = Client(scheduler, asynchronous=True, timeout=CONNECT_SECONDS, set_as_default=False)
        try:  # limited from outside: the client itself waits for ever where something listens that is no scheduler
            await asyncio.wait_for(client, CONNECT_SECONDS + 1)
        finally:
            await client.close()

    try:
        asyncio.run(greet())
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise UserError(f"No Dask scheduler answers at {scheduler}; start `dask scheduler` or mend the address.") from error


def _taught_by_cluster(scheduler: str, study: Study, todo: list[Path], template: Prepared,
                       teacher: Teacher) -> Iterator[tuple[str, str]]:
    """What `_teach` returns for each scan, as the workers finish. The scans of a worker that dies go to the others.

    Not through joblib's Dask backend: that (of joblib 1.6) never returns where workers die of one scan.
    """
    from distributed import Client, as_completed

    _reach(scheduler)
    study = replace(study, folder=study.folder.absolute())
    with Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        # sent once, handed on among the workers and, unlike scattered data, made again should all die that hold it
        shared = client.submit(_same, template, pure=False)

        def submit(path: Path):
            return client.submit(_teach_on_worker, study, path.absolute(), shared, teacher, pure=False)

        futures, suspects = {submit(path): path for path in todo}, []
        for future in as_completed(list(futures), loop=client.loop):
            path = futures.pop(future)
            if result := _result(future, study, scheduler):
                yield result
            else:
                suspects.append(path)
        for path in suspects:  # Dask blames all that waited on a worker that died; alone in the cluster, only the culprit fails
            yield _result(submit(path), study, scheduler) or (
                stem(path), f"{path}: the workers that registered it died; it may need more memory than they have.")


def _result(future, study: Study, scheduler: str) -> tuple[str, str] | None:
    """What `_teach` returned on a worker; None where workers died of it. Raises UserError where the cluster is to blame."""
    from distributed import KilledWorker
    from distributed.client import CancelledError

    try:
        name, problem = future.result()
    except KilledWorker:
        return None
    except CancelledError as error:
        raise UserError(f"The Dask scheduler at {scheduler} is gone; run the same command again and it goes on.") from error
    except Exception as error:  # whatever a worker raises that `_teach` does not expect
        reason = " ".join(str(error).split()) or "no message"
        raise UserError(f"A worker of {scheduler} cannot register ({type(error).__name__}: {reason}); every worker needs the "
                        "same SlicReg, the teacher's package, and the cohort and the study under the same paths.") from error
    # reading the folder, unlike asking for the file, goes past what a network file system remembers of it
    if not problem and f"{name}.npz" not in os.listdir(study.folder / "scans"):
        raise UserError(f"A worker of {scheduler} wrote {name}.npz, which is not in {study.folder / 'scans'}; the study must lie "
                        "where all workers see the same folder.")
    return name, problem


def _same(template: Prepared) -> Prepared:
    return template


def _teach_on_worker(study: Study, path: Path, template: Prepared, teacher: Teacher) -> tuple[str, str]:
    """`_teach` with this Dask worker's threads, shared by the tasks that it runs at once."""
    from distributed import get_worker

    return _teach(study, path, template, teacher, max(1, _THREADS // get_worker().state.nthreads))


def _teach(study: Study, path: Path, template: Prepared, teacher: Teacher, threads: int) -> tuple[str, str]:
    """Prepare one scan, run the teacher, measure its field, write the file; returns (name, problem or "").

    Does nothing where the file is there, so that a cluster may start a task twice.
    """
    name = stem(path)
    file = _scan_file(study, name)
    if _stored_quality(file):
        return name, ""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        content = _stored(file)  # of a version that measured nothing
        if not content:
            scan = prepare_scan(load_scan(path), study.preparation, path=path)
            field = teacher.register(scan, template)
            if not torch.isfinite(field.vectors).all():
                return name, f"{path}: the teacher's field is not finite."
            content = _packed(scan, field)
        scan, field = _unpacked(name, content)  # as it will be read: rounded
        quality = measure(scan, template, field)
    except UserError as error:
        return name, str(error)
    except (RuntimeError, ValueError) as error:  # a teacher's own failure on one scan must not end the cohort's run
        reason = " ".join(str(error).split()) or "no message"
        return name, f"{path}: the teacher failed ({type(error).__name__}: {reason})."
    finally:
        torch.set_num_threads(before)
    _savez(file, content | {"region": np.packbits(scan.region.numpy()), "quality": np.array(astuple(quality))})
    return name, ""


def _scan_file(study: Study, name: str) -> Path:
    return study.folder / "scans" / f"{name}.npz"


def _packed(scan: Prepared, field: DisplacementField | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    content = {"hu": scan.hu.round().numpy().astype(np.int16), "affine": scan.grid.affine}
    if field is not None:
        # half precision only for what is left of the mean shift: scans may lie metres apart
        shift = field.vectors.mean((1, 2, 3), keepdim=True)
        content |= {"field": (field.vectors - shift).numpy().astype(np.float16), "field_shift": shift.numpy(),
                    "field_affine": field.grid.affine}
    return content


def _unpacked(name: str, content: dict[str, np.ndarray]) -> tuple[Prepared, DisplacementField | None]:
    hu = torch.from_numpy(content["hu"].astype(np.float32))
    scan = Prepared(name, hu, Grid(hu.shape, content["affine"]))
    if "region" in content:  # stands where the cached property keeps what it computes, which takes longer than all else here
        region = np.unpackbits(content["region"], count=hu.numel()).astype(bool)
        scan.__dict__["region"] = torch.from_numpy(region.reshape(hu.shape))
    if "field" not in content:
        return scan, None
    vectors = torch.from_numpy(content["field"].astype(np.float32))
    if "field_shift" in content:
        vectors = vectors + torch.from_numpy(content["field_shift"])
    return scan, DisplacementField(vectors, Grid(vectors.shape[1:], content["field_affine"]))


def _savez(path: Path, content: dict[str, np.ndarray]) -> None:
    with atomic(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **content)


def _stored(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Those of the arrays ``names`` (default: all) that the file holds; none where it is missing or damaged."""
    try:
        with np.load(path) as file:
            return {name: file[name] for name in names or file.files if name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        return {}


def _stored_quality(path: Path) -> FieldQuality | None:
    content = _stored(path, "quality")
    return FieldQuality(*content["quality"].tolist()) if content else None


def _load_prepared(path: Path) -> tuple[Prepared, DisplacementField | None]:
    content = _stored(path)
    if not content:
        raise UserError(f"{path} is missing or damaged; delete it and run `slicreg prepare` again.")
    return _unpacked(path.stem, content)


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
